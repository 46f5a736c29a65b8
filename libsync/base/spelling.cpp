#include "spelling.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstddef>
#include <numeric>
#include <optional>

namespace mbsync {
namespace {

/// How many characters have to be put in, taken out, exchanged, or swapped with their neighbour.
std::size_t distance(std::string_view a, std::string_view b) {
  std::vector<std::size_t> before(b.size() + 1);
  std::vector<std::size_t> row(b.size() + 1);
  std::vector<std::size_t> next(b.size() + 1);
  std::iota(row.begin(), row.end(), std::size_t{0});
  for (std::size_t i = 1; i <= a.size(); ++i) {
    next[0] = i;
    for (std::size_t j = 1; j <= b.size(); ++j) {
      next[j] = std::min({row[j] + 1, next[j - 1] + 1, row[j - 1] + (a[i - 1] == b[j - 1] ? 0 : 1)});
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1]) {
        next[j] = std::min(next[j], before[j - 2] + 1);
      }
    }
    before.swap(row);
    row.swap(next);
  }
  return row[b.size()];
}

}  // namespace

std::string did_you_mean(std::string_view name, const std::vector<std::string_view>& names) {
  // A slip or two, or a third of a long name; beyond that the nearest one is no help.
  constexpr std::size_t kSlips = 2;
  std::optional<std::string_view> nearest;
  auto slips = std::max(kSlips, name.size() / 3) + 1;
  for (const auto candidate : names) {
    if (const auto off = distance(name, candidate); !candidate.empty() && off < slips) {
      nearest = candidate;
      slips = off;
    }
  }
  return nearest ? fmt::format("did you mean '{}'?", *nearest) : "";
}

}  // namespace mbsync
