#include "base_row.h"

#include "settle.h"

namespace mbsync {

namespace {

std::vector<ColumnNumber> columns_of(const Values& row) {
  std::vector<ColumnNumber> result;
  for (const auto& [column, value] : row) {
    result.push_back(column);
  }
  return result;
}

std::vector<ColumnNumber> differing(const Values& base, const Values& other) {
  std::vector<ColumnNumber> result;
  for (const auto& [column, value] : base) {
    const auto found = other.find(column);
    if (found == other.end() || found->second != value) {
      result.push_back(column);
    }
  }
  return result;
}

/// `own` on top of `fleet`, as if it had been written with knowledge of it.
RowState put_on_top(RowState fleet, const RowState& own) {
  ColumnSet taken;
  for (const Write& write : own.writes) {
    taken = taken.unite(write.columns);
  }
  for (Write& write : fleet.writes) {
    write.columns = write.columns.minus(taken);
  }
  fleet.writes.insert(fleet.writes.end(), own.writes.begin(), own.writes.end());
  fleet.normalise();
  return fleet;
}

}  // namespace

BaseOutcome settle_on_base(const RowState& mine, const std::optional<Values>& row, const Values& base,
                           const Rulebook& book) {
  return settle_on_base(mine, row, RowState{}, base, book);
}

BaseOutcome settle_on_base(const RowState& mine, const std::optional<Values>& row, const RowState& fleet,
                           const std::optional<Values>& base, const Rulebook& book) {
  BaseOutcome result;
  RowState own = mine;
  if (base.has_value()) {
    std::erase_if(own.writes, [](const Write& write) { return write.at == kTimeUnknown; });
  }
  result.state = put_on_top(fleet, own);
  if (own.writes.empty()) {
    result.values = base;
    if (!mine.writes.empty() && base.has_value() && row.has_value()) {
      result.conflicts = differing(*base, *row);
      result.base_won = !result.conflicts.empty();
    }
    return result;
  }
  // The fleet's row stands below the own writes, so it takes the place of the own row: a column that none of them holds
  // is the fleet's, and the row exists unless one of them deleted it.
  const std::optional<Values>& below = base.has_value() ? base : row;
  const Outcome outcome =
      settle(own, below.has_value() ? columns_of(*below) : std::vector<ColumnNumber>{}, below, {}, book);
  if (outcome.exists) {
    result.values = outcome.values;
  }
  if (!base.has_value()) {
    if (outcome.exists && !fleet.writes.empty()) {
      result.conflicts = {kRowMark};
    }
  } else {
    result.conflicts = outcome.exists ? differing(*base, outcome.values) : std::vector<ColumnNumber>{kRowMark};
  }
  return result;
}

}  // namespace mbsync
