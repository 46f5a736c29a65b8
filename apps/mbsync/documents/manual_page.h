// Manual pages (roff, man(7)), made from what --help is made of: the commands, the table of settings, the exit codes.
#pragma once

#include <string>
#include <string_view>

#include "documents/command_tree.h"

namespace mbsync {

struct PageHead {
  int section = 1;
  std::string_view summary{};  ///< behind the name: "mbsync - keeps ..."
  std::string_view version{};
  std::string_view date{};      ///< of the version, ISO
  std::string_view see_also{};  ///< other pages: "mbsyncd(8), psql(1)"
  bool service = false;         ///< it runs until it is told to stop: signals are part of its page
};

std::string manual_page(const Command& program, const PageHead& head);

/// Text as roff prints it, whatever is in it: no request at the start of a line, quotes, hyphens and backslashes as
/// they are written.
std::string roff_text(std::string_view text);

}  // namespace mbsync
