#include "base_row.h"

#include <tuple>

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

ColumnSet columns_of(const RowState& state) {
  ColumnSet columns;
  for (const Write& write : state.writes) {
    columns = columns.unite(write.columns);
  }
  return columns;
}

Value value_of(const Values& row, ColumnNumber column) {
  const auto found = row.find(column);
  return found == row.end() ? Value() : found->second;
}

/// `row`: of this database, before, with the writes that `mine` has of it. Of columns that nobody here has written, it
/// has nothing to say.
std::vector<BaseConflict> differing(const Values& base, const std::optional<Values>& row, const RowState& mine,
                                    const Values& outcome) {
  const ColumnSet written = columns_of(mine);
  std::vector<BaseConflict> result;
  for (const auto& [column, value] : outcome) {
    if (value_of(base, column) != value) {
      result.push_back({column, false});
    } else if (row && written.contains(column) && value_of(*row, column) != value) {
      result.push_back({column, true});
    }
  }
  return result;
}

/// `own` on top of `fleet`, as if it had been written with knowledge of it.
RowState put_on_top(RowState fleet, const RowState& own) {
  const ColumnSet taken = columns_of(own);
  for (Write& write : fleet.writes) {
    write.columns = write.columns.minus(taken);
  }
  fleet.writes.insert(fleet.writes.end(), own.writes.begin(), own.writes.end());
  fleet.normalise();
  return fleet;
}

/// A row that nobody else has any more: what no write of `own` holds goes along with the last of those that did not
/// delete it. The own row says what it is, or else who deleted the row.
void complete(RowState& own, const std::optional<Values>& row, const RowState& fleet) {
  Write* last = nullptr;
  for (Write& write : own.writes) {
    if (!write.deleted && (last == nullptr || std::tie(last->at, last->dot) < std::tie(write.at, write.dot))) {
      last = &write;
    }
  }
  if (last == nullptr) {
    return;
  }
  const ColumnSet held = columns_of(own);
  const auto take = [&](const Values& values) {
    for (const auto& [column, value] : values) {
      if (!held.contains(column) && last->values.try_emplace(column, value).second) {
        last->columns.insert(column);
      }
    }
  };
  if (row.has_value()) {
    take(*row);
  }
  for (const Write& write : fleet.writes) {
    take(write.values);
  }
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
    for (Write& write : own.writes) {
      write.values = write.deleted ? *base : write.values;
    }
  } else {
    complete(own, row, fleet);
  }
  result.state = put_on_top(fleet, own);
  if (own.writes.empty()) {
    result.values = base;
    if (base.has_value()) {
      result.conflicts = differing(*base, row, mine, *base);
    }
    return result;
  }
  // The fleet's row stands below the own writes, so it takes the place of the own row: a column that none of them holds
  // is the fleet's, and the row exists unless one of them deleted it.
  const std::optional<Values>& below = base.has_value() ? base : row;
  std::vector<ColumnNumber> columns;
  if (below.has_value()) {
    columns = columns_of(*below);
  } else {
    for (const auto column : columns_of(own).numbers()) {
      if (column != kRowMark) {
        columns.push_back(column);
      }
    }
  }
  const Outcome outcome = settle(own, columns, below, {}, book);
  if (outcome.exists) {
    result.values = outcome.values;
  }
  if (!base.has_value()) {
    if (outcome.exists && !fleet.writes.empty()) {
      result.conflicts = {{kRowMark, false}};
    }
  } else if (outcome.exists) {
    result.conflicts = differing(*base, row, mine, outcome.values);
  } else {
    result.conflicts = {{kRowMark, false}};
  }
  return result;
}

}  // namespace mbsync
