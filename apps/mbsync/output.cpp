#include "output.h"

#include <algorithm>
#include <cstddef>
#include <ostream>

namespace mbsync {
namespace {

constexpr std::string_view kBetweenColumns = "  ";

/// Characters, not bytes: names of shops and people are not all ASCII.
std::size_t width_of(std::string_view text) {
  constexpr unsigned kContinuationMask = 0xC0;
  constexpr unsigned kContinuation = 0x80;
  return static_cast<std::size_t>(std::count_if(text.begin(), text.end(), [](char c) {
    return (static_cast<unsigned char>(c) & kContinuationMask) != kContinuation;
  }));
}

void append_row(std::string& text, const std::vector<std::string>& cells, const std::vector<std::size_t>& widths) {
  std::string line;
  for (std::size_t i = 0; i < cells.size(); ++i) {
    line += cells[i];
    line.append(widths[i] - width_of(cells[i]) + kBetweenColumns.size(), ' ');
  }
  line.erase(line.find_last_not_of(' ') + 1);
  text += text.empty() ? line : "\n" + line;
}

}  // namespace

Result<void> Output::result(std::string_view text, const nlohmann::ordered_json& document) {
  if (json_) {
    results_ << document.dump(2) << '\n';
  } else {
    results_ << text << '\n';
  }
  return check_written(results_);
}

void Output::hint(std::string_view text) {
  talk_ << text << '\n';
}

void Output::error(const Error& error) {
  talk_ << "mbsync: " << error.message << '\n';
  if (!error.hint.empty()) {
    talk_ << "  what to do: " << error.hint << '\n';
  }
  if (json_) {
    const nlohmann::ordered_json document{
        {"error", {{"kind", to_string(error.kind)}, {"message", error.message}, {"hint", error.hint}}}};
    results_ << document.dump(2, ' ', false, nlohmann::json::error_handler_t::replace) << '\n';
    results_.flush();
  }
}

Result<void> check_written(std::ostream& results) {
  results.flush();
  if (results) {
    return {};
  }
  return Error{ErrorKind::kInternal, "the result could not be written to standard output",
               "is the disk full, or has the reader gone? Then run the command again"};
}

std::string format_table(const std::vector<std::string>& headings, const std::vector<std::vector<std::string>>& rows) {
  std::vector<std::size_t> widths;
  widths.reserve(headings.size());
  for (const auto& heading : headings) {
    widths.push_back(width_of(heading));
  }
  for (const auto& row : rows) {
    for (std::size_t i = 0; i < row.size() && i < widths.size(); ++i) {
      widths[i] = std::max(widths[i], width_of(row[i]));
    }
  }
  std::string text;
  append_row(text, headings, widths);
  for (const auto& row : rows) {
    append_row(text, {row.begin(), row.begin() + static_cast<std::ptrdiff_t>(std::min(row.size(), widths.size()))},
               widths);
  }
  return text;
}

}  // namespace mbsync
