// What was decided stays decided when a table changes (CONFLICTS.md C11).
#pragma once

#include "schema.h"

namespace mbsync {

/// Compares each table with what it was when this was last called, also by an earlier run of the program. Where rules
/// may come to another result now, what the rows show is written anew in the columns concerned, so that the writes that
/// did not agree are not judged once more by whoever still has them. Shares of counters in columns that are no numbers
/// any more go. In the caller's transaction, which has registered the tables, and under the engine's lock.
Result<void> keep_decisions(PgConnection& db, const Schema& schema, NodeId self);

}  // namespace mbsync
