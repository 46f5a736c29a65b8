#include "conflict_retention.h"

#include <fmt/format.h>

#include "change_sql.h"

namespace mbsync {
namespace {

// Few enough that the engine's lock is free again within some tens of milliseconds.
constexpr int kBatchEntries = 500;

// An entry goes together with those that have some of its writes only: they would be shown again without it. What a
// person is about to decide is locked, and left for another time.
std::string removal(int record_table, int days) {
  const auto live = [&](const char* entry) {
    return fmt::format("EXISTS (SELECT FROM mbsync.change w WHERE w.tab = {} AND {})", record_table,
                       has_key("w", fmt::format("{}.id::text", entry)));
  };
  const auto narrower = [](const char* entry) {
    return fmt::format(
        "n.schema_name = {0}.schema_name AND n.table_name = {0}.table_name AND hashtextextended(n.key, 0) = "
        "hashtextextended({0}.key, 0) AND n.key = {0}.key AND n.kind = {0}.kind AND n.dots <@ {0}.dots",
        entry);
  };
  return fmt::format(
      "WITH due AS MATERIALIZED (SELECT c.* FROM mbsync.conflict_record c WHERE NOT c.is_open AND c.recorded_at < "
      "now() "
      "- make_interval(days => {0}) "
      "AND CASE WHEN c.resolution ->> 'at' ~ '^\\d{{4}}-\\d\\d-\\d\\dT\\d\\d:\\d\\d:\\d\\d(\\.\\d+)?Z$' "
      "THEN (c.resolution ->> 'at')::timestamptz < now() - make_interval(days => {0}) ELSE true END "
      "AND NOT EXISTS (SELECT FROM mbsync.capture p WHERE p.tab = {1}) "
      "AND NOT EXISTS (SELECT FROM mbsync.conflict_record n WHERE {2} AND {3}) "
      "ORDER BY c.recorded_at LIMIT {4} FOR UPDATE OF c SKIP LOCKED) "
      "DELETE FROM mbsync.conflict_record r USING (SELECT n.id FROM due d JOIN mbsync.conflict_record n ON {5}) gone "
      "WHERE r.id = gone.id",
      days, record_table, narrower("c"), live("n"), kBatchEntries, narrower("d"));
}

}  // namespace

Result<std::int64_t> remove_old_conflicts(PgConnection& db, int record_table, int days) {
  MBSYNC_TRY(db.begin(PgConnection::Isolation::kReadCommitted));
  const auto run = [&]() -> Result<std::int64_t> {
    // Through the indexes, whatever the statistics say; and no capture: this is not a write that travels.
    MBSYNC_TRY(
        db.exec("SET LOCAL enable_hashjoin = off; SET LOCAL enable_mergejoin = off; SET LOCAL mbsync.applying = 'on'"));
    const auto removed = db.exec(removal(record_table, days));
    MBSYNC_TRY(removed);
    return static_cast<std::int64_t>(removed->affected_rows());
  };
  auto removed = run();
  if (!removed) {
    db.rollback();
    return removed.error().in("removing old conflicts");
  }
  MBSYNC_TRY(db.commit());
  return removed;
}

}  // namespace mbsync
