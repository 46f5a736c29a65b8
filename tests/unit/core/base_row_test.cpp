#include "base_row.h"

#include "core_literals.h"

namespace mbsync {

namespace {

constexpr std::int64_t kOld = kTimeUnknown.micros;
const Values kBase{{1, "fleet"}, {2, "same"}};
const Values kOwn{{1, "own"}, {2, "same"}};

using Conflicts = std::vector<BaseConflict>;

}  // namespace

TEST_CASE("base row: without own writes the fleet's row is taken, and that is no conflict (C9)") {
  for (const std::optional<Values>& row : {std::optional<Values>{}, std::optional<Values>{kOwn}}) {
    const BaseOutcome outcome = settle_on_base({}, row, kBase);
    CHECK(outcome.values == kBase);
    CHECK(outcome.state == RowState{});
    CHECK(outcome.conflicts.empty());
  }
}

TEST_CASE("base row: a row from before mbsync gives way, and what differs is a conflict (C9)") {
  const BaseOutcome outcome = settle_on_base(state({write(dot(1, 1), kOld, kOwn)}), kOwn, kBase);
  CHECK(outcome.values == kBase);
  CHECK(outcome.state == RowState{});
  CHECK(outcome.conflicts == Conflicts{{1, true}});
}

TEST_CASE("base row: a row from before mbsync that is the same is no conflict (C9)") {
  const BaseOutcome outcome = settle_on_base(state({write(dot(1, 1), kOld, kBase)}), kBase, kBase);
  CHECK(outcome.values == kBase);
  CHECK(outcome.conflicts.empty());
}

TEST_CASE("base row: a real edit stands on top of the fleet's row, in its columns only (C9)") {
  const RowState mine = state({write(dot(1, 1), kOld, {{1, "own"}}, false), write(dot(1, 2), 10, {{2, "edit"}})});
  const BaseOutcome outcome = settle_on_base(mine, Values{{1, "own"}, {2, "edit"}}, kBase);
  CHECK(outcome.values == Values{{1, "fleet"}, {2, "edit"}});
  CHECK(outcome.state == state({write(dot(1, 2), 10, {{2, "edit"}})}));
  CHECK(outcome.conflicts == Conflicts{{1, true}, {2, false}});
}

TEST_CASE("base row: a real edit to the fleet's value is no conflict and stays live (C9)") {
  const RowState mine = state({write(dot(1, 2), 10, {{2, "same"}})});
  const BaseOutcome outcome = settle_on_base(mine, kOwn, kBase);
  CHECK(outcome.values == kBase);
  CHECK(outcome.state == mine);
  CHECK(outcome.conflicts.empty());
}

TEST_CASE("base row: of several real edits the last writer is shown (C5, C9)") {
  const RowState mine = state({write(dot(1, 2), 20, {{1, "late"}}), write(dot(7, 1), 10, {{1, "early"}})});
  const BaseOutcome outcome = settle_on_base(mine, kOwn, kBase);
  CHECK(outcome.values == Values{{1, "late"}, {2, "same"}});
  CHECK(outcome.state == mine);
}

TEST_CASE("base row: a real delete deletes the fleet's row (C9)") {
  const RowState mine = state({tombstone(dot(1, 2), 10, kOwn)});
  const BaseOutcome outcome = settle_on_base(mine, std::nullopt, kBase);
  CHECK(outcome.values == std::nullopt);
  CHECK(outcome.state == state({tombstone(dot(1, 2), 10, kBase)}));
  CHECK(outcome.conflicts == Conflicts{{kRowMark, false}});
}

TEST_CASE("base row: live writes of the fleet stay where the own row gives way (C9)") {
  const RowState fleet = state({write(dot(5, 1), 3, {{1, "fleet"}})});
  const BaseOutcome outcome = settle_on_base(state({write(dot(1, 1), kOld, kOwn)}), kOwn, fleet, kBase);
  CHECK(outcome.values == kBase);
  CHECK(outcome.state == fleet);
  CHECK(outcome.conflicts == Conflicts{{1, true}});
}

TEST_CASE("base row: a real edit comes out the same whether the fleet's writes are forgotten or not (C8, C9)") {
  const RowState mine = state({write(dot(1, 2), 10, {{1, "edit"}})});
  const RowState fleet = state({write(dot(5, 1), 99, {{1, "fleet"}, {2, "same"}})});
  const BaseOutcome live = settle_on_base(mine, kOwn, fleet, kBase);
  const BaseOutcome forgotten = settle_on_base(mine, kOwn, kBase);
  CHECK(live.values == Values{{1, "edit"}, {2, "same"}});
  CHECK(live.values == forgotten.values);
  CHECK(live.conflicts == forgotten.conflicts);
  CHECK(live.state == state({write(dot(1, 2), 10, {{1, "edit"}}), write(dot(5, 1), 99, {{2, "same"}}, false)}));
}

TEST_CASE("base row: a row that the fleet has deleted is news to it again (C9)") {
  const RowState mine = state({write(dot(1, 1), kOld, kOwn)});
  const BaseOutcome forgotten = settle_on_base(mine, kOwn, RowState{}, std::nullopt);
  CHECK(forgotten.values == kOwn);
  CHECK(forgotten.state == mine);
  CHECK(forgotten.conflicts.empty());
  const BaseOutcome live = settle_on_base(mine, kOwn, state({tombstone(dot(5, 1), 99, kBase)}), std::nullopt);
  CHECK(live.values == kOwn);
  CHECK(live.state == mine);
  CHECK(live.conflicts == Conflicts{{kRowMark, false}});
  const BaseOutcome unwritten = settle_on_base({}, kOwn, RowState{}, std::nullopt);
  CHECK(unwritten.values == std::nullopt);
}

}  // namespace mbsync
