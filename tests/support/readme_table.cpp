#include "readme_table.h"

#include <fstream>
#include <sstream>
#include <stdexcept>

namespace mbsync::test {
namespace {

std::string trimmed(std::string_view text) {
  const auto first = text.find_first_not_of(' ');
  return first == std::string_view::npos ? "" : std::string(text.substr(first, text.find_last_not_of(' ') - first + 1));
}

std::vector<std::string> cells_of(std::string_view row) {
  std::vector<std::string> cells;
  row = row.substr(1, row.rfind('|') - 1);
  for (;;) {
    const auto bar = row.find(" | ");
    cells.push_back(trimmed(row.substr(0, bar)));
    if (bar == std::string_view::npos) {
      return cells;
    }
    row.remove_prefix(bar + 2);
  }
}

bool says_in_line(std::string_view line, std::string_view pattern) {
  std::size_t at = 0;
  for (;;) {
    const auto dots = pattern.find("...");
    const auto piece = pattern.substr(0, dots);
    const auto place = line.find(piece, at);
    if (place == std::string_view::npos) {
      return false;
    }
    if (dots == std::string_view::npos) {
      return true;
    }
    at = place + piece.size();
    pattern.remove_prefix(dots + 3);
  }
}

}  // namespace

std::vector<std::vector<std::string>> readme_table(std::string_view heading) {
  std::ifstream file{MBSYNC_README};
  std::vector<std::vector<std::string>> rows;
  bool below = false;
  std::size_t lines = 0;  // of the table so far
  for (std::string line; std::getline(file, line);) {
    if (line.starts_with('#')) {
      below = trimmed(line.substr(line.find_first_not_of('#'))) == heading;
    } else if (below && line.starts_with('|')) {
      if (++lines > 2) {  // below the columns' names and the rule
        rows.push_back(cells_of(line));
      }
    } else if (lines > 0) {
      break;
    }
  }
  if (rows.empty()) {
    throw std::runtime_error("README.md has no table below '" + std::string(heading) + "'");
  }
  return rows;
}

std::vector<std::string> quoted_in(std::string_view cell) {
  std::vector<std::string> quoted;
  while (cell.find('`') != std::string_view::npos) {
    cell.remove_prefix(cell.find('`') + 1);
    quoted.emplace_back(cell.substr(0, cell.find('`')));
    cell.remove_prefix(quoted.back().size() + 1);
  }
  return quoted;
}

bool says(std::string_view text, std::string_view pattern) {
  std::istringstream lines{std::string(text)};
  for (std::string line; std::getline(lines, line);) {
    if (says_in_line(line, pattern)) {
      return true;
    }
  }
  return false;
}

}  // namespace mbsync::test
