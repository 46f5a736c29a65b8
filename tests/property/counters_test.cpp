// What is added on any node of a fleet, at any time and over any way, is in the column on every node in the end (C16).
#include <catch2/catch.hpp>

#include <exception>

#include "check_histories.h"
#include "decimal.h"

namespace mbsync::sim {

namespace {

constexpr ColumnNumber kCounter = 2;
constexpr Key kCounted = 10;  // the first of the rows with a counter; histories use the keys from 0
constexpr Key kRows = 2;

/// A fleet, and what the counters of its rows have to come to. All nodes have policy 1 from the start. One of them
/// inserts the rows, and those that are there from the start have them before anything else happens. Nobody deletes
/// them or inserts them again.
class CountedFleet {
 public:
  explicit CountedFleet(const History& history, Fault fault = Fault::kNone) : fleet_(history, fault) {
    for (Node& node : fleet_.nodes()) {
      node.publish(1);
    }
    Node& first = fleet_.nodes().front();
    for (Key row = 0; row < kRows; ++row) {
      first.write(kCounted + row, {{1, Value{"1"}}, {kCounter, Value{"100"}}}, WriteTime{1});
      expected_[kCounted + row] = *Decimal::parse("100");
    }
    for (std::size_t node = 1; node < fleet_.nodes().size(); ++node) {
      if (fleet_.joined(node)) {
        fleet_.nodes()[node].pull(first);
      }
    }
  }

  /// What nodes do with each other is done as in any history, and so is what happens to the last of its keys; other
  /// steps are turned into changes of the counters and of the columns beside them.
  void run(const Step& step) {
    const bool counted = step.key < kRows;
    switch (step.kind) {
      case StepKind::kPublish:
        fleet_.nodes()[step.node].publish(2);  // the column adds up there as well
        return;
      case StepKind::kWrite:
      case StepKind::kDelete:
      case StepKind::kSeal:
      case StepKind::kHold:
      case StepKind::kRelease:
      case StepKind::kIncrease:
        counted ? change(step) : fleet_.run(step);
        return;
      case StepKind::kPull:
      case StepKind::kPullTwice:
      case StepKind::kAsk:
      case StepKind::kDeliver:
      case StepKind::kForget:
      case StepKind::kPartition:
      case StepKind::kJoin:
      case StepKind::kAway:
        fleet_.run(step);
        return;
    }
  }

  Fleet& fleet() { return fleet_; }

  /// A row that is not what it should be, or nothing.
  [[nodiscard]] std::string difference() const {
    for (const Node& node : fleet_.nodes()) {
      for (const auto& [key, sum] : expected_) {
        const auto row = node.row(key);
        if (!row || row->at(kCounter) != sum.to_string()) {
          return "row " + std::to_string(key) + " should have " + sum.to_string() + "; node " +
                 std::to_string(node.id().value) + " has\n" + to_string(node.rows());
        }
      }
    }
    return "";
  }

 private:
  void change(const Step& step) {
    // With different scales, since a sum has the greatest of them.
    static const std::vector<std::string> kChanges{"-3", "-2.5", "-0.25", "0", "0.75", "1", "2.00", "4"};
    Node& node = fleet_.nodes()[step.node];
    const Key key = kCounted + step.key;
    const Decimal by = *Decimal::parse(kChanges[static_cast<std::size_t>(step.jitter)]);
    const WriteTime at{++now_ + 3 * step.jitter};  // not in the order of the steps
    if (!node.row(key)) {
      return;  // it is yet to join
    }
    if (step.kind == StepKind::kHold) {
      // A transaction that stays open. Nobody else changes the row meanwhile, so it is known what it will have added.
      const Decimal sum = *Decimal::parse(*node.row(key)->at(kCounter)) + by;
      const bool adds = step.jitter < 6;
      const Values values = adds ? Values{{kCounter, sum.to_string()}} : Values{{3, "held"}};
      count(key, by, node.hold(key, values, at) && adds);
    } else if (step.kind == StepKind::kRelease) {
      node.release(key);
    } else {
      if (step.kind != StepKind::kSeal) {
        count(key, by, node.increase(key, kCounter, by, at));
      }
      if (step.kind == StepKind::kSeal || step.kind == StepKind::kDelete) {
        node.write(key, {{step.jitter % 2 == 0 ? 1 : 3, std::to_string(step.jitter)}}, at);
      }
    }
  }

  void count(Key key, const Decimal& by, bool done) {
    if (done) {
      expected_[key] = expected_[key] + by;
    }
  }

  Fleet fleet_;
  std::map<Key, Decimal> expected_;
  std::int64_t now_ = 10;
};

std::string failure_of_sums(const History& history, Fault fault = Fault::kNone) {
  try {
    CountedFleet counted(history, fault);
    for (const std::uint32_t bits : history.steps) {
      counted.run(decode_step(history, bits));
    }
    counted.fleet().heal();
    if (std::string wrong = counted.difference(); !wrong.empty()) {
      return wrong;
    }
    counted.fleet().forget_all();
    for (const Node& node : counted.fleet().nodes()) {
      if (node.live_writes() != 0) {
        return "node " + std::to_string(node.id().value) + " has writes left that all nodes have";
      }
    }
    const std::string wrong = counted.difference();
    return wrong.empty() ? "" : "after all was forgotten: " + wrong;
  } catch (const std::exception& error) {
    return error.what();
  }
}

/// Whether histories show what `fault` does to counters.
void check_noticed(Fault fault) {
  CHECK_FALSE(first_failure([fault](const History& history) { return failure_of_sums(history, fault); }).empty());
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

TEST_CASE("fleet: counters lose what is forgotten with the writes, or counted twice (C16)") {
  check_noticed(Fault::kForgetCounters);
  check_noticed(Fault::kAddAsWritten);
}

TEST_CASE("fleet: counters lose what is forgotten too early, or hidden from a transaction (C8, C10, C16)") {
  check_noticed(Fault::kForgetUnguarded);
  check_noticed(Fault::kReportUnseen);
  check_noticed(Fault::kSealOverUnseen);
}

}  // namespace mbsync::sim
