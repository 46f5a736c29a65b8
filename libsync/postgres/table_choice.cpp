#include "table_choice.h"

#include <fmt/format.h>

#include <algorithm>

#include "glob.h"

namespace mbsync {

std::optional<std::string> why_left_out(const TableChoice& choice, std::string_view schema, std::string_view table) {
  const auto match = [&](const std::vector<std::string>& patterns) {
    return std::find_if(patterns.begin(), patterns.end(),
                        [&](const std::string& pattern) { return table_glob_matches(pattern, schema, table); });
  };
  if (const auto pattern = match(choice.except); pattern != choice.except.end()) {
    return fmt::format("is left out by tables_except ('{}')", *pattern);
  }
  if (match(choice.in) == choice.in.end()) {
    return "is left out: it is not among those that the setting 'tables' names";
  }
  return std::nullopt;
}

}  // namespace mbsync
