// What smoke-check and a node that starts say of the database.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

#include "readiness.h"

namespace mbsync {
namespace {

constexpr int kGrantSetSince = 150000;
constexpr std::size_t kNamedMax = 10;

Check db_check(std::string name, Verdict verdict, std::string what, std::string next = {}) {
  return {std::move(name), verdict, std::move(what), std::move(next), CheckArea::kDatabase};
}

std::string named(const std::vector<std::string>& names) {
  const auto shown = std::vector<std::string>(
      names.begin(), names.begin() + static_cast<std::ptrdiff_t>(std::min(names.size(), kNamedMax)));
  const auto more = names.size() - shown.size();
  return fmt::format("{}{}", fmt::join(shown, ", "), more == 0 ? "" : fmt::format(" and {} more", more));
}

Check server(const Config& config, const DatabaseFacts& facts) {
  if (facts.server_version < kServerVersionMin) {
    return db_check("database", Verdict::kFailed,
                    fmt::format("{} is PostgreSQL {}", config.database_url.display, facts.server_text),
                    fmt::format("mbsync needs PostgreSQL {} or later", kServerVersionMin / 10000));
  }
  if (facts.encoding == "SQL_ASCII") {
    return db_check(
        "database", Verdict::kFailed,
        fmt::format("{} has the encoding SQL_ASCII, so nobody knows what its texts say", config.database_url.display),
        "move its contents to a database with ENCODING 'UTF8'");
  }
  if (facts.standby) {
    return db_check("database", Verdict::kFailed,
                    fmt::format("{} takes no writes: it is a standby", config.database_url.display),
                    "name the primary server in DATABASE_URL");
  }
  return db_check("database", Verdict::kOk,
                  fmt::format("{} answers, PostgreSQL {}, after {} ms", config.database_url.display, facts.server_text,
                              facts.took.count()));
}

std::optional<Check> pooler(const Config& config) {
  const auto& ignored = config.database_url.ignored;
  if (std::find(ignored.begin(), ignored.end(), "pgbouncer") == ignored.end()) {
    return std::nullopt;
  }
  return db_check("connection", Verdict::kWarning, "DATABASE_URL says pgbouncer=true, as Prisma needs it for a pooler",
                  "give mbsync the address of the database itself (port 5432 as a rule): its locks and temporary "
                  "tables belong to a session, which a pooler hands around");
}

Check rights(const DatabaseFacts& facts) {
  std::vector<std::string> what;
  std::vector<std::string> next;
  if (!facts.schema_there && !facts.may_create) {
    what.push_back(fmt::format("role {} may not create schema mbsync", facts.role));
    next.push_back(fmt::format("GRANT CREATE ON DATABASE {} TO {}", facts.database, facts.role));
  }
  if (!facts.not_owned.empty()) {
    what.push_back(fmt::format("role {} does not own {}", facts.role, named(facts.not_owned)));
    for (const auto& table : facts.not_owned) {
      if (next.size() < kNamedMax) {
        next.push_back(fmt::format("ALTER TABLE {} OWNER TO {}", table, facts.role));
      }
    }
  }
  if (!what.empty()) {
    return db_check("rights", Verdict::kFailed, fmt::format("{}", fmt::join(what, "; ")),
                    fmt::format("as an administrator of the database (psql -U postgres -d {}): {};", facts.database,
                                fmt::join(next, "; ")));
  }
  if (!facts.may_bypass) {
    return db_check(
        "rights", Verdict::kWarning,
        fmt::format("role {} may not set session_replication_role, so the application's triggers fire for rows that "
                    "arrive",
                    facts.role),
        facts.server_version >= kGrantSetSince
            ? fmt::format("as a superuser: GRANT SET ON PARAMETER session_replication_role TO {};", facts.role)
            : "before PostgreSQL 15 only a superuser may; it works without");
  }
  return db_check("rights", Verdict::kOk, fmt::format("role {} has all that is needed", facts.role));
}

Check schema(const DatabaseFacts& facts) {
  if (facts.schema_trouble) {
    return db_check("schema", facts.schema_older ? Verdict::kWarning : Verdict::kFailed, facts.schema_trouble->message,
                    facts.schema_trouble->hint);
  }
  if (!facts.schema_there) {
    return db_check("schema", Verdict::kOk, "schema mbsync is not there yet; the first start makes it");
  }
  const auto who =
      facts.self ? fmt::format("node {} ({})", facts.self->name, to_string(facts.self->id)) : "no node yet";
  if (!facts.without_triggers.empty()) {
    return db_check("schema", Verdict::kWarning,
                    fmt::format("schema mbsync is there, {}; what is written to {} is not captured, or not all of it",
                                who, named(facts.without_triggers)),
                    facts.node_at_work ? "the node that runs puts its triggers in place within ten seconds"
                                       : "start mbsync: it puts its triggers in place, and takes the rows in");
  }
  return db_check("schema", Verdict::kOk,
                  fmt::format("schema mbsync is there, {}, triggers in place{}", who,
                              facts.node_at_work ? ", a node is at work" : ""));
}

Check tables(const DatabaseFacts& facts) {
  std::vector<std::string> out;
  out.reserve(facts.refused.size());
  for (const auto& [table, reason] : facts.refused) {
    out.push_back(fmt::format("{} {}", table, reason));
  }
  auto what = fmt::format("{} take part", facts.tables.size());
  if (!out.empty()) {
    what += fmt::format(", {} do not: {}", out.size(), fmt::join(out, "; "));
  }
  if (!facts.unmatched.empty()) {
    return db_check("tables", Verdict::kWarning,
                    fmt::format("{}; no table is called {}", what, fmt::join(facts.unmatched, ", ")),
                    "correct 'tables' and 'tables_except'");
  }
  if (facts.tables.empty()) {
    return db_check("tables", Verdict::kWarning, what, "run the application's migrations on this database");
  }
  return db_check("tables", facts.refused_on_purpose ? Verdict::kOk : Verdict::kWarning, what,
                  facts.refused_on_purpose ? "" : "each reason says what would make its table take part");
}

}  // namespace

std::vector<Check> check_database(const Config& config, const Result<DatabaseFacts>& facts) {
  if (!facts) {
    return {db_check("database", Verdict::kFailed, facts.error().message, facts.error().hint)};
  }
  std::vector<Check> checks{server(config, *facts)};
  if (checks.front().verdict == Verdict::kFailed) {
    return checks;
  }
  if (auto pooled = pooler(config)) {
    checks.push_back(std::move(*pooled));
  }
  checks.push_back(rights(*facts));
  checks.push_back(schema(*facts));
  checks.push_back(tables(*facts));
  return checks;
}

}  // namespace mbsync
