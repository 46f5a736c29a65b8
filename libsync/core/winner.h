// Which of a column's siblings the row shows. Pure functions of the siblings alone (CONFLICTS.md C5): no local clock,
// no order of arrival, no local configuration.
#pragma once

#include <vector>

#include "row_state.h"

namespace mbsync {

/// Last writer wins: the latest time, then the higher origin, then the higher counter. `siblings` is not empty; the
/// order in it does not matter.
const Write& last_writer(const std::vector<const Write*>& siblings);

}  // namespace mbsync
