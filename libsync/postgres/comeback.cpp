#include "comeback.h"

#include <fmt/format.h>

#include <algorithm>

#include "change_sql.h"
#include "table_sql.h"

namespace mbsync {
namespace {

constexpr const char* kNextNode = "next_node";

}  // namespace

Result<Member> next_self(PgConnection& db, const Member& self) {
  const auto row = db.exec(fmt::format(
      "WITH fresh AS (INSERT INTO mbsync.settings (name, value) VALUES ('{0}', {1}::text) ON CONFLICT (name) DO "
      "NOTHING "
      "RETURNING value) SELECT value FROM fresh UNION ALL SELECT value FROM mbsync.settings WHERE name = '{0}' LIMIT 1",
      kNextNode, kRandomNodeId));
  MBSYNC_TRY(row);
  return Member{NodeId{(*row)[0][0].as<std::int64_t>()}, self.name};
}

Result<void> stage_what_they_lack(PgConnection& db, StagedTable& staged) {
  const auto& table = *staged.table;
  const auto key = TableSql(table).key_text("t");
  const auto rows = db.exec(fmt::format(
      "INSERT INTO {0} (m_key, m_deleted) SELECT k.key, true FROM (SELECT {1} COLLATE \"C\" AS key FROM {2} t UNION "
      "SELECT c.key FROM mbsync.change c WHERE c.tab = {3}) k WHERE NOT EXISTS (SELECT FROM {0} s WHERE s.m_key = "
      "k.key)",
      staged.name, key, table.quoted(), table.id));
  if (!rows) {
    return rows.error().in(fmt::format("looking for rows of table {} that the fleet does not have", table.display()));
  }
  staged.rows += static_cast<std::int64_t>(rows->affected_rows());  // if the attempt fails, an estimate
  staged.may_delete = staged.may_delete || rows->affected_rows() > 0;
  return {};
}

Result<Comeback> become(PgConnection& db, const Member& next, const std::set<NodeId>& outside,
                        const VersionVector& theirs, const VersionVector& taken) {
  Comeback comeback;
  // What waits here and the fleet has, comes with its row once more.
  MBSYNC_TRY(db.run(fmt::format("DELETE FROM mbsync.change c WHERE c.unseen AND ({} OR {})",
                                covered_by(theirs, "c", ""), covered_by(taken, "c", ""))));
  const auto waiting = db.exec("SELECT count(DISTINCT (tab, key)) FROM mbsync.change WHERE unseen");
  MBSYNC_TRY(waiting);
  if (const auto rows = (*waiting)[0][0].as<std::int64_t>(); rows > 0) {
    comeback.obstacle = fmt::format("{} rows wait here for news that only this node has", rows);
    return comeback;
  }

  std::string ids;
  for (const auto node : outside) {
    ids += fmt::format("{}{}", ids.empty() ? "" : ", ", node.value);
  }
  const auto seen = read_versions(db);
  MBSYNC_TRY(seen);
  for (const auto node : outside) {
    const auto counter = seen->seen.counter(node);
    if (counter > std::max(theirs.counter(node), taken.counter(node))) {
      comeback.brought.advance(Dot{node, counter});
    }
  }
  const auto only_here = fmt::format("c.origin IN ({}) AND NOT {}", ids, covered_by(theirs, "c", ""));
  MBSYNC_TRY(db.run(fmt::format(
      "DELETE FROM mbsync.change c USING mbsync.synced_table t WHERE c.tab = t.id AND t.schema_name = 'mbsync' AND "
      "t.table_name = 'membership' AND {0}; "
      "DELETE FROM mbsync.change c WHERE {0} AND {1}",
      only_here, covered_by(taken, "c", ""))));
  const auto renamed = db.exec(fmt::format(
      "WITH dots AS MATERIALIZED (SELECT d.origin, d.counter, row_number() OVER (ORDER BY d.origin, d.counter) AS "
      "place "
      "FROM (SELECT DISTINCT c.origin, c.counter FROM mbsync.change c WHERE {}) d), moved AS (UPDATE mbsync.change c "
      "SET "
      "origin = {}, counter = d.place FROM dots d WHERE c.origin = d.origin AND c.counter = d.counter) SELECT count(*) "
      "FROM dots",
      only_here, next.id.value));
  MBSYNC_TRY(renamed);
  const auto counter = (*renamed)[0][0].as<std::int64_t>();

  MBSYNC_TRY(db.run(fmt::format(
      "UPDATE mbsync.version_vector SET frozen = NULL WHERE frozen IS NOT NULL; "
      "DELETE FROM mbsync.version_vector v WHERE v.origin IN ({0}) AND NOT EXISTS (SELECT FROM (VALUES {1}) t(origin, "
      "counter) WHERE t.origin = v.origin AND t.counter > 0); "
      "UPDATE mbsync.version_vector v SET counter = least(v.counter, t.counter), forgotten = least(v.forgotten, "
      "t.counter) FROM (VALUES {1}) t(origin, counter) WHERE t.origin = v.origin AND v.origin IN ({0})",
      ids, values_of(theirs))));
  if (counter > 0) {
    MBSYNC_TRY(raise_seen(db, VersionVector({{next.id, counter}})));
  }
  MBSYNC_TRY(
      db.run("UPDATE mbsync.node SET is_self = false, former = true, last_seen = NULL WHERE is_self; "
             "UPDATE mbsync.node SET declared = false, agreed = false WHERE declared OR agreed"));
  MBSYNC_TRY(
      db.exec("INSERT INTO mbsync.node (id, name, is_self) VALUES ($1::bigint, $2, true) ON CONFLICT (id) DO UPDATE "
              "SET name = excluded.name, is_self = true, former = false",
              {std::to_string(next.id.value), next.name}));
  MBSYNC_TRY(db.run(fmt::format("DELETE FROM mbsync.settings WHERE name = '{}'", kNextNode)));
  return comeback;
}

Result<void> agree_as_told(PgConnection& db, const std::vector<NodeId>& outside) {
  for (const auto node : outside) {
    MBSYNC_TRY(db.exec(fmt::format("UPDATE mbsync.node SET agreed = true WHERE id = {} AND NOT is_self", node.value)));
  }
  return {};
}

}  // namespace mbsync
