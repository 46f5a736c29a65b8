// What fleets of the real peer choice, pace and messages must do, whatever their size: sim_fleet.h says what is real.
#include <algorithm>
#include <catch2/catch.hpp>
#include <deque>

#include "measure.h"
#include "sim_fleet.h"
#include "tuning.h"

using namespace mbsync;
using namespace mbsync::simulation;

namespace {

constexpr milliseconds kSecond{1000};
constexpr milliseconds kMinute{60'000};

/// How many of the running nodes a write of one of them reaches over those that are listened to, at worst.
int reached(const Fleet& fleet) {
  const auto listeners = fleet.listeners();
  int least = fleet.size();
  for (int first = 0; first < fleet.size(); ++first) {
    if (!fleet.running(first)) {
      continue;
    }
    std::vector<bool> has(listeners.size(), false);
    has[static_cast<std::size_t>(first)] = true;
    std::deque<int> open{first};
    int count = 0;
    while (!open.empty()) {
      const int at = open.front();
      open.pop_front();
      ++count;
      for (int node = 0; node < fleet.size(); ++node) {
        const auto place = static_cast<std::size_t>(node);
        const auto& peers = listeners[place];
        if (!has[place] && fleet.running(node) && std::find(peers.begin(), peers.end(), at) != peers.end()) {
          has[place] = true;
          open.push_back(node);
        }
      }
    }
    least = std::min(least, count);
  }
  return least;
}

int running(const Fleet& fleet) {
  int count = 0;
  for (int node = 0; node < fleet.size(); ++node) {
    count += fleet.running(node) ? 1 : 0;
  }
  return count;
}

}  // namespace

TEST_CASE("simulation: small fleets say and forget exactly what nodes would, with nodes that come and go") {
  for (const int nodes : {2, 3, 9, 14}) {
    FleetOptions options;
    options.nodes = nodes;
    options.check = true;
    options.seed = static_cast<std::uint64_t>(nodes);
    Load load;
    load.churn = 6;
    load.duration = kMinute;
    const auto line = measure(options, load);
    INFO("nodes " << nodes);
    CHECK(line.all_have_s.has_value());
    CHECK(line.forgotten_s.has_value());
    CHECK(line.refused == 0);
  }
}

TEST_CASE("simulation: every write is with all in a few hops, and within a second") {
  for (const int nodes : {20, 60}) {
    FleetOptions options;
    options.nodes = nodes;
    Load load;
    load.duration = kMinute / 6;
    const auto line = measure(options, load);
    INFO("nodes " << nodes);
    CHECK(line.all_have_s.has_value());
    CHECK(line.worst_ms < 1000);
    CHECK(line.hops <= 5);
    REQUIRE(line.forgotten_s.has_value());
    CHECK(*line.forgotten_s < 120);
  }
}

TEST_CASE("simulation: what a node sends does not grow with the fleet") {
  const auto cost_of = [](int nodes) {
    FleetOptions options;
    options.nodes = nodes;
    Load load;
    load.writes_a_minute = 30;
    load.duration = kMinute / 6;
    return measure(options, load);
  };
  const auto small = cost_of(20);
  const auto large = cost_of(150);
  CHECK(large.idle.messages < 2 * small.idle.messages);
  CHECK(large.load.messages < 2 * small.load.messages);
  CHECK(large.idle.kilobytes < small.idle.kilobytes);  // requests build upon earlier ones
  CHECK(large.load.kilobytes < 2 * small.load.kilobytes);
  CHECK(large.load.busiest < 4 * small.load.kilobytes);
}

TEST_CASE("simulation: those that run are joined with each other, however many end at once") {
  FleetOptions options;
  options.nodes = 60;
  Fleet fleet(options);
  test::Rng chance(7);
  fleet.run_for(kMinute / 2);
  CHECK(reached(fleet) == 60);
  for (int round = 0; round < 4; ++round) {
    for (int i = 0; i < 15; ++i) {
      fleet.stop(static_cast<int>(chance.below(60)));
    }
    // Whoever ends is noticed at once; the rest is as fast as peers are chosen anew.
    CHECK(fleet.run_until([&] { return reached(fleet) == running(fleet); }, 5 * kSecond));
    const auto before = fleet.writes().size();
    for (int node = 0; fleet.writes().size() == before; ++node) {
      fleet.write(node);
    }
    CHECK(fleet.run_until([&] { return fleet.all_have_all(); }, 5 * kSecond));
    for (int node = 0; node < fleet.size(); ++node) {
      fleet.start(node);
    }
    CHECK(fleet.run_until([&] { return fleet.all_have_all() && reached(fleet) == 60; }, 2 * kBackoffMax));
  }
}

TEST_CASE("simulation: two halves go on, and are one again after the line is back") {
  FleetOptions options;
  options.nodes = 30;
  Fleet fleet(options);
  fleet.run_for(kMinute / 2);
  std::vector<int> half(30);
  for (std::size_t i = 0; i < half.size(); ++i) {
    half[i] = i % 3 == 0 ? 1 : 0;
  }
  fleet.part(half);
  fleet.run_for(kMinute / 2);
  fleet.write(0);
  fleet.write(1);
  const auto copies = [&](std::size_t write) { return fleet.writes()[write].copies; };
  CHECK(fleet.run_until([&] { return copies(0) == 10 && copies(1) == 20; }, 5 * kSecond));
  fleet.run_for(kMinute);
  CHECK(copies(0) == 10);  // nothing crosses, and nothing is forgotten
  CHECK(fleet.live_writes() == 30);
  fleet.heal();
  CHECK(fleet.run_until([&] { return fleet.all_have_all(); }, kMinute));
  CHECK(fleet.run_until([&] { return fleet.live_writes() == 0; }, 3 * kMinute));
}

TEST_CASE("simulation: a hub joins spokes that cannot reach each other, and all is forgotten in the end") {
  // The server has 32 threads: with more spokes than that it serves them in turns.
  for (const int nodes : {6, 31, 61}) {
    FleetOptions options;
    options.nodes = nodes;
    options.hub = true;
    options.named = true;
    options.check = nodes < 10;
    Fleet fleet(options);
    INFO("nodes " << nodes);
    fleet.run_for(kMinute);
    fleet.write(1);
    fleet.write(nodes - 1);
    fleet.write(0);
    CHECK(fleet.run_until([&] { return fleet.all_have_all(); }, 2 * kSecond));
    for (const auto& write : fleet.writes()) {
      CHECK(*std::max_element(write.hops.begin(), write.hops.end()) == (write.origin == 0 ? 1 : 2));
    }
    CHECK(fleet.run_until([&] { return fleet.live_writes() == 0; }, 3 * kMinute));
  }
}

TEST_CASE("simulation: a hub that listens to fewer peers than it has spokes visits the others in turn") {
  FleetOptions options;
  options.nodes = 31;
  options.hub = true;
  options.named = true;
  options.hub_live_peers = 8;
  Fleet fleet(options);
  fleet.run_for(kMinute);
  for (int spoke = 1; spoke < 31; ++spoke) {
    fleet.write(spoke);
  }
  CHECK_FALSE(fleet.run_until([&] { return fleet.all_have_all(); }, 10 * kSecond));
  CHECK(fleet.run_until([&] { return fleet.all_have_all(); }, 22 * options.interval / kVisitsEachInterval * 2));
}

TEST_CASE("simulation: one seed, one run") {
  FleetOptions options;
  options.nodes = 12;
  Load load;
  load.churn = 4;
  load.partition = true;
  load.duration = kMinute / 2;
  const std::vector<Line> once{measure(options, load)};
  const std::vector<Line> again{measure(options, load)};
  CHECK(table(once) == table(again));
  options.seed = 2;
  CHECK(table(once) != table({measure(options, load)}));
}
