#include "purge.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <thread>

#include "connection.h"
#include "engine_lock.h"

namespace mbsync {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

constexpr milliseconds kBetweenTries{300};

/// Triggers of mbsync on tables outside its schema, with the table that they stand on. Those of partitions go with that
/// of their table.
constexpr const char* kTriggers =
    "SELECT quote_ident(t.tgname), quote_ident(n.nspname) || '.' || quote_ident(c.relname), "
    "pg_has_role(c.relowner, 'USAGE'), quote_ident(current_user) FROM pg_trigger t JOIN pg_class c ON c.oid = "
    "t.tgrelid JOIN pg_namespace n ON n.oid = c.relnamespace JOIN pg_proc p ON p.oid = t.tgfoid JOIN pg_namespace pn "
    "ON pn.oid = p.pronamespace WHERE pn.nspname = 'mbsync' AND n.nspname <> 'mbsync' AND t.tgparentid = 0 ORDER BY 2, "
    "1";

/// The same before PostgreSQL 13, which has no tgparentid: triggers of statements are not handed down there.
constexpr const char* kTriggersBefore13 =
    "SELECT quote_ident(t.tgname), quote_ident(n.nspname) || '.' || quote_ident(c.relname), "
    "pg_has_role(c.relowner, 'USAGE'), quote_ident(current_user) FROM pg_trigger t JOIN pg_class c ON c.oid = "
    "t.tgrelid JOIN pg_namespace n ON n.oid = c.relnamespace JOIN pg_proc p ON p.oid = t.tgfoid JOIN pg_namespace pn "
    "ON pn.oid = p.pronamespace WHERE pn.nspname = 'mbsync' AND n.nspname <> 'mbsync' ORDER BY 2, 1";

/// What depends on anything in schema mbsync and is not in it, apart from those triggers: DROP ... CASCADE would take
/// it along.
constexpr const char* kUsedBy = R"(
WITH ours AS (
  SELECT 'pg_class'::regclass AS class, oid FROM pg_class WHERE relnamespace = 'mbsync'::regnamespace
  UNION ALL SELECT 'pg_proc'::regclass, oid FROM pg_proc WHERE pronamespace = 'mbsync'::regnamespace
  UNION ALL SELECT 'pg_type'::regclass, oid FROM pg_type WHERE typnamespace = 'mbsync'::regnamespace
), dependent AS (
  SELECT DISTINCT d.classid, d.objid, d.objsubid FROM pg_depend d
  JOIN ours o ON o.class = d.refclassid AND o.oid = d.refobjid WHERE d.deptype IN ('n', 'a')
)
SELECT CASE classid WHEN 'pg_rewrite'::regclass  -- a view's rule says less than the view
    THEN (SELECT pg_describe_object('pg_class'::regclass, ev_class, 0) FROM pg_rewrite WHERE oid = objid)
    ELSE pg_describe_object(classid, objid, objsubid) END AS what
FROM dependent d WHERE coalesce(CASE classid
  WHEN 'pg_class'::regclass THEN (SELECT relnamespace FROM pg_class WHERE oid = objid)
  WHEN 'pg_proc'::regclass THEN (SELECT pronamespace FROM pg_proc WHERE oid = objid)
  WHEN 'pg_type'::regclass THEN (SELECT typnamespace FROM pg_type WHERE oid = objid)
  WHEN 'pg_constraint'::regclass THEN (SELECT connamespace FROM pg_constraint WHERE oid = objid)
  WHEN 'pg_rewrite'::regclass THEN (SELECT c.relnamespace FROM pg_rewrite r JOIN pg_class c ON c.oid = r.ev_class
                                    WHERE r.oid = objid)
  WHEN 'pg_attrdef'::regclass THEN (SELECT c.relnamespace FROM pg_attrdef a JOIN pg_class c ON c.oid = a.adrelid
                                    WHERE a.oid = objid)
  WHEN 'pg_trigger'::regclass THEN 'mbsync'::regnamespace::oid
END, 0) <> 'mbsync'::regnamespace ORDER BY 1)";

struct Found {
  PurgeLook look;
  std::vector<std::string> drops;  ///< statements for the triggers
};

Result<Found> find(PgConnection& db) {
  constexpr int kTriggerParentsSince = 130000;
  Found found;
  const auto schema = db.exec(
      "SELECT pg_has_role(n.nspowner, 'USAGE'), quote_ident(current_user), (SELECT count(*) FROM pg_class c WHERE "
      "c.relnamespace = n.oid AND NOT pg_has_role(c.relowner, 'USAGE')) FROM pg_namespace n WHERE nspname = 'mbsync'");
  MBSYNC_TRY(schema);
  if (schema->empty()) {
    return found;
  }
  found.look.schema_there = true;
  if (!(*schema)[0][0].as<bool>()) {
    found.look.missing_rights.push_back(fmt::format("ALTER SCHEMA mbsync OWNER TO {};", (*schema)[0][1].c_str()));
  }
  const auto triggers = db.exec(db.server_version() < kTriggerParentsSince ? kTriggersBefore13 : kTriggers);
  MBSYNC_TRY(triggers);
  for (const auto& row : *triggers) {
    ++found.look.triggers;
    found.drops.push_back(fmt::format("DROP TRIGGER {} ON {};", row[0].c_str(), row[1].c_str()));
    const auto right = fmt::format("ALTER TABLE {} OWNER TO {};", row[1].c_str(), row[3].c_str());
    auto& missing = found.look.missing_rights;
    if (!row[2].as<bool>() && std::find(missing.begin(), missing.end(), right) == missing.end()) {
      missing.push_back(right);
    }
  }
  const auto used = db.exec(kUsedBy);
  MBSYNC_TRY(used);
  for (const auto& row : *used) {
    found.look.used_by.emplace_back(row[0].c_str());
  }
  return found;
}

Error cannot(const PurgeLook& look) {
  if (!look.used_by.empty()) {
    return Error{ErrorKind::kConfig,
                 fmt::format("schema mbsync cannot be removed without taking along what was built upon it: {}",
                             fmt::join(look.used_by, ", ")),
                 "remove or change that first, then say it again", ErrorArea::kDatabase};
  }
  return Error{ErrorKind::kConfig, "a right is missing to remove schema mbsync",
               fmt::format("as an administrator of the database: {}", fmt::join(look.missing_rights, " ")),
               ErrorArea::kDatabase};
}

/// One try; `transient` may be tried again.
Result<PurgeLook> purge_once(PgConnection& db) {
  MBSYNC_TRY(db.begin(PgConnection::Isolation::kReadCommitted));
  const auto work = [&]() -> Result<PurgeLook> {
    const auto found = find(db);
    MBSYNC_TRY(found);
    if (!found->look.used_by.empty() || !found->look.missing_rights.empty()) {
      return cannot(found->look);
    }
    if (found->look.schema_there) {
      MBSYNC_TRY(
          db.run(fmt::format("SET LOCAL lock_timeout = '1s'; SET LOCAL client_min_messages = warning; {} "
                             "DROP SCHEMA mbsync CASCADE",
                             fmt::join(found->drops, " "))));
    }
    return found->look;
  };
  auto done = work();
  if (!done) {
    db.rollback();
    return done;
  }
  MBSYNC_TRY(db.commit());
  return done;
}

}  // namespace

Result<PurgeLook> look_at_purge(const DatabaseUrl& url, milliseconds patience) {
  const auto until = steady_clock::now() + patience;
  const auto db = PgConnection::open(url, "uninstall", [&] { return steady_clock::now() >= until; });
  MBSYNC_TRY(db);
  const auto found = find(**db);
  if (!found) {
    return found.error().in(fmt::format("database {}", url.display)).about(ErrorArea::kDatabase);
  }
  return found->look;
}

Result<PurgeLook> purge(const DatabaseUrl& url, milliseconds patience) {
  const auto until = steady_clock::now() + patience;
  const auto late = [&] { return steady_clock::now() >= until; };
  const auto db = PgConnection::open(url, "uninstall", late);
  MBSYNC_TRY(db);
  const auto in_database = [&](const Error& error) {
    return error.in(fmt::format("database {}", url.display)).about(ErrorArea::kDatabase);
  };
  const auto claimed = (*db)->exec(fmt::format("SELECT pg_try_advisory_lock({})", kNodeLock));
  if (!claimed) {
    return in_database(claimed.error());
  }
  if (!(*claimed)[0][0].as<bool>()) {
    return Error{ErrorKind::kTransient, fmt::format("an mbsync is at work on database {}", url.display),
                 "stop it ('mbsync stop', or the 'mbsync run' that somebody has started), then say it again",
                 ErrorArea::kDatabase};
  }
  for (;;) {
    auto done = purge_once(**db);
    if (done || done.error().kind != ErrorKind::kTransient || (*db)->broken() || late()) {
      return done ? done : Result<PurgeLook>(in_database(done.error()));
    }
    std::this_thread::sleep_for(kBetweenTries);
  }
}

}  // namespace mbsync
