// Sealing: captured writes become dots.
#pragma once

#include <cstdint>

#include "schema.h"

namespace mbsync {

/// Makes the temporary table that seal() works in; once a session, outside a transaction. Not ON COMMIT DELETE ROWS:
/// PostgreSQL would then truncate it at every commit that touches any temporary table, at a millisecond each.
Result<void> prepare_sealing(PgConnection& db);

/// In the open transaction: takes what is visible in mbsync.capture, makes one write a row of it, advances the own
/// counter, removes the overwritten columns from older writes of those rows (CONFLICTS.md C2, C10). Commits of other
/// sessions that are not visible yet are sealed next time; nothing depends on their order. The caller holds the
/// engine's lock. Returns the number of rows sealed; the counter moves only if it is not 0. An error for which
/// has_other_columns() holds if rows were kept whole of a table that is not as `schema` has it any more: with it, what
/// was written into a new column would be left out. The caller reads the schema anew.
Result<std::int64_t> seal(PgConnection& db, const Schema& schema, NodeId self);

bool has_other_columns(const Error& error);

/// Lets the planner choose freely for work on many rows, or keeps it to index lookups for few. Until the end of the
/// transaction. Without this, a plan for one row could read all of mbsync.change whenever its statistics are stale.
Result<void> plan_for(PgConnection& db, std::int64_t rows);

}  // namespace mbsync
