#include "version_store.h"

#include <fmt/format.h>

namespace mbsync {

Result<Member> ensure_self(PgConnection& db, const std::string& name) {
  // The unique index over is_self lets two first starts at once end with one identity.
  MBSYNC_TRY(
      db.exec("INSERT INTO mbsync.node (id, name, is_self) "
              "SELECT ('x' || translate(left(gen_random_uuid()::text, 18), '-', ''))::bit(64)::bigint & "
              "9223372036854775807, $1, true "
              "ON CONFLICT (is_self) WHERE is_self DO UPDATE SET name = excluded.name "
              "WHERE node.name <> excluded.name",
              {name}));
  const auto row = db.exec("SELECT id, name FROM mbsync.node WHERE is_self");
  MBSYNC_TRY(row);
  return Member{NodeId{(*row)[0][0].as<std::int64_t>()}, (*row)[0][1].c_str()};
}

Result<std::int64_t> next_counter(PgConnection& db, NodeId self) {
  const auto row =
      db.exec_cached(fmt::format("INSERT INTO mbsync.version_vector AS v (origin, counter) VALUES ({}, 1) "
                                 "ON CONFLICT (origin) DO UPDATE SET counter = v.counter + 1 RETURNING counter",
                                 self.value));
  MBSYNC_TRY(row);
  return (*row)[0][0].as<std::int64_t>();
}

Result<Versions> read_versions(PgConnection& db) {
  const auto rows = db.exec_cached(
      "SELECT v.origin, v.counter, v.forgotten, (SELECT min(c.counter) FROM mbsync.change c WHERE c.unseen AND "
      "c.origin = v.origin) FROM mbsync.version_vector v");
  MBSYNC_TRY(rows);
  VersionVector::Map seen;
  VersionVector::Map forgotten;
  VersionVector::Map report;
  for (const auto& row : *rows) {
    const NodeId origin{row[0].as<std::int64_t>()};
    seen[origin] = row[1].as<std::int64_t>();
    forgotten[origin] = row[2].as<std::int64_t>();
    report[origin] = row[3].is_null() ? seen[origin] : row[3].as<std::int64_t>() - 1;
  }
  return Versions{VersionVector(std::move(seen)), VersionVector(std::move(forgotten)),
                  VersionVector(std::move(report))};
}

Result<Fleet> read_fleet(PgConnection& db) {
  const auto rows = db.exec_cached(
      "SELECT id, name, NULL, NULL FROM mbsync.node UNION ALL SELECT node, NULL, origin, counter FROM mbsync.report "
      "ORDER BY 1");
  MBSYNC_TRY(rows);
  Fleet fleet;
  for (const auto& row : *rows) {
    const NodeId node{row[0].as<std::int64_t>()};
    if (row[1].is_null()) {
      fleet.reports[node].advance(Dot{NodeId{row[2].as<std::int64_t>()}, row[3].as<std::int64_t>()});
    } else {
      fleet.members.push_back(Member{node, row[1].c_str()});
    }
  }
  return fleet;
}

std::size_t count_new(const Fleet& fleet, const std::vector<Member>& heard) {
  std::set<NodeId> ids;
  for (const auto& member : heard) {
    ids.insert(member.id);
  }
  for (const auto& member : fleet.members) {
    ids.erase(member.id);
  }
  return ids.size();
}

std::string values_of(const VersionVector& vector) {
  std::string values;
  for (const auto& [origin, counter] : vector.counters()) {
    values += fmt::format("{}({}::bigint,{}::bigint)", values.empty() ? "" : ",", origin.value, counter);
  }
  return values.empty() ? "(0::bigint,0::bigint)" : values;
}

Result<void> raise_seen(PgConnection& db, const VersionVector& seen) {
  if (seen.empty()) {
    return {};
  }
  MBSYNC_TRY(
      db.exec(fmt::format("INSERT INTO mbsync.version_vector AS v (origin, counter) VALUES {} "
                          "ON CONFLICT (origin) DO UPDATE SET counter = excluded.counter "
                          "WHERE v.counter < excluded.counter",
                          values_of(seen))));
  return {};
}

Result<void> raise_forgotten(PgConnection& db, const VersionVector& stable) {
  MBSYNC_TRY(db.exec(
      fmt::format("UPDATE mbsync.version_vector v SET forgotten = s.counter FROM (VALUES {}) s(origin, counter) "
                  "WHERE v.origin = s.origin AND v.forgotten < s.counter",
                  values_of(stable))));
  return {};
}

Result<void> raise_report(PgConnection& db, NodeId node, const VersionVector& report) {
  if (report.empty()) {
    return {};
  }
  MBSYNC_TRY(
      db.exec(fmt::format("INSERT INTO mbsync.report AS r (node, origin, counter) "
                          "SELECT {}, v.origin, v.counter FROM (VALUES {}) v(origin, counter) "
                          "ON CONFLICT (node, origin) DO UPDATE SET counter = excluded.counter "
                          "WHERE r.counter < excluded.counter",
                          node.value, values_of(report))));
  return {};
}

Result<void> store_members(PgConnection& db, const std::vector<Member>& members) {
  for (const auto& member : members) {
    MBSYNC_TRY(
        db.exec("INSERT INTO mbsync.node AS n (id, name) VALUES ($1::bigint, $2) "
                "ON CONFLICT (id) DO UPDATE SET name = excluded.name WHERE n.name <> excluded.name AND NOT n.is_self",
                {std::to_string(member.id.value), member.name}));
  }
  return {};
}

Result<void> touch_member(PgConnection& db, NodeId node) {
  MBSYNC_TRY(
      db.exec_cached(fmt::format("UPDATE mbsync.node SET last_seen = clock_timestamp() WHERE id = {}", node.value)));
  return {};
}

std::string covered_by(const VersionVector& vector, std::string_view alias, std::string_view prefix) {
  std::string condition;
  for (const auto& [origin, counter] : vector.counters()) {
    condition += fmt::format("{0}({1}.{2}origin = {3} AND {1}.{2}counter <= {4})", condition.empty() ? "" : " OR ",
                             alias, prefix, origin.value, counter);
  }
  return condition.empty() ? "false" : fmt::format("({})", condition);
}

}  // namespace mbsync
