// Rows on a database that joins a fleet, or comes back to it after being away for too long. Its own writes were made
// without knowledge of the fleet's, and of those the fleet has forgotten some (stability.h), each node its own share.
// So they cannot be judged as siblings: where a node has forgotten a sibling it would judge otherwise. They are put on
// top of the fleet's row instead, which comes out the same whatever has been forgotten. (CONFLICTS.md C9)
#pragma once

#include <optional>
#include <vector>

#include "row_state.h"
#include "winner.h"

namespace mbsync {

/// A column (or the row mark) in which what one side showed is not what the row shows now.
struct BaseConflict {
  ColumnNumber column = 0;
  bool base_won = false;  ///< else the own side did
  bool operator==(const BaseConflict&) const = default;
};

struct BaseOutcome {
  RowState state;                       ///< what stays live here
  std::optional<Values> values;         ///< the row as it is to be; nothing: it does not exist
  std::vector<BaseConflict> conflicts;  ///< the row mark alone, or columns in order
};

/// `mine` holds only writes that the fleet has not seen (join with the peer's vector first); `row` is the own row.
/// Rows that were there before mbsync was (all writes of kTimeUnknown) give way to the base and are forgotten, so that
/// an old machine that joins does not overwrite the fleet. Real edits stand, as writes on top of the base.
BaseOutcome settle_on_base(const RowState& mine, const std::optional<Values>& row, const Values& base,
                           const Rulebook& book = built_in_rules());

/// The same for a row of which the fleet still has live writes: `fleet`, the rest of the join. Own writes that stand
/// overwrite them (CONFLICTS.md C2). `base` is nothing where the fleet has deleted the row: then all own writes stand,
/// since a row that nobody else has is news, as it would be had the deletion been forgotten.
BaseOutcome settle_on_base(const RowState& mine, const std::optional<Values>& row, const RowState& fleet,
                           const std::optional<Values>& base, const Rulebook& book = built_in_rules());

}  // namespace mbsync
