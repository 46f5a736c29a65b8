// A text file that has become part of the program: packaging/cmake/MbsyncEmbed.cmake makes a table of them.
#pragma once

#include <span>
#include <string_view>

namespace mbsync {

struct EmbeddedFile {
  std::string_view name;    ///< without folders
  std::string_view sha256;  ///< of the content, in hexadecimal
  std::string_view content;
};

}  // namespace mbsync
