// Foreign keys after rows were written with constraints bypassed, and while some rows cannot be written.
#pragma once

#include <map>
#include <string>
#include <utility>
#include <vector>

#include "staged_table.h"

namespace mbsync {

/// In the apply transaction, after all rows are written: `conflict` if a row that was just written refers to a row that
/// does not exist, or if a row of another table refers to one that was just deleted; named by table, constraint and
/// key.
Result<void> check_references(PgConnection& db, const Schema& schema, const StagedTable& staged);

/// In the apply transaction, before rows are written: adds to `dependents` (table, key) the staged rows that cannot
/// stand while others are set aside (CONFLICTS.md C10), and therefore have to be set aside as well: rows that refer to
/// one that has not come yet, and deletions of rows that one which cannot be written refers to still.
Result<void> find_dependents(PgConnection& db, const Schema& schema, const std::map<int, StagedTable>& staged,
                             std::vector<std::pair<int, std::string>>& dependents);

}  // namespace mbsync
