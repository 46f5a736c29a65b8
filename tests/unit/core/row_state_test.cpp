#include "row_state.h"

#include "core_literals.h"

namespace mbsync {

namespace {

const VersionVector kNothing;

/// The join, which must not depend on whose side is whose.
RowState join_both_ways(const RowState& a, const VersionVector& a_seen, const RowState& b,
                        const VersionVector& b_seen) {
  const RowState joined = join(a, a_seen, b, b_seen);
  CHECK(joined == join(b, b_seen, a, a_seen));
  CHECK(joined == join(
                      joined,
                      [&] {
                        VersionVector both = a_seen;
                        both.merge(b_seen);
                        return both;
                      }(),
                      a, a_seen));
  return joined;
}

}  // namespace

TEST_CASE("join: a write that the other has not seen is taken over (C1)") {
  const RowState one = state({write(dot(1, 1), 10, {{1, "a"}})});
  CHECK(join_both_ways(one, vector({{node(1), 1}}), {}, kNothing) == one);
}

TEST_CASE("join: a write that the other has seen and lacks was overwritten there (C1)") {
  const RowState old = state({write(dot(1, 1), 10, {{1, "a"}})});
  const RowState next = state({write(dot(2, 1), 5, {{1, "b"}})});
  const VersionVector next_seen = vector({{node(1), 1}, {node(2), 1}});
  CHECK(join_both_ways(old, vector({{node(1), 1}}), next, next_seen) == next);
  CHECK(join_both_ways(old, vector({{node(1), 1}}), {}, next_seen) == RowState{});
}

TEST_CASE("join: writes that neither has seen of the other are siblings, in dot order (C1, C4)") {
  const Write a = write(dot(1, 1), 10, {{1, "a"}});
  const Write b = write(dot(2, 1), 20, {{1, "b"}});
  CHECK(join_both_ways(state({b}), vector({{node(2), 1}}), state({a}), vector({{node(1), 1}})) == state({a, b}));
}

TEST_CASE("join: a write of both keeps the columns that both still have, with their values (C1)") {
  // Node 1 wrote columns 1 to 3; node 2 has since overwritten column 2, node 3 column 3.
  const VersionVector two_seen = vector({{node(1), 1}, {node(2), 1}});
  const VersionVector three_seen = vector({{node(1), 1}, {node(3), 1}});
  const RowState two = state({write(dot(1, 1), 10, {{1, "a"}, {3, "c"}}, false), write(dot(2, 1), 20, {{2, "B"}})});
  const RowState three = state({write(dot(1, 1), 10, {{1, "a"}, {2, "b"}}, false), write(dot(3, 1), 20, {{3, "C"}})});
  CHECK(join_both_ways(two, two_seen, three, three_seen) ==
        state({write(dot(1, 1), 10, {{1, "a"}}, false), write(dot(2, 1), 20, {{2, "B"}}),
               write(dot(3, 1), 20, {{3, "C"}})}));
}

TEST_CASE("join: a write of both with no column in common is gone (C1)") {
  const VersionVector two_seen = vector({{node(1), 1}, {node(2), 1}});
  const VersionVector three_seen = vector({{node(1), 1}, {node(3), 1}});
  const RowState two = state({write(dot(1, 1), 10, {{2, "b"}}, false), write(dot(2, 1), 20, {{1, "A"}})});
  const RowState three = state({write(dot(1, 1), 10, {{1, "a"}}, false), write(dot(3, 1), 20, {{2, "B"}})});
  CHECK(join_both_ways(two, two_seen, three, three_seen) ==
        state({write(dot(2, 1), 20, {{1, "A"}}), write(dot(3, 1), 20, {{2, "B"}})}));
}

TEST_CASE("join: time plays no part in it (C1)") {
  // The later clock time was overwritten by the earlier one, and stays so.
  const RowState fast_clock = state({write(dot(1, 1), 1000, {{1, "a"}})});
  const RowState slow_clock = state({write(dot(2, 1), 1, {{1, "b"}})});
  CHECK(join_both_ways(fast_clock, vector({{node(1), 1}}), slow_clock, vector({{node(1), 1}, {node(2), 1}})) ==
        slow_clock);
}

TEST_CASE("overwrite: older writes lose the columns of the new one, and are gone when none is left (C2)") {
  RowState row = state({write(dot(1, 1), 10, {{1, "a"}, {2, "b"}}), write(dot(3, 1), 11, {{1, "x"}})});
  overwrite(row, write(dot(2, 1), 5, {{1, "A"}}));
  CHECK(row == state({write(dot(1, 1), 10, {{2, "b"}}, false), write(dot(2, 1), 5, {{1, "A"}})}));
}

TEST_CASE("overwrite: a delete takes all columns and leaves nothing of the older writes (C2)") {
  RowState row = state({write(dot(1, 1), 10, {{1, "a"}, {2, "b"}}), write(dot(3, 1), 11, {{1, "x"}})});
  const Write deleted = tombstone(dot(2, 1), 5, {{1, "x"}, {2, "b"}});
  overwrite(row, deleted);
  CHECK(row == state({deleted}));
}

TEST_CASE("normalise: sorts by dot, drops what has no columns, twins and values of other columns") {
  Write superfluous = write(dot(2, 1), 10, {{1, "a"}});
  superfluous.values[7] = "not its column";
  const Write empty{dot(1, 1), WriteTime{1}, {}, false, {}};
  RowState row = state({superfluous, empty, write(dot(1, 2), 10, {{1, "b"}}), write(dot(2, 1), 99, {{1, "twin"}})});
  row.normalise();
  CHECK(row == state({write(dot(1, 2), 10, {{1, "b"}}), write(dot(2, 1), 10, {{1, "a"}})}));
  CHECK(row.find(dot(1, 2)) == &row.writes.front());
  CHECK(row.find(dot(9, 9)) == nullptr);
}

}  // namespace mbsync
