#include "settle.h"

#include <algorithm>
#include <iterator>
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
bool judge_row_mark(const Siblings& deleting, const Siblings& writing, const Rulebook& book,
                    std::vector<ColumnConflict>& conflicts) {
  if (deleting.empty() || writing.empty()) {
    return !writing.empty();
  }
  const auto version = std::max(highest_policy(deleting), highest_policy(writing));
  const bool exists = book.rules(version).on_delete == DeleteRule::kUpdateWins;
  ColumnConflict conflict{kRowMark, last_writer(exists ? writing : deleting).dot, {}};
  for (const Write* write : exists ? deleting : writing) {
    conflict.losers.push_back(write->dot);
  }
  conflicts.push_back(std::move(conflict));
  return exists;
}

/// C4 to C6: one column's value; siblings that disagree with it are noted.
Value judge_column(const Siblings& siblings, ColumnNumber column, const Rulebook& book,
                   std::vector<ColumnConflict>& conflicts) {
  Siblings counted = only(siblings, false);
  if (counted.empty()) {
    counted = siblings;
  }
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
  outcome.exists = marked.empty() ? mine.has_value()
                                  : judge_row_mark(only(marked, true), only(marked, false), book, outcome.conflicts);
  if (!outcome.exists) {
    return outcome;
  }
  for (const ColumnNumber column : columns) {
    const Siblings siblings = holders(state, column);
    outcome.values.emplace(column, siblings.empty() ? settled_value(column, mine, theirs)
                                                    : judge_column(siblings, column, book, outcome.conflicts));
  }
  return outcome;
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
