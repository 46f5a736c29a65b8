// What happens at a node, and its figures minute by minute.
#include "node_events.h"

#include <catch2/catch.hpp>
#include <thread>

#include "node_activity.h"
#include "tuning.h"

using namespace mbsync;
using std::chrono::milliseconds;
using std::chrono::minutes;

namespace {

const WallClockTime kNoon{std::chrono::seconds{1'700'000'000}};  // 2023-11-14T22:13:20Z

std::vector<std::string> kinds(const std::vector<NodeEvent>& events) {
  std::vector<std::string> result;
  for (const auto& event : events) {
    result.push_back(event.kind);
  }
  return result;
}

}  // namespace

TEST_CASE("node events: a reader goes on where it left off, and a stranger's id begins at the oldest") {
  NodeEvents events(kNoon);
  CHECK(events.after("", milliseconds{0}).empty());
  for (const char* kind : {"one", "two", "three"}) {
    events.add(kNoon, kind, "", "text");
  }
  const auto all = events.after("", milliseconds{0});
  CHECK(kinds(all) == std::vector<std::string>{"one", "two", "three"});
  CHECK(kinds(events.after(all[0].id, milliseconds{0})) == std::vector<std::string>{"two", "three"});
  CHECK(events.after(all[2].id, milliseconds{0}).empty());
  for (const char* other : {"nonsense", "-1", "1-1", "99-99"}) {
    CHECK(events.after(other, milliseconds{0}).size() == 3);
  }
  const auto start = all[0].id.substr(0, all[0].id.find('-'));
  CHECK(events.after(start + "-99", milliseconds{0}).size() == 3);
  CHECK(events.after(start + "-x", milliseconds{0}).size() == 3);
  CHECK(kinds(events.latest(2)) == std::vector<std::string>{"two", "three"});

  for (std::size_t i = 0; i < NodeEvents::kKept; ++i) {
    events.add(kNoon, "many", "", "text");
  }
  CHECK(events.after(all[0].id, milliseconds{0}).size() == NodeEvents::kKept);
  CHECK(events.latest(5'000).size() == NodeEvents::kKept);
}

TEST_CASE("node events: a reader that waits is woken") {
  NodeEvents events(kNoon);
  std::jthread writer([&] { events.add(kNoon, "one", "", "text"); });
  CHECK(events.after("", std::chrono::seconds{10}).size() == 1);
}

TEST_CASE("node events: as a server-sent event, on one line whatever is in it") {
  NodeEvents events(kNoon);
  events.add(kNoon, "row_parked", "till", "a\nb \xff");
  const auto text = to_sse(events.latest(1)[0]);
  CHECK_THAT(text, Catch::StartsWith("id: ") && Catch::Contains("\nevent: row_parked\ndata: {") &&
                       Catch::EndsWith("}\n\n") && Catch::Contains("\"at\":\"2023-11-14T22:13:20Z\"") &&
                       Catch::Contains("a\\nb"));
}

TEST_CASE("node history: minutes add up, those that are too old go, a clock that is set back adds to the last") {
  NodeHistory history;
  history.rows_in(kNoon, 5, 1, 0.5);
  history.rows_in(kNoon + std::chrono::seconds{10}, 2, 0, 0.1);
  history.rows_out(kNoon + minutes{1}, 7);
  history.looked(kNoon + minutes{1}, 3, 9, 1.5, 2);
  history.looked(kNoon + minutes{1}, 1, 4, 2.5, 1);
  const auto samples = history.latest(kNoon + minutes{1}, 60);
  REQUIRE(samples.size() == 2);
  CHECK(samples[0].rows_in == 7);
  CHECK(samples[0].conflicts == 1);
  CHECK(samples[0].applied == 2);
  CHECK(samples[1].rows_out == 7);
  CHECK(samples[1].backlog == 3);
  CHECK(samples[1].lag_rows == 9);
  CHECK(samples[1].lag_s == 2.5);
  CHECK(samples[1].peers == 1);
  history.rows_in(kNoon, 1, 0, 0);
  CHECK(history.latest(kNoon + minutes{1}, 1)[0].rows_in == 1);
  for (int i = 2; i < 3'000; ++i) {
    history.rows_out(kNoon + minutes{i}, 1);
  }
  CHECK(history.latest(kNoon + minutes{2'999}, 5'000).size() == NodeHistory::kMinutes);
  CHECK(history.latest(kNoon + minutes{2'999}, 60).size() == 60);
}

TEST_CASE("node activity: peers come and go with one event each, rows are told together") {
  NodeActivity activity("1.2.3", std::chrono::system_clock::now());
  const Member till{NodeId{0x1a}, "till"};
  const std::string at = "10.0.0.1:8765";
  activity.asked(till, "10.0.0.1");
  activity.asked(till, "10.0.0.1");
  activity.failed(till, at, "port closed");
  activity.failed(till, at, "port closed");
  activity.asked(till, "10.0.0.1");  // that it asks does not make it answer
  ApplyOutcome outcome;
  outcome.sender = till;
  outcome.rows = 3;
  outcome.conflicts = 1;
  activity.applied(till, at, outcome, std::chrono::milliseconds{5});
  activity.applied(till, at, outcome, std::chrono::milliseconds{5});
  activity.answered(till, 4, 100, std::chrono::milliseconds{5});
  activity.look_after();
  activity.look_after();
  activity.failed(std::nullopt, "10.0.0.9:8765", "nobody there");
  activity.failed(std::nullopt, "10.0.0.9:8765", "nobody there");
  CHECK(kinds(activity.events().latest(100)) ==
        std::vector<std::string>{"peer_connected", "peer_lost", "peer_connected", "conflict", "conflict",
                                 "rows_arrived", "rows_sent", "peer_unreachable"});
  const auto facts = activity.facts();
  CHECK(facts.version == "1.2.3");
  CHECK(facts.rows_in == 6);
  CHECK(facts.rows_out == 4);
  CHECK(facts.conflicts == 2);
  CHECK(facts.rows_in_per_s > 0);
  REQUIRE(facts.peers.size() == 1);
  CHECK(facts.peers[0].up);
  CHECK(facts.peers[0].address == at);
  CHECK(facts.peers[0].rows_in == 6);
}

TEST_CASE("node activity: addresses that are made up do not fill the memory, nor keep others from being told of") {
  NodeActivity activity("1.2.3", std::chrono::system_clock::now());
  for (std::size_t i = 0; i < 3 * kAddressesKept; ++i) {
    activity.failed(std::nullopt, "10.0.0.1:" + std::to_string(i), "nobody there");
  }
  activity.failed(std::nullopt, "10.0.0.9:8765", "nobody there");
  const auto last = activity.events().latest(1);
  REQUIRE(last.size() == 1);
  CHECK(last[0].details["address"] == "10.0.0.9:8765");
}
