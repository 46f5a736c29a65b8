// Rows that differ between two nodes although both have the same writes of them (`mbsync verify`), given to the rules:
// what a node shows becomes a write of its own, as if the application had just made it.
//
// On one of the two that is done at once (touch_row). The other must not take that write for one that has seen its own
// row, or what stands there would vanish without a word. So both rows are armed first: when a write of the row arrives,
// and before it is looked at, the armed row becomes a write as well (capture_armed). The two are concurrent then, and
// the rules decide, with the loser on record. A row that is armed and of which nothing comes is as any other. Where the
// application writes the row in the same moment, its write and the armed one are sealed as one, with the later time.
#pragma once

#include <vector>

#include "digest_message.h"
#include "schema.h"
#include "staged_table.h"

namespace mbsync {

/// In the open transaction, with the engine's lock: arms the row, or captures it (kTouch), if it is as the request says
/// it is. How many rows that was, 0 or 1. `conflict` where a column adds up: of two totals no rule knows which is
/// right.
Result<std::int64_t> take_row(PgConnection& db, const Schema& schema, const Table& table, const DigestRequest& request);

/// Captures those armed rows that an answer has writes of. To be called before the seal that precedes a merge.
Result<void> capture_armed(PgConnection& db, const std::vector<StagedTable*>& staged);

}  // namespace mbsync
