// Rows that differ between nodes although all have the same writes of them (`mbsync verify`), given to the rules: what
// a node shows becomes a write of its own, as if the application had just made it.
//
// On one node that is done at once (kTouch), and its write travels. No other may take that write for one that has seen
// its own row, or what stands there would vanish without a word. So the row is armed first, on every node on which it
// shows something else (kArm): when that one write arrives, and before it is looked at, the armed row becomes a write
// as well (capture_armed). The two are concurrent then, and the rules decide, with the loser on record. Once the first
// is touched the others are told to become writes at once (kFire), so that a row is armed for moments; who cannot be
// told goes by what arrives. An armed row as a whole goes by nothing else than by that node's write of that very time,
// or by those of others that have followed it: these may come first, and have one time of their own. Where it is never
// made, the row is as any other but for this: a write from elsewhere that takes the place of what it shows makes those
// columns a write, too, so that what they showed is on record. Columns that somebody has written here meanwhile are
// left out: that write is concurrent to the touch as it is.
#pragma once

#include <vector>

#include "digest_message.h"
#include "schema.h"
#include "staged_table.h"

namespace mbsync {

/// What kArm, kFire, kDisarm and kTouch ask for, in the open READ COMMITTED transaction, with the engine's lock. How
/// many rows that was, 0 or 1: of kArm and kTouch 0 where the row is not as the request says it is, of kTouch also
/// where somebody holds it, for nobody is waited for; of the others 0 where it is not armed. `conflict` where a column
/// adds up: of two totals no rule knows which is right.
Result<std::int64_t> take_row(PgConnection& db, const Schema& schema, const Table& table, NodeId self,
                              const DigestRequest& request);

/// Captures those armed rows whose awaited write an answer has, and of others the columns that it writes. Whether there
/// were any: then they are to be sealed before the merge.
Result<bool> capture_armed(PgConnection& db, const std::vector<StagedTable*>& staged);

}  // namespace mbsync
