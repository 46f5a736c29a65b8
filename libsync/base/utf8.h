// Is a text UTF-8? What crosses the wire and what PostgreSQL stores has to be.
#pragma once

#include <cstddef>
#include <string_view>

namespace mbsync {

/// Length of the longest beginning of `text` that is whole and valid UTF-8.
std::size_t valid_utf8_length(std::string_view text);

}  // namespace mbsync
