// Is a text UTF-8, and can it be shown? What crosses the wire and what PostgreSQL stores has to be.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace mbsync {

/// Length of the longest beginning of `text` that is whole and valid UTF-8.
std::size_t valid_utf8_length(std::string_view text);

/// What a stranger may have chosen, as one line of a terminal: up to the first byte that is not UTF-8, and "?" for what
/// would move the cursor.
std::string printable(std::string_view text);

}  // namespace mbsync
