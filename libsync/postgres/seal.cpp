#include "seal.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "change_sql.h"
#include "record_text.h"
#include "table_sql.h"
#include "version_store.h"

namespace mbsync {
namespace {

constexpr std::int64_t kFewRows = 500;
constexpr std::string_view kOtherColumns = "has other columns than a moment ago";

/// The names of all columns, generated ones too; an error if they are not the very ones that are known of the table.
Result<std::vector<std::string>> live_columns(PgConnection& db, const Table& table) {
  const auto columns = db.exec(
      "SELECT attname, attnum, attgenerated <> '' FROM pg_attribute WHERE attrelid = $1::oid AND attnum > 0 AND NOT "
      "attisdropped",
      {std::to_string(table.oid)});
  MBSYNC_TRY(columns);
  std::vector<std::string> names;
  for (const auto& row : *columns) {
    names.emplace_back(row[0].c_str());
  }
  // Of mbsync's own tables, what belongs to one machine does not travel; they change with mbsync alone.
  const bool as_known =
      table.internal ||
      (names.size() == table.columns_in_all && std::all_of(columns->begin(), columns->end(), [&](const auto& row) {
         const auto* known = table.find(row[0].c_str());
         return row[2].template as<bool>() ? known == nullptr
                                           : known != nullptr && known->attnum == row[1].template as<int>();
       }));
  if (!as_known) {
    return Error{ErrorKind::kTransient, fmt::format("table {} {}", table.display(), kOtherColumns),
                 "it is looked at anew by itself"};
  }
  return names;
}

// Captures whose trigger met a table that had changed under it (op R) hold whole rows as JSON. Of an update both sides
// are there, and what differs is what it wrote. Else what the row is now decides between written and deleted, so both
// become "the row was touched": I and D at once, and D once more, since it may have been there before.
//
// Types may have changed since, with other values in them: what cannot be read any more is missing in the image of a
// row that is deleted, and nothing else. A line whose key cannot be read stays.
Result<void> take_apart_raw(PgConnection& db, const Schema& schema) {
  const auto tabs = db.exec("SELECT DISTINCT tab FROM mbsync.capture WHERE op = 'R'");
  MBSYNC_TRY(tabs);
  for (const auto& row : *tabs) {
    const auto id = row[0].as<int>();
    const auto table =
        std::find_if(schema.tables.begin(), schema.tables.end(), [&](const Table& t) { return t.id == id; });
    if (table == schema.tables.end()) {
      continue;  // stays until the table is back, or is dropped with it
    }
    const auto live = live_columns(db, *table);
    MBSYNC_TRY(live);
    const TableSql sql(*table);
    std::string columns;
    // A column that came and got another name before anybody looked at the table is in the lines under the first one.
    const auto renamed = fmt::format(
        "EXISTS (SELECT FROM json_object_keys(n.line::json) m WHERE m <> ALL ({}::text[])) AND NOT n.line::jsonb ? ",
        db.quote(format_array(*live)));
    std::vector<std::string> changed(table->width - 1, "'f'");
    for (const auto& column : table->columns) {
      const auto member = db.quote(column.name);
      const auto name = PgConnection::quote_name(column.name);
      columns += fmt::format(", (mbsync.populate_or_null(NULL::{0}, json_build_object({1}, c.image::json -> {1}))).{2}",
                             table->quoted(), member, name);
      changed[column.number - 1] = fmt::format(
          "CASE WHEN (o.line::json -> {0})::text IS DISTINCT FROM (n.line::json -> {0})::text OR ({1}{0}) THEN 't' "
          "ELSE "
          "'f' END",
          member, renamed);
    }
    std::string key;
    for (const auto index : table->key) {
      key += fmt::format("{}r.{} IS NOT NULL", key.empty() ? "" : " AND ",
                         PgConnection::quote_name(table->columns[index].name));
    }
    const auto done = db.exec(fmt::format(
        "WITH lines AS MATERIALIZED (SELECT c.ctid AS \"mbsync place\", c.at AS \"mbsync at\", c.cols AS \"mbsync "
        "side\", c.image AS \"mbsync line\"{1} FROM "
        "mbsync.capture c WHERE c.tab = {0} AND c.op = 'R'), "
        "rows AS MATERIALIZED (SELECT r.\"mbsync place\" AS place, r.\"mbsync at\" AS at, r.\"mbsync side\" AS side, "
        "r.\"mbsync line\" AS line, {2} AS key, {3} AS image FROM lines r WHERE {4}), "
        "taken AS (DELETE FROM mbsync.capture WHERE ctid IN (SELECT place FROM rows)), "
        "updates AS (SELECT n.key, n.at, concat({5}) AS cols, o.place AS old, n.place AS new FROM rows o JOIN rows n "
        "ON "
        "n.at = o.at AND n.key = o.key WHERE o.side = 'o' AND n.side = 'n') "
        "INSERT INTO mbsync.capture (tab, op, key, cols, at, image) "
        "SELECT {0}, 'U', key, cols, at, NULL FROM updates WHERE position('t' IN cols) > 0 UNION ALL "
        "SELECT {0}, o.op, key, NULL, at, CASE o.op WHEN 'D' THEN image END FROM rows, (VALUES ('D'), ('D'), ('I')) "
        "o(op) WHERE place NOT IN (SELECT old FROM updates UNION ALL SELECT new FROM updates)",
        id, columns, sql.key_text("r"), sql.record("r"), key, fmt::join(changed, ", ")));
    if (!done) {
      return done.error().in(fmt::format("table {} has changed", table->display()));
    }
    // Lines that the statement saw and the look before it did not may be of a table that has changed in between.
    MBSYNC_TRY(live_columns(db, *table));
  }
  return {};
}

// Columns that stay together are written together (CONFLICTS.md C12): a write of one of them holds all.
Result<void> complete_groups(PgConnection& db, const Schema& schema, PolicyVersion version) {
  const auto groups_of = [&](const Table* table) {
    const auto* rules = table == nullptr ? nullptr : schema.rules->find(version, *table);
    return rules == nullptr ? std::vector<ColumnSet>{} : rules->row.groups;
  };
  if (std::all_of(schema.tables.begin(), schema.tables.end(),
                  [&](const Table& table) { return groups_of(&table).empty(); })) {
    return {};
  }
  const auto tabs = db.exec_cached("SELECT DISTINCT tab FROM pg_temp.sealing WHERE NOT deleted");
  MBSYNC_TRY(tabs);
  for (const auto& row : *tabs) {
    const auto* table = schema.find(row[0].as<int>());
    for (const auto& group : groups_of(table)) {
      MBSYNC_TRY(db.exec(fmt::format(
          "UPDATE pg_temp.sealing SET cols = cols | B'{1}' WHERE tab = {0} AND NOT deleted AND position(B'1' IN cols & "
          "B'{1}') > 0",
          table->id, group.to_bits(table->width))));
    }
  }
  return {};
}

// A difference that a trigger took of a column which is no number any more says no more than that it was written.
Result<void> take_out_what_is_no_sum(PgConnection& db, const Schema& schema) {
  const auto columns = db.exec("SELECT DISTINCT tab, number FROM pg_temp.sealing_sums");
  MBSYNC_TRY(columns);
  for (const auto& row : *columns) {
    const auto* table = schema.find(row[0].as<int>());
    const auto number = row[1].as<ColumnNumber>();
    if (table == nullptr || std::any_of(table->columns.begin(), table->columns.end(), [&](const Column& column) {
          return column.number == number && column.value_type.kind == ValueKind::kNumber;
        })) {
      continue;
    }
    MBSYNC_TRY(db.exec(fmt::format(
        "WITH taken AS (DELETE FROM pg_temp.sealing_sums WHERE tab = {0} AND number = {1} RETURNING key) "
        "UPDATE pg_temp.sealing s SET cols = s.cols | B'{2}' FROM taken t WHERE s.tab = {0} AND s.key = t.key",
        table->id, number, ColumnSet{number}.to_bits(table->width))));
  }
  return {};
}

// Differences become part of what this node has added to each counter (CONFLICTS.md C16). Whether there are counters.
Result<bool> add_up(PgConnection& db, const Schema& schema, NodeId self, std::int64_t counter) {
  const auto any =
      db.exec_cached("SELECT EXISTS (SELECT FROM pg_temp.sealing_sums), EXISTS (SELECT FROM mbsync.counter)");
  MBSYNC_TRY(any);
  if (!(*any)[0][0].as<bool>()) {
    return (*any)[0][1].as<bool>();
  }
  MBSYNC_TRY(take_out_what_is_no_sum(db, schema));
  // Of rows that came and went unheard of, nothing is kept.
  MBSYNC_TRY(db.exec(fmt::format(
      "DELETE FROM pg_temp.sealing_sums s WHERE NOT EXISTS (SELECT FROM pg_temp.sealing r WHERE r.tab = s.tab AND "
      "r.key "
      "= s.key); "
      "UPDATE mbsync.counter k SET counter = {1}, total = k.total + s.delta, shown = k.shown + s.delta FROM "
      "pg_temp.sealing_sums s WHERE k.tab = s.tab AND {2} AND k.number = s.number AND k.origin = {0}; "
      "INSERT INTO mbsync.counter (tab, key, number, origin, counter, total, shown) SELECT s.tab, s.key, s.number, "
      "{0}, "
      "{1}, s.delta, s.delta FROM pg_temp.sealing_sums s WHERE NOT EXISTS (SELECT FROM mbsync.counter k WHERE k.tab = "
      "s.tab AND {2} AND k.number = s.number AND k.origin = {0})",
      self.value, counter, has_key("k", "s.key"))));
  MBSYNC_TRY(db.clear_temporary_table("sealing_sums"));
  return true;
}

// A row that was both inserted and deleted in what is sealed now: only the table says how that ended.
Result<void> look_up_ambiguous(PgConnection& db, const Schema& schema) {
  const auto tabs = db.exec("SELECT DISTINCT tab FROM pg_temp.sealing WHERE inserts > 0 AND deletes > 0");
  MBSYNC_TRY(tabs);
  for (const auto& row : *tabs) {
    const auto id = row[0].as<int>();
    const auto table =
        std::find_if(schema.tables.begin(), schema.tables.end(), [&](const Table& t) { return t.id == id; });
    if (table == schema.tables.end()) {
      continue;
    }
    const TableSql sql(*table);
    MBSYNC_TRY(
        db.exec(fmt::format("UPDATE pg_temp.sealing s SET deleted = NOT EXISTS (SELECT FROM {1} t WHERE {2}) "
                            "WHERE s.tab = {0} AND s.inserts > 0 AND s.deletes > 0",
                            id, table->quoted(), sql.key_match("t", "s.key"))));
  }
  // Came and went between two seals: nobody has heard of it, and nothing is different.
  return db.run("DELETE FROM pg_temp.sealing s WHERE s.deleted AND s.inserts >= s.deletes");
}

}  // namespace

Result<void> prepare_sealing(PgConnection& db) {
  MBSYNC_TRY(db.ensure_temporary_table(
      "sealing_sums",
      "tab int NOT NULL, key text COLLATE \"C\" NOT NULL, number int NOT NULL, delta numeric NOT NULL"));
  return db.ensure_temporary_table(
      "sealing",
      "tab int NOT NULL, key text COLLATE \"C\" NOT NULL, cols varbit NOT NULL, at timestamptz NOT NULL, "
      "inserts bigint NOT NULL, deletes bigint NOT NULL, deleted boolean NOT NULL, image text, "
      "of_fleet boolean NOT NULL DEFAULT false");
}

Result<void> plan_for(PgConnection& db, std::int64_t rows) {
  MBSYNC_TRY(db.exec(rows <= kFewRows ? "SET LOCAL enable_hashjoin = off; SET LOCAL enable_mergejoin = off"
                                      : "SET LOCAL enable_hashjoin = on; SET LOCAL enable_mergejoin = on"));
  return {};
}

bool has_other_columns(const Error& error) {
  return error.message.find(kOtherColumns) != std::string::npos;
}

Result<std::int64_t> seal(PgConnection& db, const Schema& schema, NodeId self) {
  // The usual case by far, and it should cost one short statement.
  const auto any = db.exec_cached("SELECT op = 'R' FROM mbsync.capture ORDER BY op = 'R' DESC LIMIT 1");
  MBSYNC_TRY(any);
  if (any->empty()) {
    return 0;
  }
  if ((*any)[0][0].as<bool>()) {
    MBSYNC_TRY(take_apart_raw(db, schema));
  }

  const auto taken = db.exec(
      "WITH taken AS (DELETE FROM mbsync.capture WHERE op <> 'R' RETURNING tab, op, key, cols, at, image, sums), "
      "summed AS (INSERT INTO pg_temp.sealing_sums SELECT c.tab, c.key, s.key::int, sum(s.value::numeric) FROM taken "
      "c, "
      "json_each_text(c.sums::json) s WHERE c.sums IS NOT NULL GROUP BY c.tab, c.key, s.key) "
      "INSERT INTO pg_temp.sealing "
      "SELECT c.tab, c.key, "
      "bit_or(CASE WHEN c.cols IS NULL THEN t.all_columns "
      "       ELSE rpad('1' || translate(c.cols, 'tf', '10'), t.width, '0')::varbit END), "
      "max(c.at), count(*) FILTER (WHERE c.op = 'I'), count(*) FILTER (WHERE c.op = 'D'), "
      "count(*) FILTER (WHERE c.op = 'D') > count(*) FILTER (WHERE c.op = 'I'), "
      "(array_agg(c.image ORDER BY c.at DESC) FILTER (WHERE c.op = 'D'))[1] "
      "FROM taken c JOIN mbsync.synced_table t ON t.id = c.tab "
      "WHERE c.op <> 'U' OR position('t' IN c.cols) > 0 OR c.sums <> '{}' GROUP BY c.tab, c.key");
  MBSYNC_TRY(taken);
  std::int64_t rows = static_cast<std::int64_t>(taken->affected_rows());
  if (rows == 0) {
    return 0;
  }
  MBSYNC_TRY(plan_for(db, rows));
  if (rows > kFewRows) {
    MBSYNC_TRY(db.exec("ANALYZE pg_temp.sealing"));
  }
  const auto ambiguous = db.exec_cached(
      "SELECT EXISTS (SELECT FROM pg_temp.sealing WHERE inserts > 0 AND deletes > 0), EXISTS (SELECT FROM "
      "mbsync.change WHERE is_fleet_row)");
  MBSYNC_TRY(ambiguous);
  if ((*ambiguous)[0][0].as<bool>()) {
    MBSYNC_TRY(look_up_ambiguous(db, schema));
  }
  if ((*ambiguous)[0][1].as<bool>()) {
    // Who deletes a row in place of which the fleet's is to stand, deletes that one.
    MBSYNC_TRY(db.exec(fmt::format(
        "UPDATE pg_temp.sealing s SET image = c.kept, of_fleet = true FROM mbsync.change c WHERE s.deleted AND "
        "c.is_fleet_row AND c.tab = s.tab AND {}",
        has_key("c", "s.key"))));
  }

  const auto counter = next_counter(db, self);
  MBSYNC_TRY(counter);
  const auto counted = add_up(db, schema, self, *counter);
  MBSYNC_TRY(counted);
  const auto policy = policy_in_force(db);
  MBSYNC_TRY(policy);
  if (*policy != kBuiltInPolicy) {
    MBSYNC_TRY(schema.rules->read(db));
  }
  MBSYNC_TRY(complete_groups(db, schema, *policy));
  const auto sealed = db.exec(fmt::format(
      "DELETE FROM mbsync.change c USING pg_temp.sealing s WHERE c.tab = s.tab AND {2} "
      "AND (NOT c.unseen OR c.is_fleet_row) AND position(B'1' IN c.cols & ~s.cols) = 0; "
      "UPDATE mbsync.change c SET cols = c.cols & ~s.cols FROM pg_temp.sealing s WHERE c.tab = s.tab AND {2} "
      "AND (NOT c.unseen OR c.is_fleet_row) AND position(B'1' IN c.cols & s.cols) > 0; "
      "INSERT INTO mbsync.change (tab, key, origin, counter, at, cols, deleted, kept, policy, sums) "
      "SELECT s.tab, s.key, {0}, {1}, s.at, s.cols, s.deleted, CASE WHEN s.deleted THEN s.image END, "
      "{3}, {4} FROM pg_temp.sealing s",
      self.value, *counter, has_key("c", "s.key"), *policy,
      *counted ? fmt::format("CASE WHEN s.deleted AND NOT s.of_fleet THEN (SELECT json_object_agg(k.number, "
                             "k.sum)::text FROM (SELECT "
                             "k.number, sum(k.shown)::text AS sum FROM mbsync.counter k WHERE k.tab = s.tab AND {} "
                             "GROUP BY k.number) k) END",
                             has_key("k", "s.key"))
               : "NULL"));
  MBSYNC_TRY(sealed);
  rows = static_cast<std::int64_t>(sealed->affected_rows());
  MBSYNC_TRY(db.clear_temporary_table("sealing"));
  return rows;
}

}  // namespace mbsync
