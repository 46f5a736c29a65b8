#include "migrate.h"

#include <fmt/format.h>

#include "migrations.h"

namespace mbsync {
namespace {

constexpr auto kKnownVersion = static_cast<int>(kMigrations.size());

// 0: there is no schema mbsync.
Result<int> schema_version(PgConnection& db) {
  const auto there = db.exec("SELECT to_regclass('mbsync.settings') IS NOT NULL");
  MBSYNC_TRY(there);
  if (!(*there)[0][0].as<bool>()) {
    return 0;
  }
  const auto version = db.exec("SELECT value FROM mbsync.settings WHERE name = 'schema_version'");
  MBSYNC_TRY(version);
  const int number = version->empty() ? 0 : (*version)[0][0].as<int>();
  if (number > kKnownVersion) {
    return Error{ErrorKind::kConfig,
                 fmt::format("schema mbsync has version {}, this program knows up to {}", number, kKnownVersion),
                 "install the newer mbsync that was used with this database before"};
  }
  return number;
}

}  // namespace

Result<void> check_schema_version(PgConnection& db) {
  const auto version = schema_version(db);
  MBSYNC_TRY(version);
  if (*version == 0) {
    return Error{ErrorKind::kNotFound, "the database has no schema mbsync", "start a node with `mbsync run`"};
  }
  if (*version < kKnownVersion) {
    return Error{ErrorKind::kConfig,
                 fmt::format("schema mbsync has version {}, this program works with {}", *version, kKnownVersion),
                 "start the node with this program once; it brings the schema up to date"};
  }
  return {};
}

Result<bool> is_schema_older(PgConnection& db) {
  const auto version = schema_version(db);
  MBSYNC_TRY(version);
  return *version > 0 && *version < kKnownVersion;
}

Result<std::unique_ptr<PgConnection>> open_node_database(const DatabaseUrl& url, std::string_view purpose,
                                                         const std::function<bool()>& stop) {
  auto session = PgConnection::open(url, purpose, stop);
  MBSYNC_TRY(session);
  if (auto fits = check_schema_version(**session); !fits) {
    return fits.error().in(fmt::format("database {}", url.display)).about(ErrorArea::kDatabase);
  }
  return session;
}

Result<MigrationReport> migrate(PgConnection& db) {
  MBSYNC_TRY(db.begin(PgConnection::Isolation::kReadCommitted));
  const auto run = [&]() -> Result<MigrationReport> {
    // Two programs that start at once take turns; the second finds the work done.
    MBSYNC_TRY(db.exec("SELECT pg_advisory_xact_lock(hashtext('mbsync migrate'))"));
    const auto version = schema_version(db);
    MBSYNC_TRY(version);
    MigrationReport report{*version, kKnownVersion};
    for (int step = report.from; step < kKnownVersion; ++step) {
      MBSYNC_TRY(db.exec(std::string(kMigrations[static_cast<std::size_t>(step)])));
    }
    if (report.from < kKnownVersion) {
      MBSYNC_TRY(
          db.exec(fmt::format("INSERT INTO mbsync.settings (name, value) VALUES ('schema_version', '{0}') "
                              "ON CONFLICT (name) DO UPDATE SET value = '{0}'",
                              kKnownVersion)));
    }
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
