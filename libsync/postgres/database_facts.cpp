#include "database_facts.h"

#include <fmt/format.h>

#include <algorithm>
#include <condition_variable>
#include <map>
#include <mutex>
#include <thread>

#include "connection.h"
#include "glob.h"
#include "left_out.h"
#include "migrate.h"
#include "row_writer.h"
#include "schema.h"

namespace mbsync {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;
using std::chrono::system_clock;

// How long a server has to give up a statement before its connection is cut.
constexpr milliseconds kGiveUpFor{500};

/// Ends what a session does when the time is up.
class Deadline {
 public:
  Deadline(std::shared_ptr<PgConnection::Stopper> session, steady_clock::time_point at)
      : thread_([this, session = std::move(session), at](const std::stop_token& done) {
          if (wait(done, at)) {
            session->give_up();
            if (wait(done, at + kGiveUpFor)) {
              session->cut();
            }
          }
        }) {}

 private:
  /// Whether the time came before the end of the object.
  bool wait(const std::stop_token& done, steady_clock::time_point at) {
    std::unique_lock lock(mutex_);
    condition_.wait_until(lock, done, at, [] { return false; });
    return !done.stop_requested();
  }
  std::mutex mutex_;
  std::condition_variable_any condition_;
  std::jthread thread_;
};

Error no_answer(const DatabaseUrl& url, milliseconds patience) {
  return Error{ErrorKind::kTransient,
               fmt::format("database {}: no answer within {:.1f} s", url.display,
                           static_cast<double>(patience.count()) / milliseconds::period::den),
               "something accepts the connection or swallows it, and says nothing: is it PostgreSQL, is it "
               "overloaded, does a firewall stand between?",
               ErrorArea::kDatabase};
}

bool is_local(const DatabaseUrl& url) {
  for (const auto& [key, value] : url.conninfo) {
    if (key == "host" || key == "hostaddr") {
      return value.empty() || value.front() == '/' || value == "localhost" || value == "::1" ||
             value.starts_with("127.");
    }
  }
  return true;
}

Result<void> read_server(PgConnection& db, DatabaseFacts& facts) {
  facts.server_version = db.server_version();
  const auto asked = system_clock::now();
  const auto row = db.exec(
      "SELECT 1, current_setting('server_version'), quote_ident(current_database()), quote_ident(current_user), "
      "current_setting('server_encoding'), pg_is_in_recovery(), has_database_privilege(current_database(), 'CREATE'), "
      "(extract(epoch FROM clock_timestamp()) * 1000)::bigint");
  MBSYNC_TRY(row);
  const auto answered = system_clock::now();
  const auto first = (*row)[0];
  const std::string version = first[1].c_str();
  facts.server_text = version.substr(0, version.find(' '));
  facts.database = first[2].c_str();
  facts.role = first[3].c_str();
  facts.encoding = first[4].c_str();
  facts.standby = first[5].as<bool>();
  facts.may_create = first[6].as<bool>();
  const system_clock::time_point there{milliseconds{first[7].as<std::int64_t>()}};
  facts.clock_ahead = std::chrono::duration_cast<milliseconds>(there - (asked + (answered - asked) / 2));
  const auto role = find_apply_role(db);
  MBSYNC_TRY(role);
  facts.may_bypass = role->replica;
  if (const auto directory = db.exec("SHOW data_directory"); directory) {
    facts.data_directory = (*directory)[0][0].c_str();
  }
  return {};
}

Result<void> read_node(PgConnection& db, DatabaseFacts& facts) {
  const auto fits = check_schema_version(db);
  if (!fits) {
    facts.schema_there = fits.error().kind != ErrorKind::kNotFound;
    if (facts.schema_there) {
      facts.schema_trouble = fits.error();
      const auto older = is_schema_older(db);
      facts.schema_older = older && *older;
    }
    return {};
  }
  facts.schema_there = true;
  const auto self = db.exec("SELECT id, name FROM mbsync.node WHERE is_self");
  if (!self) {
    facts.schema_trouble = self.error();
    return {};
  }
  if (!self->empty()) {
    facts.self = Member{NodeId{(*self)[0][0].as<std::int64_t>()}, (*self)[0][1].c_str()};
  }
  const auto claimed = db.exec(
      "SELECT EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND database = (SELECT oid FROM pg_database "
      "WHERE datname = current_database()) AND classid = (hashtext('mbsync')::bigint & 4294967295)::oid AND objid = "
      "(hashtext('node')::bigint & 4294967295)::oid)");
  MBSYNC_TRY(claimed);
  facts.node_at_work = (*claimed)[0][0].as<bool>();
  return {};
}

Result<void> read_tables(PgConnection& db, const TableChoice& choice, DatabaseFacts& facts) {
  const auto schema = read_schema(db);
  MBSYNC_TRY(schema);
  for (const auto& refused : schema->refused) {
    facts.refused.emplace_back(refused.display(), refused.reason);
    facts.refused_on_purpose = facts.refused_on_purpose && refused.because != RefusedTable::Because::kItCannot;
  }
  // Four triggers where rows are held; on a partitioned table itself there is none for TRUNCATE (capture.cpp).
  const auto rows = db.exec(
      "WITH captured AS (SELECT t.tgrelid, count(DISTINCT t.tgname) AS events FROM pg_trigger t JOIN pg_proc p ON "
      "p.oid = t.tgfoid JOIN pg_namespace n ON n.oid = p.pronamespace WHERE n.nspname = 'mbsync' AND NOT "
      "t.tgisinternal AND t.tgenabled IN ('O', 'A') GROUP BY t.tgrelid) "
      "SELECT c.oid, pg_has_role(c.relowner, 'USAGE'), CASE c.relkind WHEN 'r' THEN coalesce(k.events, 0) >= 4 ELSE "
      "coalesce(k.events, 0) >= 3 AND NOT EXISTS (SELECT FROM pg_partition_tree(c.oid) part LEFT JOIN captured pk ON "
      "pk.tgrelid = part.relid WHERE part.isleaf AND coalesce(pk.events, 0) < 4) END "
      "FROM pg_class c LEFT JOIN captured k ON k.tgrelid = c.oid WHERE c.relkind IN ('r', 'p')");
  MBSYNC_TRY(rows);
  std::map<std::uint32_t, std::pair<bool, bool>> known;
  for (const auto& row : *rows) {
    known[row[0].as<std::uint32_t>()] = {row[1].as<bool>(), row[2].as<bool>()};
  }
  for (const auto& table : schema->tables) {
    if (table.internal) {
      continue;
    }
    // What the next start leaves out.
    if (auto reason = why_left_out(choice, table.schema, table.name)) {
      facts.refused.emplace_back(table.display(), std::move(*reason));
      continue;
    }
    facts.tables.push_back(table.display());
    const auto [owned, captured] = known[table.oid];
    if (!owned) {
      facts.not_owned.push_back(table.quoted());
    }
    if (!captured) {
      facts.without_triggers.push_back(table.display());
    }
  }
  for (const auto* patterns : {&choice.in, &choice.except}) {
    for (const auto& pattern : *patterns) {
      const auto matches = [&](const auto& table) { return table_glob_matches(pattern, table.schema, table.name); };
      if (pattern != "*" && std::none_of(schema->tables.begin(), schema->tables.end(), matches) &&
          std::none_of(schema->refused.begin(), schema->refused.end(), matches)) {
        facts.unmatched.push_back(pattern);
      }
    }
  }
  return {};
}

}  // namespace

Result<DatabaseFacts> read_database_facts(const DatabaseUrl& url, const TableChoice& choice, milliseconds patience) {
  const auto begun = steady_clock::now();
  const auto until = begun + patience;
  const auto late = [&] { return steady_clock::now() >= until; };
  const auto opened = PgConnection::open(url, "smoke-check", late);
  if (!opened) {
    return opened.error().kind == ErrorKind::kCancelled || late() ? no_answer(url, patience) : opened.error();
  }
  auto& db = **opened;
  DatabaseFacts facts;
  facts.on_this_machine = is_local(url);
  const Deadline deadline(db.stopper(), until);
  const auto read = [&]() -> Result<void> {
    MBSYNC_TRY(read_server(db, facts));
    if (facts.server_version < kServerVersionMin) {
      return {};  // its catalog is another one
    }
    MBSYNC_TRY(read_node(db, facts));
    return read_tables(db, choice, facts);
  };
  if (const auto done = read(); !done) {
    return late() ? no_answer(url, patience)
                  : done.error().in(fmt::format("database {}", url.display)).about(ErrorArea::kDatabase);
  }
  facts.took = std::chrono::duration_cast<milliseconds>(steady_clock::now() - begun);
  return facts;
}

bool is_starting(const Error& error) {
  for (const std::string_view sign : {"the database system is starting up", "not yet accepting connections",
                                      "the database system is in recovery mode", "the database system is shutting"}) {
    if (error.message.find(sign) != std::string::npos) {
      return true;
    }
  }
  return false;
}

bool is_not_there(const Error& error) {
  for (const std::string_view sign :
       {"Connection refused", "No such file or directory", "Temporary failure in name resolution", "No route to host",
        "Network is unreachable", "timeout expired", "server closed the connection"}) {
    if (error.message.find(sign) != std::string::npos) {
      return true;
    }
  }
  return false;
}

}  // namespace mbsync
