// Stand-ins for values that are too large to be held in memory while rows are judged. Whether two values are equal is
// all that judging asks of them, so a large value is represented by a hash of its text, and only the database ever
// moves it. A stand-in begins with U+001A and a number drawn by chance, so that no value can hold one.
#pragma once

#include <string>
#include <string_view>

#include "row_state.h"

namespace mbsync {

class StandIns {
 public:
  /// Longer texts, in bytes, are given a stand-in. Two hundred rows of twenty columns stay below 16 MiB.
  static constexpr std::size_t kValueBytesMax = 4096;
  /// The same for columns whose rule computes with values (CONFLICTS.md C13), and so has to have them.
  static constexpr std::size_t kComputedBytesMax = 65536;

  StandIns();

  /// SQL: the text of `value` (an expression of any type) or its stand-in; NULL for NULL.
  [[nodiscard]] std::string sql(std::string_view value, std::size_t bytes_max = kValueBytesMax) const;
  static bool needed(const Value& value, std::size_t bytes_max = kValueBytesMax) {
    return value && value->size() > bytes_max;
  }
  /// Of a text that is here already.
  [[nodiscard]] std::string of(std::string_view text) const;
  [[nodiscard]] bool is_one(const Value& value) const { return value && value->starts_with(prefix_); }

 private:
  std::string prefix_;
};

}  // namespace mbsync
