// A database that joins a fleet, or comes back to it as another: what only it has done to its rows goes on top of the
// fleet's (CONFLICTS.md C9, C22).
#include <fmt/format.h>

#include <algorithm>

#include "judge.h"

namespace mbsync {

Result<void> Judge::judge_newcomer(JudgedRow& row, Counters counters) {
  auto [own, fleet] = sides_of(row);
  // A row that the fleet does not have is news, and shows what it shows. The sender may have it although it does not
  // show it, where the application holds it up there.
  const bool news = !row.their_row && !settle(fleet, numbers_, std::nullopt, no_values(), book_).exists;
  const auto totals = show_all(row, counters, {&own, &fleet}, total_of(news ? row.my_counters : counters));
  auto [below, base, beside] = meet(row, own, fleet);
  ApartKeys apart;
  if (beside) {
    MBSYNC_TRY(keep_beside(row, *beside, *below, fleet, base, apart));
    if (row_is_refused(row)) {
      return {};
    }
  }
  add_base_conflict(row, below, base, apart);
  Outcome outcome;
  outcome.exists = base.values.has_value();
  outcome.values = base.values.value_or(Values{});
  write(row, base.state, outcome, totals);
  return {};
}

// The fleet's writes are as the sender has them, whatever of them the own ones have overwritten; those lie on top.
Judge::Sides Judge::sides_of(const JudgedRow& row) const {
  Sides sides{{}, row.theirs};
  for (const auto& entry : row.mine.writes) {
    if (!context_.header.seen.covers(entry.dot)) {
      (context_.outside.contains(entry.dot.origin) ? sides.own : sides.fleet).writes.push_back(entry);
    }
  }
  sides.fleet.normalise();
  return sides;
}

Judge::Meeting Judge::meet(const JudgedRow& row, const RowState& own, const RowState& fleet) {
  // What the sender has not judged yet, since the application holds the row there, is judged here.
  const auto theirs = settle(fleet, numbers_, row.their_row, no_values(), book_);
  if (theirs.apart.empty()) {
    add_conflicts(row, fleet, theirs, {});
  }
  Meeting meeting;
  meeting.below = theirs.exists ? std::optional<Values>(theirs.values) : std::nullopt;
  meeting.base = settle_on_base(own, row.my_base, fleet, meeting.below, book_);
  if (auto made = made_anew(own, row); made && meeting.below && made->values != *meeting.below) {
    meeting.beside = std::move(made);
  }
  return meeting;
}

std::optional<Write> Judge::made_anew(const RowState& own, const JudgedRow& row) const {
  const auto* rules = context_.rules.find(context_.in_force, table_);
  if (rules == nullptr || rules->row.keep_both.empty() || !row.my_base) {
    return std::nullopt;
  }
  for (const auto& entry : own.writes) {
    if (!entry.deleted && entry.at != kTimeUnknown && rules->row.keep_both.minus(entry.columns).empty()) {
      Write made = entry;
      made.columns.insert(kRowMark);
      made.values = *row.my_base;
      return made;
    }
  }
  return std::nullopt;
}

// The newcomer's row goes on under a key of its own, and the fleet's takes its place, at once or when it can be
// written.
Result<void> Judge::keep_beside(JudgedRow& row, const Write& beside, const Values& below, const RowState& fleet,
                                BaseOutcome& base, ApartKeys& apart) {
  MBSYNC_TRY(set_apart(row, beside, apart));
  base.state = fleet;
  base.values = below;
  base.conflicts.clear();
  for (const auto& [number, value] : below) {
    if (beside.values.at(number) != value) {
      base.conflicts.push_back({number, true});
    }
  }
  return {};
}

Result<void> Judge::newcomer_that_waits(JudgedRow& row, RowState& merged) {
  const auto [own, fleet] = sides_of(row);
  auto [below, base, beside] = meet(row, own, fleet);
  ApartKeys apart;
  if (beside) {
    MBSYNC_TRY(keep_beside(row, *beside, *below, fleet, base, apart));
    if (row_is_refused(row)) {
      return {};
    }
  }
  add_base_conflict(row, below, base, apart);
  merged = std::move(base.state);
  if (!row.their_row) {
    return {};
  }
  // What no live write holds.
  Write rest{Dot{}, kTimeUnknown, {}, false, *row.their_row};
  rest.columns.insert(kRowMark);
  for (const auto number : numbers_) {
    rest.columns.insert(number);
  }
  for (const auto& entry : merged.writes) {
    rest.columns = rest.columns.minus(entry.columns);
  }
  if (rest.columns.empty()) {
    return {};
  }
  // The latest write that all know of, and that is none of the row's live ones: to them, it has been overwritten.
  for (const auto& [origin, latest] : context_.header.seen.counters()) {
    for (auto counter = latest; counter > rest.dot.counter; --counter) {
      if (fleet.find(Dot{origin, counter}) == nullptr) {
        rest.dot = Dot{origin, counter};
        break;
      }
    }
  }
  if (rest.dot.counter == 0) {
    return cannot_wait(row);
  }
  row.fleet_row = rest.dot;
  merged.writes.push_back(std::move(rest));
  return {};
}

Error Judge::cannot_wait(const JudgedRow& row) const {
  return Error{ErrorKind::kConflict, fmt::format("row {} of table {} cannot be written now", row.key, table_.display()),
               "nothing was changed; a node that joins needs this row: change or remove what stands in its way, on "
               "either machine, and it goes on by itself"};
}

}  // namespace mbsync
