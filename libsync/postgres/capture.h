// Which tables take part, the numbers of their columns, and the triggers that capture writes to them.
#pragma once

#include "schema.h"

namespace mbsync {

/// Brings mbsync's registry in line with `schema`: gives new tables an id and new columns a number (by name, so that
/// nodes with the same schema agree), marks columns that are gone, recognises what was renamed. A table whose key has
/// changed is `rekeyed`: its waiting writes, known by the old key, are dropped and its rows adopted anew. Fills in
/// `id`, `number`, `width`, `adopted`, `fingerprint` and sorts each table's columns by number. In a transaction of its
/// own, in which keep_decisions() has its part as well.
Result<void> register_tables(PgConnection& db, Schema& schema, NodeId self);

struct CaptureReport {
  PolicyVersion policy = kBuiltInPolicy;  ///< the version in force, which says which columns are counters
  int installed = 0;                      ///< tables whose triggers were made or brought up to date
  std::vector<std::string> waiting;       ///< tables that an application transaction holds; tried again next time
};

/// Creates or replaces capture functions and triggers where they are missing or were made for another definition.
/// Replacing a function takes no lock on the table; creating a trigger takes SHARE ROW EXCLUSIVE for a moment, waits at
/// most kTriggerLockTimeout for it, and gives way to the application otherwise.
Result<CaptureReport> install_capture(PgConnection& db, Schema& schema);

/// Gives every row that has no write yet one of time unknown, so that rows from before mbsync take part. One
/// transaction a table; tables already done are skipped. The caller holds the engine's lock. Returns the rows.
Result<std::int64_t> adopt_rows(PgConnection& db, Schema& schema, NodeId self);

}  // namespace mbsync
