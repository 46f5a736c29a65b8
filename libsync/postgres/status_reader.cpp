#include "status_reader.h"

#include <fmt/format.h>

#include <algorithm>
#include <mutex>
#include <utility>

#include "conflict_reader.h"
#include "connection.h"
#include "engine_lock.h"
#include "migrate.h"
#include "peer_store.h"
#include "schema.h"
#include "verdict_store.h"
#include "version_store.h"

namespace mbsync {
namespace {

/// Rules are counted of so many conflicts, the latest: taking a million apart would take seconds.
constexpr int kRulesCountedOf = 10'000;

std::optional<double> seconds_in(const pqxx::field& field) {
  return field.is_null() ? std::nullopt : std::optional(std::max(0.0, field.as<double>()));
}

// The node that is at work holds a lock, whatever program it is.
Result<void> read_process(PgConnection& db, StoreStatus& status) {
  const auto claimed = db.exec(fmt::format(
      "WITH held AS (SELECT pid, classid::bigint AS a, objid::bigint AS b FROM pg_locks WHERE locktype = 'advisory' "
      "AND "
      "granted AND objsubid = 2 AND database = (SELECT oid FROM pg_database WHERE datname = current_database())) "
      "SELECT to_char(s.backend_start AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"'), coalesce(p.b, 0) "
      "FROM held l LEFT JOIN pg_stat_activity s ON s.pid = l.pid "
      "LEFT JOIN held p ON p.pid = l.pid AND p.a = ({1})::bigint & 4294967295 "
      "WHERE (l.a, l.b) = (SELECT a::bigint & 4294967295, b::bigint & 4294967295 FROM (VALUES ({0})) k (a, b))",
      kNodeLock, kLocalPortLock));
  MBSYNC_TRY(claimed);
  status.node_runs = !claimed->empty();
  if (status.node_runs) {
    status.node_local_port = (*claimed)[0][1].as<std::uint16_t>();
  }
  if (status.node_runs && !(*claimed)[0][0].is_null()) {
    status.node_connected_since = (*claimed)[0][0].c_str();
  }
  return {};
}

Result<void> read_figures(PgConnection& db, StoreStatus& status) {
  const auto sizes = db.exec(
      "SELECT c.relname, pg_total_relation_size(c.oid) FROM pg_class c WHERE c.relnamespace = 'mbsync'::regnamespace "
      "AND "
      "c.relkind = 'r' ORDER BY c.relname");
  MBSYNC_TRY(sizes);
  for (const auto& row : *sizes) {
    status.sizes.push_back({row[0].c_str(), row[1].is_null() ? 0 : row[1].as<std::int64_t>()});
  }
  const auto rules = db.exec(fmt::format(
      "SELECT r.rule, count(*) FROM (SELECT outcome FROM mbsync.conflict_record ORDER BY at DESC LIMIT {}) c CROSS "
      "JOIN "
      "LATERAL (SELECT e.value ->> 'rule' AS rule FROM jsonb_each(c.outcome -> 'columns') e UNION SELECT c.outcome ->> "
      "'rule') r WHERE r.rule IS NOT NULL GROUP BY r.rule ORDER BY r.rule",
      kRulesCountedOf));
  MBSYNC_TRY(rules);
  for (const auto& row : *rules) {
    status.conflicts_by_rule.emplace_back(row[0].c_str(), row[1].as<std::int64_t>());
  }
  return {};
}

Result<StoreStatus> read_all(PgConnection& db, const DatabaseUrl& url) {
  MBSYNC_TRY(db.begin(PgConnection::Isolation::kRepeatableRead));
  if (auto fits = check_schema_version(db); !fits) {
    return fits.error().in(fmt::format("database {}", url.display));
  }
  StoreStatus status;
  status.server_version = db.server_version();
  const auto facts = db.exec(
      "SELECT (SELECT value FROM mbsync.settings WHERE name = 'schema_version'), (SELECT count(*) FROM "
      "mbsync.capture), "
      "(SELECT count(*) FROM mbsync.change), "
      "(SELECT count(DISTINCT (tab, key)) FROM mbsync.change WHERE unseen), (SELECT count(*) FROM mbsync.parked), "
      "(SELECT extract(epoch FROM clock_timestamp() - min(at))::float8 FROM mbsync.capture)");
  MBSYNC_TRY(facts);
  status.schema_version = (*facts)[0][0].as<int>(0);
  auto versions = read_versions(db);
  MBSYNC_TRY(versions);
  status.seen = std::move(versions->seen);
  status.captures = (*facts)[0][1].as<std::int64_t>();
  status.live_writes = (*facts)[0][2].as<std::int64_t>();
  status.parked_rows = (*facts)[0][4].as<std::int64_t>();
  status.unseen_rows = std::max<std::int64_t>(0, (*facts)[0][3].as<std::int64_t>() - status.parked_rows);
  status.captures_oldest_s = seconds_in((*facts)[0][5]);
  const auto parked = db.exec(
      fmt::format("SELECT t.schema_name || '.' || t.table_name, p.key, p.reason, to_char(p.since AT TIME ZONE 'UTC', "
                  "'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"') FROM mbsync.parked p JOIN mbsync.synced_table t ON t.id = p.tab "
                  "ORDER BY p.since, 1, 2 LIMIT {}",
                  StoreStatus::kParkedShown));
  MBSYNC_TRY(parked);
  for (const auto& row : *parked) {
    status.parked.push_back({row[0].c_str(), row[1].c_str(), row[2].c_str(), row[3].c_str()});
  }
  const auto conflicts = count_conflicts(db);
  MBSYNC_TRY(conflicts);
  status.conflicts = conflicts->open + conflicts->decided + conflicts->resolved;
  status.open_conflicts = conflicts->open;
  status.resolved_conflicts = conflicts->resolved;
  const auto schema = read_schema(db);
  MBSYNC_TRY(schema);
  // A policy that a newer mbsync has published, say, is no reason to show nothing.
  const auto trouble = schema->rules->trouble(db, schema->tables);
  status.policy_trouble = trouble ? *trouble : std::vector<std::string>{trouble.error().text()};
  for (const auto& table : schema->tables) {
    if (!table.internal) {
      status.tables.push_back(table.display());
    }
  }
  for (const auto& refused : schema->refused) {
    status.refused.emplace_back(fmt::format("{}.{}", refused.schema, refused.name), refused.reason);
  }
  const auto members = db.exec(
      "SELECT n.id, n.name, n.is_self, to_char(n.last_seen AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"'), "
      "b.lines, coalesce(m.away OR m.banned, false), n.agreed, "
      "coalesce(m.banned, false), coalesce(m.reason, ''), coalesce(m.said_by, ''), coalesce(to_char(m.said_at AT TIME "
      "ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"'), ''), coalesce(lpad(to_hex(m.back_as), 16, '0'), ''), "
      "n.silent_days, b.oldest, "
      "(SELECT coalesce(sum(greatest(r.counter - coalesce(v.counter, 0), 0)), 0)::bigint FROM mbsync.report r LEFT "
      "JOIN "
      "mbsync.version_vector v ON v.origin = r.origin WHERE NOT n.is_self AND r.node = n.id) FROM mbsync.node n "
      "CROSS JOIN LATERAL (SELECT count(*) AS lines, extract(epoch FROM clock_timestamp() - min(c.at) FILTER (WHERE "
      "isfinite(c.at)))::float8 AS oldest FROM mbsync.change c LEFT JOIN mbsync.report r ON r.node = n.id AND r.origin "
      "= "
      "c.origin WHERE NOT n.is_self AND c.counter > coalesce(r.counter, 0)) b LEFT "
      "JOIN mbsync.membership m ON m.node = n.id WHERE NOT n.former ORDER BY NOT n.is_self, n.name, n.id");
  MBSYNC_TRY(members);
  for (const auto& row : *members) {
    StoreStatus::MemberStatus member{
        Member{NodeId{row[0].as<std::int64_t>()}, row[1].c_str()},
        row[2].as<bool>(),
        row[3].is_null() ? "" : row[3].c_str(),
        row[4].as<std::int64_t>(),
        StoreStatus::MemberStanding{row[5].as<bool>(), row[6].as<bool>(), row[7].as<bool>(), row[8].c_str(),
                                    row[9].c_str(), row[10].c_str(), row[11].c_str(), row[12].as<int>()},
        seconds_in(row[13]),
        row[14].as<std::int64_t>()};
    if (member.self) {
      status.self = member.member;
    }
    status.members.push_back(std::move(member));
  }
  auto peers = read_peer_notes(db);
  MBSYNC_TRY(peers);
  status.peers = std::move(*peers);
  // Who is not waited for is told of as that, and is no peer.
  std::erase_if(status.peers.peers, [&](const PeerStatus& peer) {
    return std::any_of(status.members.begin(), status.members.end(), [&](const StoreStatus::MemberStatus& entry) {
      return entry.member.id == peer.peer.id && entry.standing.away && entry.standing.agreed;
    });
  });
  auto verified = read_verdicts(db, false);
  MBSYNC_TRY(verified);
  status.verified = std::move(*verified);
  MBSYNC_TRY(read_process(db, status));
  MBSYNC_TRY(read_figures(db, status));
  return status;
}

}  // namespace

struct StatusReader::Impl {
  DatabaseUrl url;
  std::mutex turn;  // one read at a time; guards `db`
  std::unique_ptr<PgConnection> db;
  std::mutex mutex;  // guards what follows
  bool interrupted = false;
  std::shared_ptr<PgConnection::Stopper> stopper;
};

StatusReader::StatusReader(DatabaseUrl url) : impl_(std::make_unique<Impl>()) {
  impl_->url = std::move(url);
}
StatusReader::~StatusReader() = default;

Result<StoreStatus> StatusReader::read() {
  const std::lock_guard one(impl_->turn);
  if (!impl_->db || impl_->db->broken()) {
    impl_->db.reset();
    auto opened = PgConnection::open(impl_->url, "status", [this] {
      const std::lock_guard lock(impl_->mutex);
      return impl_->interrupted;
    });
    MBSYNC_TRY(opened);
    const std::lock_guard lock(impl_->mutex);
    impl_->db = std::move(*opened);
    impl_->stopper = impl_->db->stopper();
    if (impl_->interrupted) {
      impl_->stopper->give_up();
    }
  }
  auto status = read_all(*impl_->db, impl_->url);
  impl_->db->rollback();
  return status;
}

void StatusReader::interrupt() {
  const std::lock_guard lock(impl_->mutex);
  if (impl_->stopper) {
    impl_->interrupted ? impl_->stopper->cut() : impl_->stopper->give_up();
  }
  impl_->interrupted = true;
}

}  // namespace mbsync
