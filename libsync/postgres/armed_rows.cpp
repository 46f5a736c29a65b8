#include "armed_rows.h"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>

#include "change_sql.h"
#include "digest_reader.h"
#include "seal.h"
#include "table_sql.h"

namespace mbsync {
namespace {

// Who has not got the awaited write by then is no member any more, or it was never made.
constexpr const char* kArmedFor = "400 days";

std::string time_of(std::int64_t micros) {
  return fmt::format("'epoch'::timestamptz + {} * interval '1 microsecond'", micros);
}

// "t" for each column number that is named; for all, where none is.
Result<std::string> columns_of(const Table& table, const std::vector<std::string>& names) {
  std::string bits(table.width - 1, 'f');
  for (const auto& name : names) {
    const auto* column = table.find(name);
    if (column == nullptr) {
      return Error{ErrorKind::kCorrupt, fmt::format("table {} has no column \"{}\"", table.display(), name), ""};
    }
    bits[column->number - 1] = 't';
  }
  for (const auto& column : table.columns) {
    if (names.empty()) {
      bits[column.number - 1] = 't';
    }
  }
  return bits;
}

Result<void> check_counters(const Table& table, const ColumnSet& sums, std::vector<std::string> names) {
  if (names.empty()) {
    std::transform(table.columns.begin(), table.columns.end(), std::back_inserter(names),
                   [](const Column& column) { return column.name; });
  }
  for (const auto& name : names) {
    if (const auto* column = table.find(name); column != nullptr && sums.contains(column->number)) {
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

// The armed rows `taken` are captured, if they are still there, but for columns of which somebody has made a write
// since: that one is live, and stands for what is shown. It is no insertion: with a deletion that is sealed along with
// it, it would look like a row that came and went, and nobody would hear of that.
std::string capture_sql(const Table& table, std::string_view taken) {
  const auto since = fmt::format(
      "SELECT bit_or(rpad(substr(c.cols::text, 2), length(k.cols), '0')::varbit) FROM mbsync.change c WHERE c.tab = {} "
      "AND {} AND c.counter > coalesce((k.seen ->> c.origin::text)::bigint, 0)",
      table.id, has_key("c", "k.key"));
  return fmt::format(
      "WITH taken AS ({1} RETURNING a.key, a.cols, a.at, a.seen), "
      "written AS (SELECT k.*, coalesce(({4}), repeat('0', length(k.cols))::varbit) AS since FROM taken k), "
      "left_over AS (SELECT w.key, w.at, translate((translate(w.cols, 'tf', '10')::varbit & ~w.since)::text, '10', "
      "'tf') AS cols FROM written w) "
      "INSERT INTO mbsync.capture (tab, op, key, cols, at) SELECT DISTINCT {0}, 'U'::\"char\", k.key, k.cols, k.at "
      "FROM "
      "left_over k WHERE position('t' IN k.cols) > 0 AND EXISTS (SELECT FROM {2} t WHERE {3})",
      table.id, taken, table.quoted(), TableSql(table).key_match("t", "k.key"), since);
}

// What is armed is known by who has asked for it, and by what it waits for.
std::string is_armed(PgConnection& db, const Table& table, const DigestRequest& request) {
  return fmt::format("a.tab = {} AND {} AND a.asker = {} AND a.awaits = {} AND a.awaited_at = {}", table.id,
                     has_key("a", db.quote(request.keys.front())), request.sender.id.value, request.awaits.value,
                     time_of(request.awaited_us));
}

// Its hash, if nobody holds the row.
Result<bool> is_still(PgConnection& db, const Table& table, const ColumnSet& sums, const DigestRequest& request) {
  const auto now = db.exec(fmt::format("SELECT encode({}, 'hex') FROM {} t WHERE {}{}", row_hash_sql(table, sums),
                                       table.quoted(), TableSql(table).key_match("t", db.quote(request.keys.front())),
                                       request.kind == DigestKind::kTouch ? " FOR NO KEY UPDATE SKIP LOCKED" : ""));
  MBSYNC_TRY(now);
  return !now->empty() && request.hash == (*now)[0][0].c_str();
}

// What a line of an answer writes of the columns of the armed row `a`, as its bits are written. It deletes the row:
// all.
std::string written_of_armed() {
  return "CASE WHEN s.m_deleted THEN translate(a.cols, 'tf', '10')::varbit ELSE translate(a.cols, 'tf', '10')::varbit "
         "& "
         "rpad(substr(s.m_cols::text, 2), length(a.cols), '0')::varbit END";
}

Result<std::int64_t> count_of(const Result<pqxx::result>& done) {
  MBSYNC_TRY(done);
  return static_cast<std::int64_t>(done->affected_rows());
}

}  // namespace

namespace {

// Nobody writes the row from here on, and what has been written is sealed with its own time: the capture that follows
// is to have the time that the others wait for. False if the application holds the row.
Result<bool> hold_row(PgConnection& db, const Schema& schema, const Table& table, NodeId self, const std::string& key) {
  const auto match = TableSql(table).key_match("t", db.quote(key));
  const auto held =
      db.exec(fmt::format("SELECT FROM {} t WHERE {} FOR NO KEY UPDATE SKIP LOCKED", table.quoted(), match));
  MBSYNC_TRY(held);
  if (held->empty()) {
    const auto there = db.exec(fmt::format("SELECT FROM {} t WHERE {}", table.quoted(), match));
    MBSYNC_TRY(there);
    if (!there->empty()) {
      return false;
    }
  }
  MBSYNC_TRY(seal(db, schema, self));
  return true;
}

}  // namespace

Result<std::int64_t> take_row(PgConnection& db, const Schema& schema, const Table& table, NodeId self,
                              const DigestRequest& request) {
  // What was promised to another machine is still so after a power cut, whatever the server was set to.
  MBSYNC_TRY(db.exec(
      "SELECT set_config('synchronous_commit', 'on', true) WHERE current_setting('synchronous_commit') = 'off'"));
  if (request.kind == DigestKind::kFire) {
    const auto held = hold_row(db, schema, table, self, request.keys.front());
    MBSYNC_TRY(held);
    if (!*held) {
      return 0;  // it goes by the write that arrives
    }
    return count_of(
        db.exec(capture_sql(table, fmt::format("DELETE FROM mbsync.armed a WHERE {}", is_armed(db, table, request)))));
  }
  if (request.kind == DigestKind::kDisarm) {
    return count_of(db.exec(fmt::format("DELETE FROM mbsync.armed a WHERE {}", is_armed(db, table, request))));
  }
  const auto sums = sums_of(db, schema, table);
  MBSYNC_TRY(sums);
  // A row that comes back as a whole brings its counters along.
  if (request.kind == DigestKind::kArm || !request.touched.empty()) {
    MBSYNC_TRY(check_counters(table, *sums, request.touched));
  }
  const auto columns = columns_of(table, request.touched);
  MBSYNC_TRY(columns);
  if (request.kind == DigestKind::kTouch) {
    const auto held = hold_row(db, schema, table, self, request.keys.front());
    MBSYNC_TRY(held);
    if (!*held) {
      return 0;
    }
  }
  const auto still = is_still(db, table, *sums, request);
  MBSYNC_TRY(still);
  if (!*still) {
    return 0;
  }
  const auto values =
      fmt::format("{}, {}, {}", db.quote(request.keys.front()), db.quote(*columns), time_of(request.at_us));
  if (request.kind == DigestKind::kTouch) {
    MBSYNC_TRY(db.exec(
        fmt::format("INSERT INTO mbsync.capture (tab, op, key, cols, at) VALUES ({}, 'U', {})", table.id, values)));
    return 1;
  }
  MBSYNC_TRY(db.exec(fmt::format("DELETE FROM mbsync.armed WHERE armed_at < now() - interval '{}'", kArmedFor)));
  MBSYNC_TRY(db.exec(fmt::format(
      "INSERT INTO mbsync.armed (tab, key, cols, at, asker, awaits, awaited_at, seen) SELECT {}, {}, {}, {}, {}, "
      "coalesce(jsonb_object_agg(v.origin, v.counter), '{{}}') FROM mbsync.version_vector v",
      table.id, values, request.sender.id.value, request.awaits.value, time_of(request.awaited_us))));
  return 1;
}

Result<bool> capture_armed(PgConnection& db, const std::vector<StagedTable*>& staged) {
  // The usual case by far.
  const auto any = db.exec_cached("SELECT EXISTS (SELECT FROM mbsync.armed)");
  MBSYNC_TRY(any);
  if (!(*any)[0][0].as<bool>()) {
    return false;
  }
  std::int64_t rows = 0;
  for (const auto* entry : staged) {
    // One write stands in the line itself, several as JSON (PROTOCOL.md).
    const auto captured = count_of(db.exec(capture_sql(
        *entry->table,
        fmt::format(
            "DELETE FROM mbsync.armed a USING {0} s WHERE a.tab = {1} AND a.key = s.m_key AND CASE WHEN s.m_writes IS "
            "NULL THEN s.m_at = a.at OR s.m_origin = a.awaits AND s.m_at = a.awaited_at ELSE EXISTS (SELECT FROM "
            "jsonb_array_elements(CASE jsonb_typeof(s.m_writes::jsonb) WHEN 'array' THEN s.m_writes::jsonb ELSE "
            "s.m_writes::jsonb -> 'writes' END) w WHERE w ->> 2 = ({2})::text OR w ->> 0 = a.awaits::text AND w ->> 2 "
            "= ({3})::text) END",
            entry->name, entry->table->id, micros_of("a.at"), micros_of("a.awaited_at")))));
    MBSYNC_TRY(captured);
    rows += *captured;
    // Any other write that takes the place of what an armed row shows does so in the columns that it writes: the touch
    // may be part of it by now, or lie behind it. Sealed with these columns alone, there is a sibling of that very
    // write, and the rules decide. (Of several writes in one line the columns are in the sender's numbers, and the
    // times tell.)
    const auto overlapping = count_of(db.exec(fmt::format(
        "WITH hit AS (SELECT a.ctid AS place, bit_or({2}) AS bits FROM mbsync.armed a JOIN {0} s ON {3} WHERE a.tab = "
        "{1} "
        "AND s.m_writes IS NULL AND s.m_counter > coalesce((a.seen ->> s.m_origin::text)::bigint, 0) GROUP BY a.ctid), "
        "rest AS (UPDATE mbsync.armed a SET cols = translate((translate(a.cols, 'tf', '10')::varbit & ~h.bits)::text, "
        "'10', 'tf') FROM hit h WHERE a.ctid = h.place AND position(B'1' IN h.bits) > 0 RETURNING a.key, a.at, h.bits) "
        "INSERT INTO mbsync.capture (tab, op, key, cols, at) SELECT DISTINCT {1}, 'U'::\"char\", r.key, "
        "translate(r.bits::text, '10', 'tf'), r.at FROM rest r WHERE EXISTS (SELECT FROM {4} t WHERE {5})",
        entry->name, entry->table->id, written_of_armed(), has_key("a", "s.m_key"), entry->table->quoted(),
        TableSql(*entry->table).key_match("t", "r.key"))));
    MBSYNC_TRY(overlapping);
    rows += *overlapping;
  }
  if (rows > 0) {
    MBSYNC_TRY(db.exec("DELETE FROM mbsync.armed WHERE position('t' IN cols) = 0"));
  }
  return rows > 0;
}

}  // namespace mbsync
