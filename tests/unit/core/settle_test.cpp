#include "settle.h"

#include <algorithm>

#include "core_literals.h"
#include "winner.h"

namespace mbsync {

namespace {

const std::vector<ColumnNumber> kColumns{1, 2};
const std::optional<Values> kNoRow;

Outcome judge(std::vector<Write> writes, const std::optional<Values>& mine = kNoRow,
              const std::optional<Values>& theirs = kNoRow) {
  return settle(state(std::move(writes)), kColumns, mine, theirs);
}

using Conflicts = std::vector<ColumnConflict>;

}  // namespace

TEST_CASE("last writer: time, then origin, then counter; the order of the siblings does not matter (C5)") {
  const auto wins = [](const Write& winner, const Write& loser) {
    return &last_writer({&winner, &loser}) == &winner && &last_writer({&loser, &winner}) == &winner;
  };
  CHECK(wins(write(dot(1, 1), 20, {}), write(dot(2, 9), 10, {})));
  CHECK(wins(write(dot(2, 1), 10, {}), write(dot(1, 9), 10, {})));
  CHECK(wins(write(dot(1, 2), 10, {}), write(dot(1, 1), 10, {})));
  CHECK(wins(write(dot(1, 1), -1000000, {}), write(dot(2, 1), kTimeUnknown.micros, {})));
  CHECK(wins(write(dot(2, 1), kTimeUnknown.micros, {}), write(dot(1, 1), kTimeUnknown.micros, {})));
}

TEST_CASE("settle: a single write is the row (C3)") {
  const Outcome outcome = judge({write(dot(1, 1), 10, {{1, "a"}, {2, std::nullopt}})});
  CHECK(outcome.exists);
  CHECK(outcome.values == Values{{1, "a"}, {2, std::nullopt}});
  CHECK(outcome.conflicts.empty());
}

TEST_CASE("settle: a row that all live writes delete does not exist and has no conflict (C3)") {
  const Outcome outcome = judge({tombstone(dot(1, 1), 10, {{1, "a"}, {2, "b"}}),  //
                                 tombstone(dot(2, 1), 11, {{1, "x"}, {2, "b"}})},
                                Values{{1, "a"}, {2, "b"}});
  CHECK_FALSE(outcome.exists);
  CHECK(outcome.values.empty());
  CHECK(outcome.conflicts.empty());
}

TEST_CASE("settle: an update beats a delete, whichever is later (C3)") {
  for (const std::int64_t deleted_at : {1, 99}) {
    const Outcome outcome = judge({write(dot(1, 2), 10, {{1, "A"}}),  //
                                   tombstone(dot(2, 1), deleted_at, {{1, "a"}, {2, "b"}})});
    CHECK(outcome.exists);
    CHECK(outcome.values == Values{{1, "A"}, {2, "b"}});
    CHECK(outcome.conflicts == Conflicts{{kRowMark, dot(1, 2), {dot(2, 1)}}});
  }
}

TEST_CASE("settle: the row mark's winner is the last of the writes, its losers are all deletes (C3, C5)") {
  const Outcome outcome =
      judge({tombstone(dot(1, 1), 50, {{1, "a"}, {2, "b"}}), write(dot(2, 1), 10, {{1, "x"}, {2, "y"}}),
             write(dot(3, 1), 20, {{1, "x"}, {2, "y"}}), tombstone(dot(4, 1), 60, {{1, "a"}, {2, "b"}})});
  CHECK(outcome.conflicts == Conflicts{{kRowMark, dot(3, 1), {dot(1, 1), dot(4, 1)}}});
}

TEST_CASE("settle: siblings that differ are a conflict, and the last writer is shown (C4, C5)") {
  const Outcome outcome =
      judge({write(dot(1, 1), 30, {{1, "a"}, {2, "same"}}),  //
             write(dot(2, 1), 20, {{1, "b"}, {2, "same"}}), write(dot(3, 1), 10, {{1, std::nullopt}, {2, "same"}})});
  CHECK(outcome.values == Values{{1, "a"}, {2, "same"}});
  CHECK(outcome.conflicts == Conflicts{{1, dot(1, 1), {dot(2, 1), dot(3, 1)}}});
}

TEST_CASE("settle: siblings with the winner's value are no losers, NULL equals NULL (C4)") {
  const Outcome outcome =
      judge({write(dot(1, 1), 30, {{1, "a"}, {2, std::nullopt}}),  //
             write(dot(2, 1), 20, {{1, "b"}, {2, std::nullopt}}), write(dot(3, 1), 10, {{1, "a"}, {2, std::nullopt}})});
  CHECK(outcome.conflicts == Conflicts{{1, dot(1, 1), {dot(2, 1)}}});
  CHECK(
      judge({write(dot(1, 1), 1, {{1, ""}, {2, "x"}}), write(dot(2, 1), 2, {{1, std::nullopt}, {2, "x"}})}).conflicts ==
      Conflicts{{1, dot(2, 1), {dot(1, 1)}}});
}

TEST_CASE("settle: writes of different columns are no siblings (C4)") {
  const Outcome outcome = judge({write(dot(1, 1), 30, {{1, "a"}}), write(dot(2, 1), 20, {{2, "b"}})});
  CHECK(outcome.values == Values{{1, "a"}, {2, "b"}});
  CHECK(outcome.conflicts.empty());
}

TEST_CASE("settle: values of a deleting write count only where no other write holds the column (C6)") {
  const Outcome outcome =
      judge({write(dot(1, 2), 10, {{1, "A"}}),  //
             tombstone(dot(2, 1), 99, {{1, "a"}, {2, "b"}}), tombstone(dot(3, 1), 98, {{1, "a"}, {2, "c"}})});
  CHECK(outcome.values == Values{{1, "A"}, {2, "b"}});
  CHECK(outcome.conflicts == Conflicts{{kRowMark, dot(1, 2), {dot(2, 1), dot(3, 1)}}, {2, dot(2, 1), {dot(3, 1)}}});
}

TEST_CASE("settle: a column that no live write holds is taken from my row, else from theirs (C3)") {
  const std::vector<Write> writes{write(dot(1, 2), 10, {{1, "A"}})};
  CHECK(judge(writes, Values{{1, "a"}, {2, "mine"}}, Values{{1, "a"}, {2, "theirs"}}).values.at(2) == "mine");
  CHECK(judge(writes, kNoRow, Values{{1, "a"}, {2, "theirs"}}).values.at(2) == "theirs");
  CHECK(judge(writes, Values{{1, "a"}, {2, std::nullopt}}, Values{{1, "a"}, {2, "theirs"}}).values.at(2) ==
        std::nullopt);
}

TEST_CASE("settle: where no live write holds the row mark, the row exists if it exists here (C3)") {
  const std::vector<Write> writes{write(dot(1, 1), 10, {{1, "A"}}, false)};
  CHECK(judge(writes, Values{{1, "a"}, {2, "b"}}).values == Values{{1, "A"}, {2, "b"}});
  CHECK_FALSE(judge(writes).exists);
  CHECK(judge({}, Values{{1, "a"}, {2, "b"}}).values == Values{{1, "a"}, {2, "b"}});
  CHECK_FALSE(judge({}).exists);
}

TEST_CASE("settle: any write with a time beats one from before mbsync (C5)") {
  const Outcome outcome = judge(
      {write(dot(1, 1), -5, {{1, "edit"}, {2, "b"}}), write(dot(2, 1), kTimeUnknown.micros, {{1, "old"}, {2, "b"}})});
  CHECK(outcome.values.at(1) == "edit");
  CHECK(outcome.conflicts == Conflicts{{1, dot(1, 1), {dot(2, 1)}}});
}

TEST_CASE("settle: the outcome does not depend on the order of the writes (C5)") {
  std::vector<Write> writes{write(dot(1, 1), 10, {{1, "a"}, {2, "x"}}), write(dot(2, 1), 10, {{1, "b"}}),
                            tombstone(dot(3, 1), 10, {{1, "c"}, {2, "d"}})};
  const Outcome outcome = judge(writes);
  std::reverse(writes.begin(), writes.end());
  RowState back = state(writes);
  back.normalise();
  const Outcome again = settle(back, kColumns, kNoRow, kNoRow);
  CHECK(again.values == outcome.values);
  CHECK(again.conflicts == outcome.conflicts);
}

TEST_CASE("must keep: values are stored unless the row shows all of them (C7)") {
  Outcome outcome;
  outcome.exists = true;
  outcome.values = {{1, "a"}, {2, std::nullopt}};
  CHECK_FALSE(must_keep_values(write(dot(1, 1), 10, {{1, "a"}}), outcome));
  CHECK_FALSE(must_keep_values(write(dot(1, 1), 10, {{1, "a"}, {2, std::nullopt}}), outcome));
  CHECK(must_keep_values(write(dot(1, 1), 10, {{1, "b"}}), outcome));
  CHECK(must_keep_values(write(dot(1, 1), 10, {{1, "a"}, {2, ""}}), outcome));
  CHECK(must_keep_values(write(dot(1, 1), 10, {{9, "column that is gone"}}), outcome));
}

TEST_CASE("must keep: a write without any column but the row mark has nothing to keep (C7)") {
  Outcome outcome;
  outcome.exists = true;
  CHECK_FALSE(must_keep_values(write(dot(1, 1), 10, {}), outcome));
}

TEST_CASE("must keep: values are stored where the row was deleted or is not there (C7)") {
  Outcome there;
  there.exists = true;
  there.values = {{1, "a"}};
  CHECK(must_keep_values(tombstone(dot(1, 1), 10, {{1, "a"}}), there));
  CHECK(must_keep_values(write(dot(1, 1), 10, {{1, "a"}}), Outcome{}));
}

}  // namespace mbsync
