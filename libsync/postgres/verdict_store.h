// Where it is kept what comparisons of rows have found: mbsync.verification, mbsync.verified_table.
#pragma once

#include "connection.h"
#include "verdict_note.h"

namespace mbsync {

/// In a transaction of its own. Takes the place of what was known of these tables; if the note is complete, of all.
Result<void> store_verdicts(PgConnection& db, const VerifyNote& note);
/// Of members, by name; away ones are left out. `with_rows`: with the rows that differ, else only how many there are.
Result<std::vector<VerifyNote>> read_verdicts(PgConnection& db, bool with_rows);

/// Members that can be compared with: all others that the fleet waits for, by name.
Result<std::vector<Member>> read_other_members(PgConnection& db);

}  // namespace mbsync
