#include "settle.h"

#include <algorithm>
#include <iterator>
#include <utility>

#include "check.h"
#include "winner.h"

namespace mbsync {

namespace {

using Siblings = std::vector<const Write*>;

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

const Value& value_of(const Write& write, ColumnNumber column) {
  const auto found = write.values.find(column);
  MBSYNC_CHECK(found != write.values.end(), "a write lacks the value of one of its columns");
  return found->second;
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

/// C3: who says that the row is there, against those who deleted it.
void judge_row_mark(const Siblings& deleting, const Siblings& writing, std::vector<ColumnConflict>& conflicts) {
  if (deleting.empty() || writing.empty()) {
    return;
  }
  ColumnConflict conflict{kRowMark, last_writer(writing).dot, {}};
  for (const Write* write : deleting) {
    conflict.losers.push_back(write->dot);
  }
  conflicts.push_back(std::move(conflict));
}

/// C4 to C6: one column's value; siblings that disagree with it are noted.
Value judge_column(const Siblings& siblings, ColumnNumber column, std::vector<ColumnConflict>& conflicts) {
  Siblings counted = only(siblings, false);
  if (counted.empty()) {
    counted = siblings;
  }
  const Write& winner = last_writer(counted);
  const Value& value = value_of(winner, column);
  ColumnConflict conflict{column, winner.dot, {}};
  for (const Write* write : counted) {
    if (value_of(*write, column) != value) {
      conflict.losers.push_back(write->dot);
    }
  }
  if (!conflict.losers.empty()) {
    conflicts.push_back(std::move(conflict));
  }
  return value;
}

}  // namespace

Outcome settle(const RowState& state, const std::vector<ColumnNumber>& columns, const std::optional<Values>& mine,
               const std::optional<Values>& theirs) {
  Outcome outcome;
  const Siblings marked = holders(state, kRowMark);
  const Siblings writing = only(marked, false);
  outcome.exists = marked.empty() ? mine.has_value() : !writing.empty();
  if (!outcome.exists) {
    return outcome;
  }
  judge_row_mark(only(marked, true), writing, outcome.conflicts);
  for (const ColumnNumber column : columns) {
    const Siblings siblings = holders(state, column);
    outcome.values.emplace(column, siblings.empty() ? settled_value(column, mine, theirs)
                                                    : judge_column(siblings, column, outcome.conflicts));
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
