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

/// For readers that must not change anything: `not_found` if there is no schema mbsync, `config` if it has another
/// version than this program works with.
Result<void> check_schema_version(PgConnection& db);

/// There is one, and migrate() would change it. Errors as above, but for these two.
Result<bool> is_schema_older(PgConnection& db);

/// A session for a command on a database that is a node's already. Errors as PgConnection::open() and
/// check_schema_version() have them, about the database.
Result<std::unique_ptr<PgConnection>> open_node_database(const DatabaseUrl& url, std::string_view purpose,
                                                         const std::function<bool()>& stop = {});

}  // namespace mbsync
