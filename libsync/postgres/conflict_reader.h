// Reads mbsync.conflict_record for resolution.cpp: which conflicts there are, one whole, and what was written since.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "connection.h"
#include "resolution.h"

namespace mbsync {

/// SQL: a timestamptz as "2026-01-31T10:00:00.5Z"; NULL for an infinite one.
std::string iso_sql(std::string_view time);

/// Quick whatever there is on record.
Result<ConflictCounts> count_conflicts(PgConnection& db);
/// In one snapshot. `config` for a filter that cannot be understood, `not_found` for a node that nobody knows.
Result<ConflictList> read_conflicts(PgConnection& db, const ConflictFilter& filter);
/// ConflictDesk::find().
Result<std::string> find_conflict(PgConnection& db, const std::string& beginning);
/// With `lock`, nobody else decides it until the transaction ends. `not_found` if it is gone.
Result<Conflict> read_conflict(PgConnection& db, const std::string& id, bool lock);
/// Live writes of the row, and captured ones, that are not among the conflict's versions; in the order of time.
Result<std::vector<LaterWrite>> read_later_writes(PgConnection& db, const Conflict& conflict);
/// Conflicts of the same row whose latest version is later.
Result<std::vector<ConflictSummary>> read_later_conflicts(PgConnection& db, const Conflict& conflict);

}  // namespace mbsync
