// The page of figures, read strictly by Prometheus' text format 0.0.4: every series belongs to a family that was
// announced just before, names are as its conventions have them, nothing is there twice.
#include "node_metrics.h"

#include <catch2/catch.hpp>
#include <map>
#include <regex>
#include <set>
#include <sstream>

#include "node_status.h"

using namespace mbsync;

namespace {

struct Page {
  std::map<std::string, std::string> types;
  std::map<std::string, double> series;
};

Page read_strictly(const std::string& text) {
  static const std::regex help("# HELP ([a-z_]+) \\S.*\\.");
  static const std::regex type("# TYPE ([a-z_]+) (counter|gauge|histogram)");
  static const std::regex sample(R"rx(([a-z_]+)(\{([a-z_]+="(\\.|[^"\\\n])*",?)*\})? ([0-9.eE+-]+|\+Inf|NaN))rx");
  REQUIRE(!text.empty());
  REQUIRE(text.back() == '\n');
  Page page;
  std::string family;
  std::string helped;
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    std::smatch match;
    INFO(line);
    if (std::regex_match(line, match, help)) {
      helped = match[1];
    } else if (std::regex_match(line, match, type)) {
      family = match[1];
      REQUIRE(family == helped);
      REQUIRE(page.types.emplace(family, match[2]).second);
      CHECK(family.rfind("mbsync_", 0) == 0);
      CHECK((match[2] == "counter") == (family.size() > 6 && family.substr(family.size() - 6) == "_total"));
    } else {
      REQUIRE(std::regex_match(line, match, sample));
      std::string name = match[1];
      if (page.types[family] == "histogram") {
        for (const std::string ending : {"_bucket", "_sum", "_count"}) {
          if (name == family + ending) {
            name = family;
          }
        }
      }
      REQUIRE(name == family);
      REQUIRE(page.series.emplace(line.substr(0, line.rfind(' ')), std::stod(line.substr(line.rfind(' ') + 1))).second);
    }
  }
  return page;
}

}  // namespace

TEST_CASE("node metrics: counted, read, and in the right form whatever a node is called") {
  NodeMetrics metrics("1.2.3");
  NodeStatus status;
  status.settings.interval_s = 30;
  StoreStatus store;
  store.node_runs = true;
  const Member odd{NodeId{0x2a}, "till \"1\"\\\n2"};
  store.members.push_back({odd, false, "", 7});
  store.members[0].behind_oldest_s = 2.5;
  store.captures = 4;
  store.captures_oldest_s = 0.5;
  store.conflicts = 6;
  store.open_conflicts = 1;
  store.resolved_conflicts = 2;
  store.conflicts_by_rule = {{"last-writer-wins", 5}, {"manual", 1}};
  store.sizes = {{"change", 8192}};
  status.store = store;
  ApplyOutcome outcome;
  outcome.rows = 3;
  outcome.merged = 2;
  outcome.conflicts = 1;
  metrics.applied(odd.name, to_string(odd.id), outcome, 0.02);
  metrics.answered(odd.name, to_string(odd.id), 5, 500, 0.2);
  metrics.pull_failed();
  metrics.sealed(0.003);
  metrics.served("/health", 200);

  const auto page = read_strictly(metrics.text(status));
  const std::string who = R"({node="000000000000002a",peer="till \"1\"\\\n2"})";
  CHECK(page.series.at("mbsync_rows_received_total" + who) == 3);
  CHECK(page.series.at("mbsync_rows_sent_total" + who) == 5);
  CHECK(page.series.at("mbsync_sent_bytes_total" + who) == 500);
  CHECK(page.series.at("mbsync_conflicts_recorded_total") == 1);
  CHECK(page.series.at("mbsync_pull_failures_total") == 1);
  CHECK(page.series.at(R"(mbsync_apply_duration_seconds_bucket{le="0.025"})") == 1);
  CHECK(page.series.at(R"(mbsync_apply_duration_seconds_bucket{le="0.01"})") == 0);
  CHECK(page.series.at(
            R"(mbsync_peer_lag_rows{peer="till \"1\"\\\n2",node="000000000000002a",direction="outgoing"})") == 7);
  CHECK(page.series.at("mbsync_capture_backlog_rows") == 4);
  CHECK(page.series.at(R"(mbsync_conflicts{state="decided"})") == 3);
  CHECK(page.series.at(R"(mbsync_conflicts_by_rule{rule="manual"})") == 1);
  CHECK(page.series.at(R"(mbsync_table_size_bytes{table="change"})") == 8192);
  CHECK(page.series.at(R"(mbsync_status{status="degraded"})") == 1);
  CHECK(page.series.at(R"(mbsync_status{status="healthy"})") == 0);
  CHECK(page.series.at("mbsync_database_up") == 1);
  CHECK(page.types.at("mbsync_seal_duration_seconds") == "histogram");

  status.store.reset();
  const auto without = read_strictly(metrics.text(status));
  CHECK(without.series.at("mbsync_database_up") == 0);
  CHECK(without.series.count("mbsync_capture_backlog_rows") == 0);
}

TEST_CASE("node metrics: made-up peers do not fill the memory") {
  NodeMetrics metrics("1.2.3");
  for (int i = 0; i < 3'000; ++i) {
    metrics.applied("x", to_string(NodeId{i + 1}), {}, 0);
  }
  const auto page = read_strictly(metrics.text({}));
  std::size_t peers = 0;
  for (const auto& [series, value] : page.series) {
    peers += series.rfind("mbsync_rows_received_total{", 0) == 0 ? 1 : 0;
  }
  CHECK(peers == 1'001);
}

TEST_CASE("node metrics: a peer has one series, whatever it calls itself") {
  NodeMetrics metrics("1.2.3");
  ApplyOutcome outcome;
  outcome.rows = 2;
  for (int i = 0; i < 3'000; ++i) {
    metrics.applied("name-" + std::to_string(i), to_string(NodeId{1}), outcome, 0);
  }
  metrics.applied("name-2999", to_string(NodeId{1}), outcome, 0);
  const auto page = read_strictly(metrics.text({}));
  std::map<std::string, double> rows;
  for (const auto& [series, value] : page.series) {
    if (series.rfind("mbsync_rows_received_total{", 0) == 0) {
      rows[series] = value;
    }
  }
  CHECK(rows ==
        std::map<std::string, double>{{R"(mbsync_rows_received_total{node="0000000000000001",peer="name-2999"})", 4}});
}
