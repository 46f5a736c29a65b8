// How long the record of conflicts is kept on this node.
#pragma once

#include <cstdint>

#include "connection.h"

namespace mbsync {

/// Removes some entries that this node has kept for longer than `days` (counted from when it heard of one, or from its
/// resolution) and that nobody has to decide any more; how many. Zero: there are no more for now. An entry that some
/// peer may still lack stays until none does. What is removed here is not removed elsewhere: every node keeps its own
/// time. To be called under the engine's lock; a transaction of its own. `record_table`: mbsync.synced_table.id.
Result<std::int64_t> remove_old_conflicts(PgConnection& db, int record_table, int days);

}  // namespace mbsync
