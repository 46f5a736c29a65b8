#include "settle.h"

#include <algorithm>
#include <iterator>
#include <tuple>
#include <utility>

#include "check.h"

namespace mbsync {

namespace {

/// The live writes that hold `column`, in dot order.
Siblings holders(const RowState& state, ColumnNumber column) {
  Siblings result;
  for (const Write& write : state.writes) {
    if (write.columns.contains(column)) {
      result.push_back(&write);
    }
  }
  return result;
}

Siblings only(const Siblings& siblings, bool deleted) {
  Siblings result;
  std::copy_if(siblings.begin(), siblings.end(), std::back_inserter(result),
               [deleted](const Write* write) { return write->deleted == deleted; });
  return result;
}

/// The value of a column that no live write holds: that of the row, wherever there is one.
const Value& settled_value(ColumnNumber column, const std::optional<Values>& mine,
                           const std::optional<Values>& theirs) {
  for (const auto* row : {&mine, &theirs}) {
    if (row->has_value()) {
      if (const auto found = (*row)->find(column); found != (*row)->end()) {
        return found->second;
      }
    }
  }
  MBSYNC_CHECK(false, "a row lacks the value of a column that no live write holds");
}

/// C3, C14: whether the row is there, if some deleted it and others wrote it.
bool judge_row_mark(const RowState& state, const Siblings& deleting, const Siblings& writing, const Rulebook& book,
                    std::vector<ColumnConflict>& conflicts) {
  if (deleting.empty() || writing.empty()) {
    return !writing.empty();
  }
  const auto version = std::max(highest_policy(deleting), highest_policy(writing));
  const bool exists = book.rules(version).on_delete == DeleteRule::kUpdateWins;
  ColumnConflict conflict{kRowMark, last_writer(exists ? writing : deleting).dot, {}};
  if (exists) {
    for (const Write* write : deleting) {
      conflict.losers.push_back(write->dot);
    }
  } else {
    // Those too that have passed the row mark on to a later write: what they hold goes with the row.
    for (const Write& write : state.writes) {
      if (!write.deleted) {
        conflict.losers.push_back(write.dot);
      }
    }
  }
  conflicts.push_back(std::move(conflict));
  return exists;
}

/// C15: rows that were made under one key without knowledge of each other. The first of them stays under it; others
/// that are whole, and not the same, are taken out of the judgement.
Siblings made_apart(const RowState& state, const std::vector<ColumnNumber>& columns, const Rulebook& book,
                    const Write** first) {
  Siblings marked = only(holders(state, kRowMark), false);
  const ColumnSet& key = marked.empty() ? ColumnSet() : book.rules(highest_policy(marked)).keep_both;
  if (key.empty()) {
    return {};
  }
  Siblings makers;
  for (const Write& write : state.writes) {
    // Only what made a row holds its key; what is from before mbsync may be one row that both have.
    if (!write.deleted && write.at != kTimeUnknown && key.minus(write.columns).empty()) {
      makers.push_back(&write);
    }
  }
  std::sort(makers.begin(), makers.end(),
            [](const Write* a, const Write* b) { return std::tie(a->at, a->dot) < std::tie(b->at, b->dot); });
  // A column that has come since is in none of the writes.
  ColumnSet written;
  for (const Write& write : state.writes) {
    written = write.deleted ? written : written.unite(write.columns);
  }
  Siblings apart;
  for (const Write* maker : makers) {
    const bool whole = std::all_of(columns.begin(), columns.end(), [&](ColumnNumber column) {
      return maker->columns.contains(column) || !written.contains(column);
    });
    if (maker != makers.front() && whole && maker->values != makers.front()->values) {
      apart.push_back(maker);
    }
  }
  *first = makers.empty() ? nullptr : makers.front();
  return apart;
}

/// C4 to C6: one column's value; siblings that disagree with it are noted.
Value judge_column(const Siblings& siblings, ColumnNumber column, const Rulebook& book, const Siblings& apart,
                   std::vector<ColumnConflict>& conflicts) {
  Siblings counted = only(siblings, false);
  if (counted.empty()) {
    counted = siblings;
  }
  Siblings left;
  std::copy_if(counted.begin(), counted.end(), std::back_inserter(left),
               [&](const Write* write) { return std::find(apart.begin(), apart.end(), write) == apart.end(); });
  counted = left.empty() ? counted : left;
  const Value& first = value_of(*counted.front(), column);
  if (std::all_of(counted.begin(), counted.end(),
                  [&](const Write* write) { return value_of(*write, column) == first; })) {
    return first;
  }
  Verdict verdict = judge_siblings(counted, column, book);
  ColumnConflict conflict{column, verdict.winner, {}, verdict.rule, std::move(verdict.note)};
  for (const Write* write : counted) {
    if (value_of(*write, column) != verdict.value) {
      conflict.losers.push_back(write->dot);
    }
  }
  conflicts.push_back(std::move(conflict));
  return std::move(verdict.value);
}

}  // namespace

Outcome settle(const RowState& state, const std::vector<ColumnNumber>& columns, const std::optional<Values>& mine,
               const std::optional<Values>& theirs, const Rulebook& book) {
  Outcome outcome;
  const Siblings marked = holders(state, kRowMark);
  outcome.exists = marked.empty()
                       ? mine.has_value()
                       : judge_row_mark(state, only(marked, true), only(marked, false), book, outcome.conflicts);
  if (!outcome.exists) {
    return outcome;
  }
  const Write* first = nullptr;
  const Siblings apart = made_apart(state, columns, book, &first);
  for (const ColumnNumber column : columns) {
    const Siblings siblings = holders(state, column);
    outcome.values.emplace(column, siblings.empty() ? settled_value(column, mine, theirs)
                                                    : judge_column(siblings, column, book, apart, outcome.conflicts));
    ColumnConflict both{column, first == nullptr ? std::nullopt : std::optional(first->dot), {}};
    both.kept_both = true;
    for (const Write* write : apart) {
      if (write->columns.contains(column) && value_of(*write, column) != outcome.values.at(column)) {
        both.losers.push_back(write->dot);
      }
    }
    if (!both.losers.empty()) {
      std::sort(both.losers.begin(), both.losers.end());
      outcome.conflicts.push_back(std::move(both));
    }
  }
  for (const Write* write : apart) {
    outcome.apart.push_back(write->dot);
  }
  return outcome;
}

RowState without_apart(const RowState& state, const Outcome& outcome) {
  const auto is_apart = [&](const Write& write) {
    return std::find(outcome.apart.begin(), outcome.apart.end(), write.dot) != outcome.apart.end();
  };
  ColumnSet held;
  for (const Write& write : state.writes) {
    held = is_apart(write) ? held : held.unite(write.columns);
  }
  RowState left = state;
  for (Write& write : left.writes) {
    if (is_apart(write)) {
      write.columns = write.columns.minus(held);
    }
  }
  left.normalise();
  return left;
}

bool must_keep_values(const Write& write, const Outcome& outcome) {
  if (write.deleted || !outcome.exists) {
    return true;
  }
  return std::any_of(write.values.begin(), write.values.end(), [&outcome](const auto& entry) {
    const auto shown = outcome.values.find(entry.first);
    return shown == outcome.values.end() || shown->second != entry.second;
  });
}

}  // namespace mbsync
