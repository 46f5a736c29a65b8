// Which of the application's tables take part, as the configuration of this node says. Pure.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace mbsync {

/// Patterns over schema.table (libsync/policy/glob.h). A table takes part if one of `in` matches and none of `except`.
struct TableChoice {
  std::vector<std::string> in{"*"};
  std::vector<std::string> except;
  bool operator==(const TableChoice&) const = default;
};

/// Why a table does not take part by this choice: "is left out by tables_except ('audit_*')"; nothing if it does.
std::optional<std::string> why_left_out(const TableChoice& choice, std::string_view schema, std::string_view table);

}  // namespace mbsync
