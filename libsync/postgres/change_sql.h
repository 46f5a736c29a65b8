// Conditions that find rows of mbsync.change by their key, through the index over the key's hash: an index entry is too
// small for every key that an application may have.
#pragma once

#include <fmt/format.h>

#include <string>
#include <string_view>

namespace mbsync {

/// Whether the change called `change` is of the key that the text expression `key` holds. To be used together with
/// `change`.tab = ...
inline std::string has_key(std::string_view change, std::string_view key) {
  return fmt::format("hashtextextended({0}.key, 0) = hashtextextended({1}, 0) AND {0}.key = {1}", change, key);
}

/// The same for any of many keys: `rest` is what follows "SELECT key" in the query that lists them.
inline std::string has_key_among(std::string_view change, std::string_view key, std::string_view rest) {
  return fmt::format("(hashtextextended({0}.key, 0), {0}.key) IN (SELECT hashtextextended({1}, 0), {1} {2})", change,
                     key, rest);
}

/// A time in microseconds since 1970 UTC, NULL where nobody knows it. Whole seconds and the rest apart: extract(epoch)
/// is a double before PostgreSQL 14 and would lose microseconds.
inline std::string micros_of(std::string_view time) {
  return fmt::format(
      "CASE WHEN {0} > '-infinity' THEN extract(epoch FROM date_trunc('second', {0}))::bigint * 1000000 + "
      "extract(microseconds FROM {0})::bigint % 1000000 END",
      time);
}

}  // namespace mbsync
