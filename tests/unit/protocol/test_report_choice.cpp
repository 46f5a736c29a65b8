#include <catch2/catch.hpp>
#include <set>

#include "report_choice.h"

using namespace mbsync;

namespace {

NodeId node(int i) {
  return NodeId{i + 1};
}

// A fleet in which each lags behind by one write of each of `behind` nodes.
std::pair<VersionVector, std::map<NodeId, VersionVector>> fleet(int nodes, int behind) {
  VersionVector::Map seen;
  for (int i = 0; i < nodes; ++i) {
    seen[node(i)] = 10;
  }
  std::map<NodeId, VersionVector> reports;
  for (int i = 0; i < nodes; ++i) {
    auto report = seen;
    for (int k = 0; k < behind; ++k) {
      report[node((i + k) % nodes)] = 9;
    }
    reports[node(i)] = VersionVector(std::move(report));
  }
  return {VersionVector(std::move(seen)), std::move(reports)};
}

}  // namespace

TEST_CASE("reports: what all have costs nothing, and a small fleet says all it knows") {
  const auto [seen, reports] = fleet(1000, 0);
  CHECK(report_numbers(reports, seen) == 0);
  CHECK(some_reports(reports, seen, node(0), std::nullopt) == reports);
  const auto [small, lagging] = fleet(15, 15);
  CHECK(report_numbers(lagging, small) == 15 * 16);
  CHECK(some_reports(lagging, small, node(0), std::nullopt) == lagging);
}

TEST_CASE("reports: of too many, the own one and as many as fit, whole; after a while each was among them") {
  const auto [seen, reports] = fleet(100, 10);
  CHECK(some_reports(reports, seen, node(3), std::nullopt) ==
        std::map<NodeId, VersionVector>{{node(3), reports.at(node(3))}});
  std::set<NodeId> told;
  for (std::uint64_t chance = 0; chance < 100; chance += 7) {
    const auto chosen = some_reports(reports, seen, node(3), chance);
    CHECK(chosen.size() == 1 + kReportNumbersMax / 11);
    for (const auto& [author, report] : chosen) {
      CHECK(report == reports.at(author));
      told.insert(author);
    }
  }
  CHECK(told.size() == reports.size());
}

TEST_CASE("reports: one that is longer than a message should be is told all the same") {
  const auto [seen, reports] = fleet(400, 400);
  CHECK(some_reports(reports, seen, node(3), 5).size() == 2);
  CHECK(some_reports({{node(3), reports.at(node(3))}}, seen, node(3), 5).size() == 1);
}
