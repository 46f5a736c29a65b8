#include "report_choice.h"

#include <iterator>
#include <utility>

namespace mbsync {
namespace {

std::size_t differences(const VersionVector& report, const VersionVector& seen) {
  std::size_t count = 0;
  for (const auto& [origin, counter] : seen.counters()) {
    count += report.counter(origin) != counter ? 1 : 0;
  }
  for (const auto& [origin, counter] : report.counters()) {
    count += seen.counter(origin) == 0 ? 1 : 0;
  }
  return count;
}

}  // namespace

std::size_t report_numbers(const std::map<NodeId, VersionVector>& reports, const VersionVector& seen) {
  std::size_t numbers = 0;
  for (const auto& [node, report] : reports) {
    const auto different = differences(report, seen);
    numbers += different == 0 ? 0 : different + 1;
  }
  return numbers;
}

std::map<NodeId, VersionVector> some_reports(std::map<NodeId, VersionVector> reports, const VersionVector& seen,
                                             NodeId self, std::optional<std::uint64_t> chance,
                                             std::size_t numbers_max) {
  if (report_numbers(reports, seen) <= numbers_max) {
    return reports;
  }
  std::map<NodeId, VersionVector> chosen;
  if (auto own = reports.extract(self)) {
    chosen.insert(std::move(own));
  }
  if (reports.empty() || !chance) {
    return chosen;
  }
  std::size_t numbers = 0;
  auto place = std::next(reports.begin(), static_cast<std::ptrdiff_t>(*chance % reports.size()));
  // One at least, however long it is: else none of a fleet in which each lags far behind would ever be said.
  while (!reports.empty()) {
    const auto needed = differences(place->second, seen) + 1;
    if (numbers > 0 && numbers + needed > numbers_max) {
      break;
    }
    numbers += needed;
    const auto next = std::next(place);
    chosen.insert(reports.extract(place));
    place = next == reports.end() ? reports.begin() : next;
  }
  return chosen;
}

}  // namespace mbsync
