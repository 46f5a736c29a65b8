#include "pull_reader.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <functional>
#include <limits>
#include <map>

#include "change_sql.h"
#include "copy_text.h"
#include "report_choice.h"
#include "seal.h"
#include "table_sql.h"
#include "version_store.h"

namespace mbsync {
namespace {

// A row with more than this goes piece by piece, since libpq holds a whole line of COPY in memory.
constexpr std::int64_t kBigRowBytes = 1 << 20;
// Compressed values of types whose size cannot be asked for; pglz shrinks to a ninetieth at best.
constexpr std::int64_t kBigCompressedBytes = 32 << 10;
constexpr std::int64_t kPieceBytes = 256 << 10;
// Where no write keeps as much as this, no row's writes together keep kBigRowBytes, unless there are hundreds of them.
constexpr std::int64_t kBigKeptBytes = 8 << 10;
// From here on it pays to ask first whether any row has several writes.
constexpr std::int64_t kManyRows = 500;

std::int64_t now_micros() {
  return std::chrono::duration_cast<std::chrono::microseconds>(std::chrono::system_clock::now().time_since_epoch())
      .count();
}

// Writes of `alias` that the asker lacks, so that the index over (origin, counter) finds them.
std::string lacking(std::string_view alias, const VersionVector& seen, const VersionVector& asker) {
  std::string condition;
  for (const auto& [origin, counter] : seen.counters()) {
    if (counter > asker.counter(origin)) {
      condition += fmt::format("{}({}.origin = {} AND {}.counter > {})", condition.empty() ? "" : " OR ", alias,
                               origin.value, alias, asker.counter(origin));
    }
  }
  return condition.empty() ? "false" : fmt::format("({})", condition);
}

// A row's live writes in one line: the single plain one in columns of its own, anything else as JSON.
std::string writes_sql(int tab, const std::string& which, bool counters) {
  const auto counted = counters ? fmt::format(" OR EXISTS (SELECT FROM mbsync.counter k WHERE k.tab = {} AND {})", tab,
                                              has_key("k", "c.key"))
                                : std::string();
  return fmt::format(
      "(SELECT c.key, min(c.origin) AS origin, min(c.counter) AS counter, min(c.at) AS at, min(c.policy) AS policy, "
      "bit_or(c.cols) AS cols, bool_or(c.deleted) AS deleted, min(c.kept) AS kept, "
      "sum(octet_length(c.kept)) AS kept_bytes, bool_or(c.unseen) AS unseen, "
      "count(*) > 1 OR bool_or(c.kept IS NOT NULL AND NOT c.deleted OR c.sums IS NOT NULL){} AS complex "
      "FROM mbsync.change c WHERE c.tab = {} AND {} GROUP BY c.key)",
      counted, tab, which);
}

// The same where no row has more than one write: nothing to group, and that is nearly all traffic.
std::string single_writes_sql(int tab, const std::string& which) {
  return fmt::format(
      "(SELECT c.key, c.origin, c.counter, c.at, c.policy, c.cols, c.deleted, c.kept, octet_length(c.kept) AS "
      "kept_bytes, false "
      "AS unseen, false AS complex "
      "FROM mbsync.change c WHERE c.tab = {} AND {})",
      tab, which);
}

// The value of field 9 of a row: all its live writes and counters, or NULL where fields 2 to 8 hold all there is.
std::string all_writes(int tab, std::string_view key, bool counters) {
  return counters ? fmt::format("CASE WHEN w.complex OR w.key IS NULL THEN {} END", row_json(tab, key, true))
                  : fmt::format("CASE WHEN w.complex THEN {} END", row_json(tab, "w.key", false));
}
constexpr const char* kSingleKept = "CASE WHEN NOT w.complex THEN w.kept END";

std::string head_columns(std::string_view key, std::string_view kept, std::string_view writes) {
  return fmt::format(
      "{}, CASE WHEN NOT w.complex THEN w.origin END, CASE WHEN NOT w.complex THEN w.counter END, "
      "CASE WHEN NOT w.complex THEN w.at END, CASE WHEN NOT w.complex THEN w.cols END, "
      "CASE WHEN NOT w.complex THEN w.deleted END, CASE WHEN NOT w.complex THEN w.policy END, {}, {}",
      key, kept, writes);
}

class Reader {
 public:
  Reader(PgConnection& db, PullSink& sink) : db_(db), sink_(sink) {}

  /// `lacking` makes the condition that picks the writes which the asker lacks, for a given alias of mbsync.change.
  Result<void> table(const Table& table, bool full, std::int64_t lacking_rows,
                     const std::function<std::string(std::string_view)>& lacking) {
    const TableSql sql(table);
    TableHeader header{table.schema, table.name, {}, {}, {}};
    for (const auto index : table.key) {
      header.key.push_back(table.columns[index].name);
    }
    for (const auto& column : table.columns) {
      header.columns.push_back(WireColumn{column.name, column.type});
      header.numbers.push_back(column.number);
    }
    MBSYNC_TRY(sink_.table(header));
    rows_ = 0;

    const auto big = big_condition(table);
    MBSYNC_TRY(big);
    const auto counted = has_counters(db_, table.id);
    MBSYNC_TRY(counted);
    counters_ = *counted;
    if (full) {
      MBSYNC_TRY(rows_of(table, sql, sql.key_text("t"),
                         fmt::format("FROM {} t LEFT JOIN {} w ON w.key = {} COLLATE \"C\"", table.quoted(),
                                     writes_sql(table.id, "true", counters_), sql.key_text("t")),
                         "true", *big));
      MBSYNC_TRY(rows_of(table, sql, "w.key",
                         fmt::format("FROM {} w LEFT JOIN {} t ON {}", writes_sql(table.id, "true", counters_),
                                     table.quoted(), sql.key_match("t", "w.key")),
                         "(w.deleted OR w.unseen) AND NOT " + sql.present("t"), *big));
      if (counters_) {
        // Of keys that are not in use, the shares: whoever uses one again goes on from them.
        const auto counted_alone = fmt::format(
            "(SELECT DISTINCT k.key FROM mbsync.counter k WHERE k.tab = {0} AND NOT EXISTS (SELECT FROM mbsync.change "
            "c "
            "WHERE c.tab = {0} AND {1})) unused",
            table.id, has_key("c", "k.key"));
        MBSYNC_TRY(rows_of(
            table, sql, "unused.key",
            fmt::format("FROM {} LEFT JOIN {} w ON false LEFT JOIN {} t ON {}", counted_alone,
                        writes_sql(table.id, "false", counters_), table.quoted(), sql.key_match("t", "unused.key")),
            "NOT " + sql.present("t"), "false"));
      }
    } else {
      auto writes =
          writes_sql(table.id,
                     has_key_among("c", "f.key",
                                   fmt::format("FROM mbsync.change f WHERE f.tab = {} AND {}", table.id, lacking("f"))),
                     counters_);
      if (lacking_rows > kManyRows && !counters_) {
        const auto several = db_.exec(fmt::format(
            "SELECT EXISTS (SELECT FROM mbsync.change f WHERE f.tab = {0} AND {1} AND (f.kept IS NOT NULL AND NOT "
            "f.deleted OR f.sums IS NOT NULL)) OR "
            "EXISTS (SELECT FROM mbsync.change f JOIN mbsync.change d ON d.tab = f.tab AND {2} "
            "WHERE f.tab = {0} AND d.tab = {0} AND {1} AND (d.origin <> f.origin OR d.counter <> f.counter))",
            table.id, lacking("f"), has_key("d", "f.key")));
        MBSYNC_TRY(several);
        if (!(*several)[0][0].as<bool>()) {
          writes = single_writes_sql(table.id, lacking("c"));
        }
      }
      // A live row that is not there was removed with triggers switched off; verify finds such rows, sync cannot.
      MBSYNC_TRY(
          rows_of(table, sql, "w.key",
                  fmt::format("FROM {} w LEFT JOIN {} t ON {}", writes, table.quoted(), sql.key_match("t", "w.key")),
                  "(w.deleted OR w.unseen OR " + sql.present("t") + ")", *big));
    }
    MBSYNC_TRY(sink_.table_end(rows_));
    total_rows_ += rows_;
    ++tables_;
    return {};
  }

  [[nodiscard]] PullFooter footer() const { return PullFooter{tables_, total_rows_}; }

 private:
  // "false" unless the table has anything out of line at all; asking every row would cost more than reading it.
  Result<std::string> big_condition(const Table& table) {
    const auto kept =
        db_.exec(fmt::format("SELECT EXISTS (SELECT FROM mbsync.change WHERE tab = {} AND octet_length(kept) > {})",
                             table.id, kBigKeptBytes));
    MBSYNC_TRY(kept);
    const bool big_kept = (*kept)[0][0].as<bool>();
    std::string condition = big_kept ? fmt::format("w.kept_bytes > {}", kBigRowBytes) : "false";
    if (!table.has_toast) {
      return condition;
    }
    const auto toast = db_.exec_cached(fmt::format(
        "SELECT coalesce(sum(pg_relation_size(c.reltoastrelid)), 0) > 0 FROM (SELECT {0}::regclass AS oid UNION SELECT "
        "relid FROM pg_partition_tree({0})) p JOIN pg_class c ON c.oid = p.oid WHERE c.reltoastrelid <> 0",
        table.oid));
    MBSYNC_TRY(toast);
    if (!(*toast)[0][0].as<bool>()) {
      return condition;
    }
    std::string sizes;
    for (const auto& column : table.columns) {
      const auto name = "t." + PgConnection::quote_name(column.name);
      const bool sized = !column.user_type && (column.type == "text" || column.type == "bytea" ||
                                               column.type.starts_with("character varying"));
      sizes +=
          fmt::format(" + CASE WHEN {0} IS NULL THEN 0 ELSE {1} END", name,
                      sized ? fmt::format("octet_length({})", name)
                            : fmt::format("pg_column_size({})::bigint * {}", name, kBigRowBytes / kBigCompressedBytes));
    }
    return fmt::format("coalesce({}, false) OR 0::bigint{} > {}", condition, sizes, kBigRowBytes);
  }

  Result<void> rows_of(const Table& table, const TableSql& sql, const std::string& key, const std::string& from,
                       const std::string& where, const std::string& big) {
    const auto plain_head = head_columns(key, kSingleKept, all_writes(table.id, key, counters_));
    MBSYNC_TRY(db_.copy_out(fmt::format("COPY (SELECT {}, {} {} WHERE {} AND ({}) IS NOT TRUE) TO STDOUT", plain_head,
                                        sql.columns("t"), from, where, big),
                            [&](std::string_view line) {
                              ++rows_;
                              return sink_.rows(line);
                            }));
    if (big == "false") {
      return {};
    }
    const auto keys = db_.exec(fmt::format("SELECT {} {} WHERE {} AND ({}) IS TRUE", key, from, where, big));
    MBSYNC_TRY(keys);
    for (const auto& row : *keys) {
      // Either way an index finds it.
      const auto value = db_.quote(row[0].c_str());
      const auto one =
          fmt::format("{} AND {}", where, key == "w.key" ? has_key("w", value) : sql.key_match("t", value));
      MBSYNC_TRY(big_row(table, key, head_columns(key, "NULL", "NULL"), from, one));
      ++rows_;
    }
    return {};
  }

  Result<void> big_row(const Table& table, const std::string& key, const std::string& slim, const std::string& from,
                       const std::string& where) {
    // The head without the kept records, which may themselves be large and are put in their place by pieces.
    constexpr std::size_t kKeptField = 7;
    constexpr std::size_t kWritesField = 8;
    std::vector<Value> fields;
    MBSYNC_TRY(db_.copy_out(fmt::format("COPY (SELECT {} {} WHERE {}) TO STDOUT", slim, from, where),
                            [&](std::string_view line) -> Result<void> {
                              auto parsed = parse_copy_line(line.substr(0, line.size() - 1));
                              MBSYNC_TRY(parsed);
                              fields = std::move(*parsed);
                              return {};
                            }));
    for (std::size_t i = 0; i < fields.size(); ++i) {
      std::string text = i == 0 ? "" : "\t";
      if (i == kKeptField || i == kWritesField) {
        MBSYNC_TRY(sink_.rows(text));
        MBSYNC_TRY(pieces(i == kKeptField ? kSingleKept : all_writes(table.id, key, counters_), from, where));
        continue;
      }
      append_copy_field(text, fields[i]);
      MBSYNC_TRY(sink_.rows(text));
    }
    for (const auto& column : table.columns) {
      MBSYNC_TRY(sink_.rows("\t"));
      MBSYNC_TRY(pieces("t." + PgConnection::quote_name(column.name), from, where));
    }
    return sink_.rows("\n");
  }

  // One value's text form as a COPY field, in pieces that the server cuts from a single copy of the value.
  Result<void> pieces(const std::string& value, const std::string& from, const std::string& where) {
    return db_.copy_out(
        fmt::format("COPY (SELECT CASE WHEN NOT x.absent THEN encode(substr(x.bytes, i * {0} + 1, {0}), 'hex') END "
                    "FROM (SELECT convert_to(concat({1}), 'UTF8') AS bytes, num_nulls({1}) = 1 AS absent {2} WHERE {3} "
                    "OFFSET 0) x, "
                    "LATERAL generate_series(0, greatest(octet_length(x.bytes) - 1, 0) / {0}) i) TO STDOUT",
                    kPieceBytes, value, from, where),
        [&](std::string_view line) -> Result<void> {
          line.remove_suffix(1);
          if (line == "\\N") {
            return sink_.rows(line);
          }
          const auto digit = [](char c) { return c <= '9' ? c - '0' : c - 'a' + 10; };
          std::string bytes(line.size() / 2, '\0');
          for (std::size_t i = 0; i < bytes.size(); ++i) {
            bytes[i] = static_cast<char>(digit(line[2 * i]) * 16 + digit(line[2 * i + 1]));
          }
          std::string field;
          append_copy_field(field, bytes);
          return sink_.rows(field);
        });
  }

  PgConnection& db_;
  PullSink& sink_;
  bool counters_ = false;  // whether the table has any
  std::int64_t rows_ = 0;
  std::int64_t total_rows_ = 0;
  std::int64_t tables_ = 0;
};

}  // namespace

bool holds_only_own(const VersionVector& seen, NodeId node) {
  return std::all_of(seen.counters().begin(), seen.counters().end(),
                     [&](const auto& entry) { return entry.first == node; });
}

std::string row_json(int tab, std::string_view key, bool counters) {
  const auto writes = fmt::format(
      "(SELECT json_agg(json_build_array(d.origin, d.counter, {}, d.cols::text, d.deleted, d.kept, d.policy, "
      "d.sums::json) ORDER BY d.origin, d.counter) FROM mbsync.change d WHERE d.tab = {} AND {})",
      micros_of("d.at"), tab, has_key("d", key));
  if (!counters) {
    return writes + "::text";
  }
  return fmt::format(
      "(SELECT CASE WHEN num_nonnulls(x.writes, x.counters) > 0 THEN json_build_object('writes', coalesce(x.writes, "
      "'[]'), 'counters', coalesce(x.counters, '[]')) END::text FROM (SELECT {} AS writes, (SELECT "
      "json_agg(json_build_array(k.number, k.origin, k.counter, k.total::text, k.shown::text) ORDER BY k.number, "
      "k.origin) FROM mbsync.counter k WHERE k.tab = {} AND {}) AS counters) x)",
      writes, tab, has_key("k", key));
}

Result<bool> has_counters(PgConnection& db, int tab) {
  const auto any = db.exec_cached(fmt::format("SELECT EXISTS (SELECT FROM mbsync.counter WHERE tab = {})", tab));
  MBSYNC_TRY(any);
  return (*any)[0][0].as<bool>();
}

Result<void> read_pull(PgConnection& db, const Schema& schema, const PullContext& context, const PullRequest& asked,
                       PullSink& sink) {
  const auto& self = context.self;
  auto versions = read_versions(db);
  MBSYNC_TRY(versions);
  // Whatever was under way when it asked, the asker has its own writes.
  auto request = asked;
  request.seen.advance(Dot{asked.sender.id, versions->seen.counter(asked.sender.id)});
  auto fleet = read_fleet(db);
  MBSYNC_TRY(fleet);
  // A newcomer's rows cannot be siblings of writes that some members have forgotten and others have not: it gets every
  // row and puts its own on top (CONFLICTS.md C9). Only two nodes that are both alone meet as equals.
  const bool newcomer = holds_only_own(request.seen, asked.sender.id);
  const bool others = std::any_of(fleet->members.begin(), fleet->members.end(),
                                  [&](const Member& m) { return m.id != self.id && m.id != asked.sender.id; });
  const bool full = asked.was || !request.seen.covers(versions->forgotten) || (newcomer && others);
  fleet->reports[self.id] = versions->report;
  auto reports = some_reports(std::move(fleet->reports), versions->seen, self.id, context.chance);
  if (full && request.wait_ms > 0) {
    MBSYNC_TRY(sink.header(
        PullHeader{self, request.seen, std::move(fleet->members), std::move(reports), false, now_micros(), {}, true}));
    return sink.footer(PullFooter{});
  }
  if (full && !newcomer && !asked.was) {
    return Error{ErrorKind::kRejected,
                 fmt::format("{} lacks writes that {} and its fleet have forgotten, but is no newcomer either",
                             asked.sender.name, self.name),
                 "two fleets cannot be merged without joining anew: drop schema mbsync on the machine that is to give "
                 "way and start it again"};
  }
  PullHeader header{self, versions->seen, std::move(fleet->members), std::move(reports),
                    full, now_micros(),   versions->forgotten};
  header.staying = context.staying;
  if (full) {
    header.outside = context.outside;
  }
  MBSYNC_TRY(sink.header(header));

  const auto counts = db.exec(fmt::format("SELECT c.tab, count(*) FROM mbsync.change c WHERE {} GROUP BY c.tab",
                                          lacking("c", versions->seen, request.seen)));
  MBSYNC_TRY(counts);
  std::map<int, std::int64_t> lacking_rows;
  std::int64_t most = 0;
  for (const auto& row : *counts) {
    const auto rows = row[1].as<std::int64_t>();
    lacking_rows[row[0].as<int>()] = rows;
    most = std::max(most, rows);
  }
  MBSYNC_TRY(plan_for(db, full ? std::numeric_limits<std::int64_t>::max() : most));

  Reader reader(db, sink);
  for (const auto& table : schema.tables) {
    if (full || lacking_rows.contains(table.id)) {
      const auto rows = lacking_rows.find(table.id);
      const auto condition = [&](std::string_view alias) { return lacking(alias, versions->seen, request.seen); };
      if (auto read = reader.table(table, full, rows == lacking_rows.end() ? 0 : rows->second, condition); !read) {
        return read.error().in(fmt::format("reading table {}", table.display()));
      }
    }
  }
  // The asker will count everything up to `seen` as received, so what cannot be read must not be passed over.
  for (const auto& [tab, rows] : lacking_rows) {
    const bool known =
        std::any_of(schema.tables.begin(), schema.tables.end(), [id = tab](const Table& t) { return t.id == id; });
    if (!known) {
      return Error{ErrorKind::kRejected,
                   fmt::format("{} unsent writes belong to a table that no longer takes part (number {} in "
                               "mbsync.synced_table)",
                               rows, tab),
                   "`mbsync status` says why; give the table a key again, or drop it"};
    }
  }
  return sink.footer(reader.footer());
}

}  // namespace mbsync
