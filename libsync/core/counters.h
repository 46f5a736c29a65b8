// Columns whose changes add up: stock on hand, points, balances. What each origin has added is kept apart, for as long
// as the row's key is in use, and a value is what was last written as a whole (its base) and the sum of all that was
// added. Pure. (CONFLICTS.md C16; PN-counter, Shapiro et al. 2011)
#pragma once

#include <map>

#include "decimal.h"
#include "row_state.h"

namespace mbsync {

/// What one origin has added to one column.
struct Contribution {
  std::int64_t counter = 0;  ///< the origin's, of the write with which it became this; the higher is the later
  Decimal total;
  Decimal shown;  ///< what of it the row here shows: less or more than the total while the row waits (C10)
};

/// A row's, by column and origin.
using Counters = std::map<ColumnNumber, std::map<NodeId, Contribution>>;
using Sums = std::map<ColumnNumber, Decimal>;

/// What all origins have added, and what of it the row shows.
Sums total_of(const Counters& counters);
Sums shown_of(const Counters& counters);

/// The later contribution of each origin; what is shown is what `mine` shows. Commutative in the totals, associative,
/// idempotent.
Counters join(const Counters& mine, const Counters& theirs);

/// From what a row shows to its base, and back. Values that are NULL or no finite number stay as they are.
void subtract_sums(Values& values, const Sums& sums);
void add_sums(Values& values, const Sums& sums);

}  // namespace mbsync
