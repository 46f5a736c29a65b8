// Checksums of rows, so that two nodes can find out whether theirs are the same (digest_message.h). Reads only, and
// takes no lock that anybody would wait for.
#pragma once

#include "digest_message.h"
#include "schema.h"

namespace mbsync {

/// A bytea expression: the hash of all that is in the row called t. `sums`: columns that add up, sums_of().
std::string row_hash_sql(const Table& table, const ColumnSet& sums);
/// Of the table, under the policy in force.
Result<ColumnSet> sums_of(PgConnection& db, const Schema& schema, const Table& table);

/// In the open REPEATABLE READ transaction, which holds a lock on the table from before its snapshot: TRUNCATE and
/// ALTER TABLE empty a table for snapshots that are older than they. What is asked about and does not fit together is
/// an answer (DigestState), not an error; `corrupt` for keys that no table here could have.
Result<DigestAnswer> read_digest(PgConnection& db, const Schema& schema, const Member& self,
                                 const DigestRequest& request);

}  // namespace mbsync
