// The laws of the join, on states that really arise: every node's state and vector in the middle of a history. Nodes of
// one history start from a common base and go different ways, so most of these states are in conflict.
#include <catch2/catch.hpp>

#include "check_histories.h"

namespace mbsync::sim {

namespace {

/// A row's live writes and the vector that they are to be read with.
struct Seen {
  RowState state;
  VersionVector vector;
};

Seen joined(const Seen& a, const Seen& b) {
  Seen result{join(a.state, a.vector, b.state, b.vector), a.vector};
  result.vector.merge(b.vector);
  return result;
}

bool same(const Seen& a, const Seen& b) {
  return a.state == b.state && a.vector == b.vector;
}

/// Each node's view of each row after a generated history, in which nothing is forgotten: forgetting leaves out writes
/// that others still have, which the join does not see but the rows do not show either.
template <typename Check>
void for_each_row(Check check) {
  History history = *any_history();
  std::erase_if(history.steps,
                [&history](std::uint32_t bits) { return decode_step(history, bits).kind == StepKind::kForget; });
  Fleet fleet(history);
  fleet.run_steps();
  for (Node& node : fleet.nodes()) {
    node.seal();
  }
  for (Key key = 0; key < 3; ++key) {
    std::vector<Seen> seen;
    for (const Node& node : fleet.nodes()) {
      seen.push_back({node.state(key), node.seen()});
    }
    check(seen);
  }
}

}  // namespace

TEST_CASE("join: mine with theirs is theirs with mine (C1)") {
  REQUIRE(check_histories("join commutes", [] {
    for_each_row([](const std::vector<Seen>& seen) {
      for (const Seen& a : seen) {
        for (const Seen& b : seen) {
          RC_ASSERT(same(joined(a, b), joined(b, a)));
        }
      }
    });
  }));
}

TEST_CASE("join: the grouping does not matter (C1)") {
  REQUIRE(check_histories("join associates", [] {
    for_each_row([](const std::vector<Seen>& seen) {
      for (const Seen& a : seen) {
        for (const Seen& b : seen) {
          for (const Seen& c : seen) {
            RC_ASSERT(same(joined(joined(a, b), c), joined(a, joined(b, c))));
          }
        }
      }
    });
  }));
}

TEST_CASE("join: a second time changes nothing (C1)") {
  REQUIRE(check_histories("join is idempotent", [] {
    for_each_row([](const std::vector<Seen>& seen) {
      for (const Seen& a : seen) {
        RC_ASSERT(same(joined(a, a), a));
        for (const Seen& b : seen) {
          RC_ASSERT(same(joined(joined(a, b), b), joined(a, b)));
        }
      }
    });
  }));
}

TEST_CASE("settle: a joined state is judged alike from either side (C3 to C6)") {
  REQUIRE(check_histories("settle is a function of the state", [] {
    for_each_row([](const std::vector<Seen>& seen) {
      const std::vector<ColumnNumber> columns{1, 2, 3};
      for (const Seen& a : seen) {
        for (const Seen& b : seen) {
          const RowState state = joined(a, b).state;
          if (state.writes.empty()) {
            continue;
          }
          // Without forgetting some live write holds each column, so neither row is needed.
          const Outcome outcome = settle(state, columns, std::nullopt, std::nullopt);
          RC_ASSERT(outcome.values.size() == (outcome.exists ? columns.size() : 0U));
          for (const ColumnConflict& conflict : outcome.conflicts) {
            RC_ASSERT(state.find(*conflict.winner) != nullptr);
            for (const Dot& loser : conflict.losers) {
              RC_ASSERT(state.find(loser) != nullptr);
              RC_ASSERT(must_keep_values(*state.find(loser), outcome));
            }
          }
        }
      }
    });
  }));
}

}  // namespace mbsync::sim
