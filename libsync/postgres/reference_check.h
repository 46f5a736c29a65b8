// Foreign keys after rows were written with constraints bypassed.
#pragma once

#include "merge_rows.h"

namespace mbsync {

/// In the apply transaction, after all rows are written: `conflict` if a row that was just written refers to a row that
/// does not exist, or if a row of another table refers to one that was just deleted; named by table, constraint and
/// key.
Result<void> check_references(PgConnection& db, const Schema& schema, const StagedTable& staged);

}  // namespace mbsync
