#include "version_store.h"

#include <fmt/format.h>

#include <algorithm>

namespace mbsync {
namespace {

// Which writes of mbsync.membership say of those that are away that they are, by the node's key.
constexpr const char* kAwayDots =
    "SELECT c.key, c.origin, c.counter FROM mbsync.synced_table t JOIN mbsync.change c ON c.tab = t.id JOIN "
    "mbsync.membership m ON m.node::text = c.key JOIN mbsync.synced_column k ON k.tab = t.id AND k.name = CASE WHEN "
    "m.away THEN 'away' ELSE 'banned' END WHERE t.schema_name = 'mbsync' AND t.table_name = 'membership' AND (m.away "
    "OR "
    "m.banned) AND substring(c.cols FROM k.number + 1 FOR 1) = B'1'";

NodeId node_of(const pqxx::field& key) {
  return NodeId{key.as<std::int64_t>()};
}

// While writes of a member wait here, it must not be heard that this node knows of the member being away: that would
// say that all of the member's writes are here (CONFLICTS.md C22).
Result<void> leave_out_who_is_away(PgConnection& db, const std::set<NodeId>& behind, VersionVector::Map& report) {
  const auto dots = db.exec(kAwayDots);
  MBSYNC_TRY(dots);
  const auto self = db.exec_cached("SELECT id FROM mbsync.node WHERE is_self");
  MBSYNC_TRY(self);
  for (const auto& row : *dots) {
    const auto origin = node_of(row[1]);
    if (behind.contains(node_of(row[0])) && (self->empty() || origin != node_of((*self)[0][0]))) {
      report[origin] = std::min(report[origin], row[2].as<std::int64_t>() - 1);
    }
  }
  return {};
}

}  // namespace

Result<void> read_away_dots(PgConnection& db, Membership& fleet) {
  if (fleet.away.empty()) {
    return {};
  }
  const auto dots = db.exec(kAwayDots);
  MBSYNC_TRY(dots);
  const auto captured = db.exec(
      "SELECT DISTINCT c.key FROM mbsync.synced_table t JOIN mbsync.capture c ON c.tab = t.id WHERE t.schema_name = "
      "'mbsync' AND t.table_name = 'membership'");
  MBSYNC_TRY(captured);
  for (auto& [node, writes] : fleet.away) {
    writes.clear();
    for (const auto& row : *dots) {
      if (node_of(row[0]) == node) {
        writes.push_back(Dot{node_of(row[1]), row[2].as<std::int64_t>()});
      }
    }
    for (const auto& row : *captured) {
      if (node_of(row[0]) == node) {
        writes.push_back(unsealed_write(fleet.self));
      }
    }
  }
  return {};
}

Result<Member> ensure_self(PgConnection& db, const std::string& name) {
  // The unique index over is_self lets two first starts at once end with one identity.
  MBSYNC_TRY(db.exec(fmt::format("INSERT INTO mbsync.node (id, name, is_self) SELECT {}, $1, true "
                                 "ON CONFLICT (is_self) WHERE is_self DO UPDATE SET name = excluded.name "
                                 "WHERE node.name <> excluded.name",
                                 kRandomNodeId),
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
      "c.origin = v.origin), v.frozen, EXISTS (SELECT FROM mbsync.node n JOIN mbsync.membership m ON m.node = n.id "
      "WHERE n.declared AND NOT n.agreed AND (m.away OR m.banned)) FROM mbsync.version_vector v");
  MBSYNC_TRY(rows);
  VersionVector::Map seen;
  VersionVector::Map forgotten;
  VersionVector::Map report;
  std::set<NodeId> behind;  // origins of writes that the application has not seen
  bool frozen = false;
  for (const auto& row : *rows) {
    const NodeId origin{row[0].as<std::int64_t>()};
    seen[origin] = row[1].as<std::int64_t>();
    forgotten[origin] = row[2].as<std::int64_t>();
    report[origin] = seen[origin];
    if (!row[3].is_null()) {
      report[origin] = row[3].as<std::int64_t>() - 1;
      behind.insert(origin);
    }
    if (row[5].as<bool>()) {
      frozen = true;
      report[origin] = row[4].as<std::int64_t>(0);
    }
  }
  if (!behind.empty() && !frozen) {
    MBSYNC_TRY(leave_out_who_is_away(db, behind, report));
  }
  return Versions{VersionVector(std::move(seen)), VersionVector(std::move(forgotten)), VersionVector(std::move(report)),
                  !behind.empty()};
}

Result<Fleet> read_fleet(PgConnection& db) {
  const auto rows = db.exec_cached(
      "SELECT n.id, n.name, NULL, NULL, n.is_self, n.declared, n.agreed, n.former, coalesce(m.away OR m.banned, "
      "false), "
      "coalesce(m.banned, false), m.back_at IS NOT NULL FROM mbsync.node n LEFT JOIN mbsync.membership m ON m.node = "
      "n.id UNION ALL SELECT node, NULL, origin, counter, NULL, NULL, NULL, NULL, NULL, NULL, NULL FROM mbsync.report "
      "ORDER BY 1");
  MBSYNC_TRY(rows);
  Fleet fleet;
  for (const auto& row : *rows) {
    const NodeId node{row[0].as<std::int64_t>()};
    if (row[1].is_null()) {
      fleet.reports[node].advance(Dot{NodeId{row[2].as<std::int64_t>()}, row[3].as<std::int64_t>()});
      continue;
    }
    fleet.members.push_back(Member{node, row[1].c_str()});
    fleet.membership.members.insert(node);
    const auto note = [&](int column, std::set<NodeId>& nodes) {
      if (row[column].as<bool>()) {
        nodes.insert(node);
      }
    };
    if (row[4].as<bool>()) {
      fleet.membership.self = node;
    }
    note(5, fleet.declared);
    note(6, fleet.agreed);
    note(7, fleet.former);
    if (row[8].as<bool>()) {
      fleet.membership.away[node];
      note(6, fleet.membership.gone);
      note(9, fleet.banned);
      note(10, fleet.membership.wishing);
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
                          "SELECT {0}, v.origin, v.counter FROM (VALUES {1}) v(origin, counter) "
                          "ON CONFLICT (node, origin) DO UPDATE SET counter = excluded.counter "
                          "WHERE r.counter < excluded.counter; "
                          "UPDATE mbsync.node SET silent_days = 0 WHERE id = {0} AND silent_days > 0",
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
  MBSYNC_TRY(db.exec_cached(
      fmt::format("UPDATE mbsync.node SET last_seen = clock_timestamp(), silent_days = 0 WHERE id = {}", node.value)));
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
