// Tables of README.md as they stand there: a test provokes what a row says, so that the row stays true.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

namespace mbsync::test {

/// The rows, without the heading, of the first table below the heading `heading` ("When it does not start"); each cell
/// as it is written. Throws std::runtime_error if there is none.
std::vector<std::vector<std::string>> readme_table(std::string_view heading);

/// What stands between `backticks` in a cell, one after the other.
std::vector<std::string> quoted_in(std::string_view cell);

/// Whether `text` holds `pattern`, in which "..." stands for anything within a line.
bool says(std::string_view text, std::string_view pattern);

}  // namespace mbsync::test
