// Numbers with their nouns, for sentences.
#pragma once

#include <fmt/format.h>

#include <cstdint>
#include <string>
#include <string_view>

namespace mbsync {

/// "1 row", "2 rows".
inline std::string amount(std::int64_t count, std::string_view one, std::string_view many) {
  return fmt::format("{} {}", count, count == 1 ? one : many);
}
inline std::string rows_of(std::int64_t rows) {
  return amount(rows, "row", "rows");
}

}  // namespace mbsync
