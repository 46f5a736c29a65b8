// What is added on any node of a fleet, at any time and over any way, is in the column on every node in the end (C16).
#include <catch2/catch.hpp>

#include "check_histories.h"

namespace mbsync::sim {

namespace {

constexpr ColumnNumber kCounter = 2;
constexpr Key kRows = 2;

// Steps as in history.h, but rows are only inserted once, at the start, and what is written to the counter are changes.
std::string failure_of_sums(const History& history) {
  const auto count = node_count(history);
  std::vector<Node> nodes;
  std::set<NodeId> fleet;
  for (std::size_t i = 0; i < count; ++i) {
    fleet.insert(NodeId{static_cast<std::int64_t>(i) + 1});
  }
  for (const auto id : fleet) {
    nodes.emplace_back(id, std::vector<ColumnNumber>{1, 2, 3}, fleet);
    nodes.back().publish(1);
  }
  std::map<Key, std::int64_t> expected;
  for (Key key = 0; key < kRows; ++key) {
    nodes[0].write(key, {{1, Value{"1"}}, {kCounter, Value{"100"}}}, WriteTime{1});
    expected[key] = 100;
  }
  const auto pull_all = [&] {
    for (std::size_t round = 0; round < count; ++round) {
      for (auto& node : nodes) {
        for (auto& other : nodes) {
          if (&node != &other) {
            node.pull(other);
          }
        }
      }
    }
  };
  pull_all();

  std::vector<std::pair<std::size_t, PullAnswer>> delayed;
  std::int64_t now = 10;
  for (const auto bits : history.steps) {
    const auto step = decode_step(history, bits);
    auto& node = nodes[step.node];
    const Key key = step.key % kRows;
    const WriteTime at{++now + step.jitter};
    switch (step.kind) {
      case StepKind::kWrite:
      case StepKind::kIncrease:
      case StepKind::kDelete:
        if (node.increase(key, kCounter, step.jitter - 3, at)) {
          expected[key] += step.jitter - 3;
        }
        break;
      case StepKind::kHold:
        node.hold(key, {{1, Value{"2"}}}, at);
        break;
      case StepKind::kRelease:
        node.release_all();
        break;
      case StepKind::kSeal:
        node.write(key, {{3, Value{"3"}}}, at);
        break;
      case StepKind::kPull:
      case StepKind::kPullTwice:
        node.pull(nodes[step.other]);
        break;
      case StepKind::kAsk:
        delayed.emplace_back(step.node, nodes[step.other].answer(node.request()));
        break;
      case StepKind::kDeliver:
        for (const auto& [asker, answer] : std::exchange(delayed, {})) {
          nodes[asker].apply(answer);
        }
        break;
      case StepKind::kForget:
        node.settle_unseen();
        node.forget();
        break;
      case StepKind::kPublish:
      case StepKind::kPartition:
      case StepKind::kJoin:
        node.publish(2);  // changes of the column add up there as well
        break;
    }
  }
  for (auto& node : nodes) {
    node.release_all();
    node.settle_unseen();
  }
  for (int round = 0; round < 2; ++round) {
    pull_all();
    for (auto& node : nodes) {
      for (const auto& [key, sum] : expected) {
        const auto row = node.row(key);
        if (!row || row->at(kCounter) != std::to_string(sum)) {
          return "row " + std::to_string(key) + " should have " + std::to_string(sum) + "; node " +
                 std::to_string(node.id().value) + " has\n" + to_string(node.rows());
        }
      }
    }
    for (auto& node : nodes) {
      node.forget();
    }
  }
  return "";
}

}  // namespace

TEST_CASE("fleet: whatever happens, a counter has what was put in and all that was added (C16)") {
  REQUIRE(check_histories("counters add up", [] {
    const History history = *any_history();
    const std::string failure = failure_of_sums(history);
    if (!failure.empty()) {
      RC_FAIL(failure);
    }
  }));
}

}  // namespace mbsync::sim
