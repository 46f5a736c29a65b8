// Brings schema mbsync to the version this program knows: numbered, forward only, each step in one transaction.
#pragma once

#include "connection.h"

namespace mbsync {

struct MigrationReport {
  int from = 0;  ///< 0: there was no schema mbsync
  int to = 0;
};

/// `config` if the schema is newer than this program, or if a right is missing (with the statement that grants it).
Result<MigrationReport> migrate(PgConnection& db);

}  // namespace mbsync
