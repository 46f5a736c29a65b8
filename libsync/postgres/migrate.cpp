#include "migrate.h"

#include <fmt/format.h>

#include "migrations.h"

namespace mbsync {

Result<MigrationReport> migrate(PgConnection& db) {
  const auto known = static_cast<int>(kMigrations.size());
  MBSYNC_TRY(db.begin(PgConnection::Isolation::kReadCommitted));
  const auto run = [&]() -> Result<MigrationReport> {
    // Two programs that start at once take turns; the second finds the work done.
    MBSYNC_TRY(db.exec("SELECT pg_advisory_xact_lock(hashtext('mbsync migrate'))"));
    const auto there = db.exec("SELECT to_regclass('mbsync.settings') IS NOT NULL");
    MBSYNC_TRY(there);
    MigrationReport report;
    if ((*there)[0][0].as<bool>()) {
      const auto version = db.exec("SELECT value FROM mbsync.settings WHERE name = 'schema_version'");
      MBSYNC_TRY(version);
      report.from = version->empty() ? 0 : (*version)[0][0].as<int>();
    }
    if (report.from > known) {
      return Error{ErrorKind::kConfig,
                   fmt::format("schema mbsync has version {}, this program knows up to {}", report.from, known),
                   "install the newer mbsync that was used with this database before"};
    }
    for (int step = report.from; step < known; ++step) {
      MBSYNC_TRY(db.exec(std::string(kMigrations[static_cast<std::size_t>(step)])));
    }
    if (report.from < known) {
      MBSYNC_TRY(
          db.exec(fmt::format("INSERT INTO mbsync.settings (name, value) VALUES ('schema_version', '{0}') "
                              "ON CONFLICT (name) DO UPDATE SET value = '{0}'",
                              known)));
    }
    report.to = known;
    return report;
  };
  auto report = run();
  if (!report) {
    db.rollback();
    auto error = report.error().in("preparing schema mbsync");
    if (error.kind == ErrorKind::kConfig && error.message.find("permission denied for database") != std::string::npos) {
      error.hint =
          "as an administrator of the database run: GRANT CREATE ON DATABASE <database> TO <role of DATABASE_URL>";
    }
    return error;
  }
  MBSYNC_TRY(db.commit());
  return report;
}

}  // namespace mbsync
