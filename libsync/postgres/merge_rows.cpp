#include "merge_rows.h"

#include <fmt/format.h>

#include "change_sql.h"
#include "conflict_record.h"
#include "judge.h"
#include "pull_reader.h"
#include "table_sql.h"
#include "version_store.h"

namespace mbsync {
namespace {

// From here on statistics of what is staged pay.
constexpr std::int64_t kManyRows = 500;

}  // namespace

Result<void> prepare_merge(PgConnection& db) {
  MBSYNC_TRY(db.ensure_temporary_table(
      "new_change",
      "tab int, key text, origin bigint, counter bigint, at_us bigint, cols varbit, "
      "deleted boolean, kept text, unseen boolean, is_fleet_row boolean, policy bigint, sums text",
      {"kept"}));
  MBSYNC_TRY(db.ensure_temporary_table(
      "new_counter", "tab int, key text, number int, origin bigint, counter bigint, total numeric, shown numeric"));
  return db.ensure_temporary_table("new_conflict", kNewConflictColumns, {"versions", "outcome"});
}

Result<MergeCounts> merge_rows(PgConnection& db, const StagedTable& staged, const MergeContext& context) {
  const auto& table = *staged.table;
  const TableSql sql(table);
  const auto local = fmt::format("SELECT DISTINCT c.key FROM mbsync.change c WHERE c.tab = {} AND {}", table.id,
                                 has_key_among("c", "m_key", "FROM " + staged.name));
  // Another answer may have been applied since this one was asked for. A write that is covered here and not live any
  // more was overwritten or forgotten, and the values that came with it are out of date.
  if (!context.asked_seen.covers(context.mine_seen)) {
    MBSYNC_TRY(
        db.exec(fmt::format("DELETE FROM {} s WHERE s.m_origin IS NOT NULL AND {} AND NOT EXISTS "
                            "(SELECT FROM mbsync.change c WHERE c.tab = {} AND {})",
                            staged.name, covered_by(context.mine_seen, "s", "m_"), table.id, has_key("c", "s.m_key"))));
  }
  const auto any =
      db.exec(fmt::format("SELECT EXISTS (SELECT FROM {} WHERE m_writes IS NOT NULL OR m_held{}) OR EXISTS ({})",
                          staged.name, staged.renumber.empty() ? "" : " OR m_kept IS NOT NULL", local));
  MBSYNC_TRY(any);
  if (!(*any)[0][0].as<bool>()) {
    return MergeCounts{};
  }

  // Equal rows on both sides, each with one write that the other has not seen: both writes stay live and agree, so
  // there is nothing to judge. Two machines restored from one dump come here with every row they have.
  const auto counted = has_counters(db, table.id);
  MBSYNC_TRY(counted);
  if (!context.header.full && staged.renumber.empty() && !*counted) {
    MBSYNC_TRY(db.exec(fmt::format(
        "WITH same AS (DELETE FROM {0} s USING (SELECT c.key FROM mbsync.change c WHERE c.tab = {1} AND {8} "
        "GROUP BY c.key HAVING count(*) = 1 AND NOT bool_or(c.deleted OR c.kept IS NOT NULL OR {2})) w, {3} t "
        "WHERE w.key = s.m_key AND NOT s.m_held AND s.m_writes IS NULL AND NOT s.m_deleted AND s.m_kept IS NULL AND "
        "NOT {4} AND {5} "
        "AND ROW({6})::record OPERATOR(pg_catalog.*=) ROW({7})::record "
        "RETURNING s.m_key, s.m_origin, s.m_counter, s.m_at, s.m_cols, s.m_policy) "
        "INSERT INTO mbsync.change (tab, key, origin, counter, at, cols, deleted, policy) "
        "SELECT {1}, m_key, m_origin, m_counter, m_at, m_cols, false, m_policy FROM same",
        staged.name, table.id, covered_by(context.header.seen, "c", ""), table.quoted(),
        covered_by(context.mine_seen, "s", "m_"), sql.key_match("t", "s.m_key"), sql.columns("t"),
        sql.staged_values("s"), has_key_among("c", "m_key", "FROM " + staged.name))));
  }
  const auto told = db.exec(fmt::format("UPDATE {} SET m_slow = true WHERE m_writes IS NOT NULL OR m_held{}",
                                        staged.name, staged.renumber.empty() ? "" : " OR m_kept IS NOT NULL"));
  MBSYNC_TRY(told);
  const auto both = db.exec(fmt::format(
      "UPDATE {0} s SET m_slow = true FROM ({1}) k WHERE k.key = s.m_key AND NOT s.m_slow", staged.name, local));
  MBSYNC_TRY(both);

  // It was analysed when nothing was marked yet, and whoever takes the marked rows for none goes through all of them
  // for each: with one row in a hundred in conflict, a pull took ten times as long.
  if (staged.rows > kManyRows) {
    MBSYNC_TRY(db.exec(fmt::format("ANALYZE {} (m_key, m_slow)", staged.name)));
  }
  auto counts = Judge(db, staged, context, *counted)
                    .run(static_cast<std::int64_t>(told->affected_rows() + both->affected_rows()));
  MBSYNC_TRY(counts);
  // From the staged rows to their writes, and never the other way round: how many writes there are is what statistics
  // know least.
  MBSYNC_TRY(db.exec(
      fmt::format("DELETE FROM mbsync.change WHERE ctid = ANY (ARRAY (SELECT w.ctid FROM {0} s, LATERAL (SELECT c.ctid "
                  "FROM mbsync.change c WHERE c.tab = {1} AND {2} OFFSET 0) w WHERE s.m_slow)); "
                  "DELETE FROM {0} WHERE m_slow",
                  staged.name, table.id, has_key("c", "s.m_key"))));
  return counts;
}

Result<void> store_merged(PgConnection& db, int record_table) {
  MBSYNC_TRY(db.exec(fmt::format(
      "INSERT INTO mbsync.change (tab, key, origin, counter, at, cols, deleted, kept, unseen, is_fleet_row, policy, "
      "sums) SELECT tab, key, origin, counter, coalesce('epoch'::timestamptz + at_us * interval '1 "
      "microsecond', '-infinity'), cols, deleted, kept, unseen, is_fleet_row, policy, sums FROM pg_temp.new_change; "
      "DELETE FROM mbsync.counter k USING (SELECT DISTINCT tab, key FROM pg_temp.new_counter) n WHERE k.tab "
      "= n.tab AND {1}; "
      "INSERT INTO mbsync.counter SELECT * FROM pg_temp.new_counter; "
      // The record travels: what captures nothing while rows are applied is captured by hand.
      "WITH fresh AS (INSERT INTO mbsync.conflict_record (id, kind, schema_name, table_name, key, dots, "
      "columns, versions, outcome, at, is_open) "
      "SELECT md5(signature)::uuid, kind, schema_name, table_name, key, dots, columns, versions::jsonb, "
      "outcome::jsonb, coalesce('epoch'::timestamptz + at_us * interval '1 microsecond', '-infinity'), "
      "is_open FROM pg_temp.new_conflict ON CONFLICT (id) DO NOTHING RETURNING id, at) "
      "INSERT INTO mbsync.capture (tab, op, key, at) SELECT {0}, 'I', id::text, at FROM fresh",
      record_table, has_key("k", "n.key"))));
  MBSYNC_TRY(db.clear_temporary_table("new_change"));
  MBSYNC_TRY(db.clear_temporary_table("new_counter"));
  return db.clear_temporary_table("new_conflict");
}

}  // namespace mbsync
