#include "armed_rows.h"

#include <fmt/format.h>

#include <algorithm>

#include "change_sql.h"
#include "digest_reader.h"
#include "rule_book.h"
#include "table_sql.h"

namespace mbsync {
namespace {

// By then whoever has armed them has long touched his own, or never will.
constexpr const char* kArmedFor = "1 day";

std::string time_of(std::int64_t micros) {
  return fmt::format("'epoch'::timestamptz + {} * interval '1 microsecond'", micros);
}

// "t" for each column number that is named.
Result<std::string> columns_of(const Table& table, const std::vector<std::string>& names) {
  std::string bits(table.width - 1, 'f');
  for (const auto& name : names) {
    const auto* column = table.find(name);
    if (column == nullptr) {
      return Error{ErrorKind::kCorrupt, fmt::format("table {} has no column \"{}\"", table.display(), name), ""};
    }
    bits[column->number - 1] = 't';
  }
  return bits;
}

Result<void> check_counters(PgConnection& db, const Schema& schema, const Table& table,
                            const std::vector<std::string>& names) {
  const auto version = policy_in_force(db);
  MBSYNC_TRY(version);
  MBSYNC_TRY(schema.rules->read(db));
  const auto* rules = schema.rules->find(*version, table);
  for (const auto& name : names) {
    if (const auto* column = table.find(name);
        rules != nullptr && column != nullptr && rules->sums().contains(column->number)) {
      return Error{
          ErrorKind::kConflict,
          fmt::format("column \"{}\" of {} adds up what all machines have written, so no rule can tell which of "
                      "two totals is right",
                      name, table.display()),
          "set the value in the application, on one of the machines"};
    }
  }
  return {};
}

}  // namespace

Result<std::int64_t> take_row(PgConnection& db, const Schema& schema, const Table& table,
                              const DigestRequest& request) {
  const TableSql sql(table);
  const auto& key = request.keys.front();
  const bool whole = request.touched.empty();
  MBSYNC_TRY(check_counters(db, schema, table, request.touched));
  const auto columns = columns_of(table, request.touched);
  MBSYNC_TRY(columns);
  const auto now = db.exec(fmt::format("SELECT encode({}, 'hex') FROM {} t WHERE {} FOR UPDATE", row_hash_sql(table),
                                       table.quoted(), sql.key_match("t", db.quote(key))));
  MBSYNC_TRY(now);
  if (now->empty() || request.hash != (*now)[0][0].c_str()) {
    return 0;
  }
  MBSYNC_TRY(
      db.exec(fmt::format("DELETE FROM mbsync.armed a WHERE a.armed_at < now() - interval '{}' OR (a.tab = {} AND {})",
                          kArmedFor, table.id, has_key("a", db.quote(key)))));
  const auto values = fmt::format("{}, {}, {}", db.quote(key), whole ? std::string("NULL") : db.quote(*columns),
                                  time_of(request.at_us));
  if (request.kind == DigestKind::kTouch) {
    MBSYNC_TRY(db.exec(fmt::format("INSERT INTO mbsync.capture (tab, op, key, cols, at) VALUES ({}, '{}', {})",
                                   table.id, whole ? "I" : "U", values)));
  } else {
    MBSYNC_TRY(db.exec(fmt::format("INSERT INTO mbsync.armed (tab, key, cols, at) VALUES ({}, {})", table.id, values)));
  }
  return 1;
}

Result<void> capture_armed(PgConnection& db, const std::vector<StagedTable*>& staged) {
  // The usual case by far.
  const auto any = db.exec_cached("SELECT EXISTS (SELECT FROM mbsync.armed)");
  MBSYNC_TRY(any);
  if (!(*any)[0][0].as<bool>()) {
    return {};
  }
  for (const auto* entry : staged) {
    const auto& table = *entry->table;
    const TableSql sql(table);
    MBSYNC_TRY(db.exec(fmt::format(
        "WITH taken AS (DELETE FROM mbsync.armed a USING {0} s WHERE a.tab = {1} AND a.key = s.m_key RETURNING a.key, "
        "a.cols, a.at) INSERT INTO mbsync.capture (tab, op, key, cols, at) SELECT DISTINCT {1}, 'U'::\"char\", k.key, "
        "k.cols, k.at FROM taken k WHERE EXISTS (SELECT FROM {2} t WHERE {3})",
        entry->name, table.id, table.quoted(), sql.key_match("t", "k.key"))));
  }
  return {};
}

}  // namespace mbsync
