#include "conflict_reader.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <charconv>

#include "change_sql.h"

namespace mbsync {
namespace {

using Json = nlohmann::json;

constexpr std::size_t kBeginningMin = 4;  // hexadecimal digits of an id
constexpr std::size_t kIdDigits = 32;
// Lines that a wider one makes superfluous are not counted as conflicts while looking for them costs nothing; a million
// of them would take seconds, and hardly any are such lines.
constexpr int kCountedExactly = 10000;

constexpr const char* kNodeHex = "lpad(to_hex(n.id), 16, '0')";

std::string text(const pqxx::field& field) {
  return field.is_null() ? std::string() : std::string(field.c_str());
}

std::vector<std::string> texts(const pqxx::field& field) {
  std::vector<std::string> list;
  if (!field.is_null()) {
    for (const auto& item : Json::parse(field.c_str(), nullptr, false)) {
      list.push_back(item.is_string() ? item.get<std::string>() : item.dump());
    }
  }
  return list;
}

std::string summary_columns() {
  return fmt::format(
      "c.id, c.kind, c.schema_name, c.table_name, c.key, to_json(c.columns), "
      "(SELECT json_agg(DISTINCT coalesce(n.name, d.node)) FROM (SELECT split_part(y, ':', 1) AS node FROM "
      "mbsync.conflict_record x CROSS JOIN unnest(x.dots) y WHERE x.id = c.id) d LEFT JOIN mbsync.node n ON {} = "
      "d.node), "
      "(SELECT json_agg(DISTINCT r.rule) FROM (SELECT e.value ->> 'rule' AS rule FROM jsonb_each(c.outcome -> "
      "'columns') e UNION SELECT c.outcome ->> 'rule') r WHERE r.rule IS NOT NULL), "
      "{}, {}, c.is_open, c.resolution",
      kNodeHex, iso_sql("c.at"), iso_sql("c.recorded_at"));
}
constexpr int kSummaryColumns = 12;

ConflictSummary read_summary(const pqxx::row& row) {
  ConflictSummary summary;
  summary.id = row[0].c_str();
  summary.kind = row[1].c_str();
  summary.schema = row[2].c_str();
  summary.table = row[3].c_str();
  summary.key = row[4].c_str();
  summary.columns = texts(row[5]);
  summary.nodes = texts(row[6]);
  summary.rules = texts(row[7]);
  summary.at = text(row[8]);
  summary.recorded_at = text(row[9]);
  if (!row[11].is_null()) {
    summary.resolution = Json::parse(row[11].c_str(), nullptr, false);
  }
  summary.state = row[10].as<bool>()  ? ConflictState::kOpen
                  : row[11].is_null() ? ConflictState::kDecided
                                      : ConflictState::kResolved;
  return summary;
}

std::string same_row(PgConnection& db, const ConflictSummary& summary) {
  return fmt::format(
      "c.schema_name = {0} AND c.table_name = {1} AND hashtextextended(c.key, 0) = hashtextextended({2}, 0) AND c.key "
      "= "
      "{2}",
      db.quote(summary.schema), db.quote(summary.table), db.quote(summary.key));
}

// LIKE with backslash as its escape, which standard_conforming_strings leaves alone.
std::string like_pattern(std::string_view glob) {
  std::string pattern;
  for (const char c : glob) {
    if (c == '*') {
      pattern += '%';
    } else if (c == '?') {
      pattern += '_';
    } else {
      pattern += c == '%' || c == '_' || c == '\\' ? std::string{'\\', c} : std::string{c};
    }
  }
  return pattern;
}

std::string state_condition(ConflictState state) {
  switch (state) {
    case ConflictState::kOpen:
      return "c.is_open";
    case ConflictState::kDecided:
      return "NOT c.is_open AND c.resolution IS NULL";
    case ConflictState::kResolved:
      return "NOT c.is_open AND c.resolution IS NOT NULL";
  }
  return "true";
}

// "7d" as an expression of a time; nothing for another form.
std::string ago(std::string_view since) {
  if (since.size() < 2) {
    return "";
  }
  int number = 0;
  const auto* const end = since.data() + since.size() - 1;
  if (const auto [stop, error] = std::from_chars(since.data(), end, number); error != std::errc{} || stop != end) {
    return "";
  }
  const char* unit = nullptr;
  switch (since.back()) {
    case 'm':
      unit = "mins";
      break;
    case 'h':
      unit = "hours";
      break;
    case 'd':
      unit = "days";
      break;
    case 'w':
      unit = "weeks";
      break;
    default:
      return "";
  }
  return number < 0 ? "" : fmt::format("now() - make_interval({} => {})", unit, number);
}

Result<std::string> since_expression(PgConnection& db, const std::string& since) {
  if (auto relative = ago(since); !relative.empty()) {
    return relative;
  }
  const auto literal = db.quote(since) + "::timestamptz";
  if (const auto tried = db.exec("SELECT " + literal); !tried) {
    if (db.broken()) {
      return tried.error();
    }
    return Error{ErrorKind::kConfig, fmt::format("'{}' is no time", since),
                 "write a time such as 2026-01-31 or '2026-01-31 10:00' (UTC), or how long ago: 90m, 24h, 7d, 2w"};
  }
  return literal;
}

// As an array of ids in hexadecimal.
Result<std::string> node_ids(PgConnection& db, const std::string& node) {
  const auto known = db.exec(
      fmt::format("SELECT array_agg({0}) FILTER (WHERE n.name = $1 OR {0} = $1), string_agg(n.name, ', ' ORDER BY "
                  "n.name) FROM mbsync.node n",
                  kNodeHex),
      {node});
  MBSYNC_TRY(known);
  if (!(*known)[0][0].is_null()) {
    return std::string((*known)[0][0].c_str());
  }
  const bool id = node.size() == 16 && node.find_first_not_of("0123456789abcdef") == std::string::npos;
  if (id || node == "fleet") {
    return fmt::format("{{{}}}", node);
  }
  return Error{ErrorKind::kNotFound, fmt::format("no node is called '{}'", node),
               fmt::format("known here are: {}", text((*known)[0][1]))};
}

Result<std::string> conditions_of(PgConnection& db, const ConflictFilter& filter) {
  std::string where = "true";
  if (!filter.states.empty()) {
    std::string any;
    for (const auto state : filter.states) {
      any += fmt::format("{}({})", any.empty() ? "" : " OR ", state_condition(state));
    }
    where += fmt::format(" AND ({})", any);
  }
  if (!filter.table.empty()) {
    const auto pattern = db.quote(like_pattern(filter.table));
    where += fmt::format(" AND (c.table_name LIKE {0} OR c.schema_name || '.' || c.table_name LIKE {0})", pattern);
  }
  if (!filter.key.empty()) {
    where +=
        fmt::format(" AND hashtextextended(c.key, 0) = hashtextextended({0}, 0) AND c.key = {0}", db.quote(filter.key));
  }
  if (!filter.kind.empty()) {
    constexpr std::array kKinds = {"values", "existence", "unique", "reference", "newcomer"};
    if (std::find(kKinds.begin(), kKinds.end(), filter.kind) == kKinds.end()) {
      return Error{ErrorKind::kConfig, fmt::format("no kind of conflict is called '{}'", filter.kind),
                   fmt::format("there are {}", fmt::join(kKinds, ", "))};
    }
    where += " AND c.kind = " + db.quote(filter.kind);
  }
  if (!filter.rule.empty()) {
    where += fmt::format(
        " AND (c.outcome ->> 'rule' = {0} OR EXISTS (SELECT FROM jsonb_each(c.outcome -> 'columns') e WHERE e.value "
        "->> 'rule' = {0}))",
        db.quote(filter.rule));
  }
  if (!filter.node.empty()) {
    const auto ids = node_ids(db, filter.node);
    MBSYNC_TRY(ids);
    where += fmt::format(
        " AND EXISTS (SELECT FROM mbsync.conflict_record x CROSS JOIN unnest(x.dots) y WHERE x.id = c.id AND "
        "split_part(y, ':', 1) = ANY ({}::text[]))",
        db.quote(*ids));
  }
  if (!filter.since.empty()) {
    const auto since = since_expression(db, filter.since);
    MBSYNC_TRY(since);
    where += fmt::format(" AND c.recorded_at >= {}", *since);
  }
  return where;
}

Value value_of(const Json& value) {
  if (value.is_null()) {
    return {};
  }
  return value.is_string() ? value.get<std::string>() : value.dump();
}

std::optional<int> place_of(const Json& holder) {
  const auto place = holder.find("version");
  return place == holder.end() || place->is_null() ? std::nullopt : std::optional(place->get<int>());
}

// Throws what nlohmann::json throws for a document of another shape.
void read_documents(const Json& versions, const Json& outcome, Conflict& conflict) {
  for (const auto& item : versions) {
    ConflictVersionSeen version;
    version.version = item.at("version").get<int>();
    version.node = item.at("node").get<std::string>();
    version.name = version.node;
    version.counter = item.at("counter").get<std::int64_t>();
    version.at = value_of(item.at("at")).value_or("");
    version.deleted = item.at("deleted").get<bool>();
    version.key = item.contains("key") ? value_of(item.at("key")).value_or("") : "";
    for (const auto& [column, value] : item.at("values").items()) {
      version.values[column] = value_of(value);
    }
    conflict.versions.push_back(std::move(version));
  }
  conflict.outcome.exists = outcome.at("exists").get<bool>();
  conflict.outcome.rule = value_of(outcome.at("rule")).value_or("");
  conflict.outcome.version = place_of(outcome);
  for (const auto& [column, item] : outcome.at("columns").items()) {
    ConflictOutcome::Decided decided{value_of(item.at("rule")).value_or(""),
                                     place_of(item),
                                     {},
                                     item.contains("note") ? value_of(item.at("note")).value_or("") : ""};
    const auto* winner = decided.version ? conflict.find(*decided.version) : nullptr;
    if (winner != nullptr) {
      const auto value = winner->values.find(column);
      decided.value = value == winner->values.end() ? Value() : value->second;
    } else if (const auto value = item.find("value"); value != item.end()) {
      decided.value = value_of(*value);
    }
    conflict.outcome.columns[column] = std::move(decided);
  }
}

// Whether a line `o` has all versions of the line `c` and more: then only `o` is shown.
constexpr const char* kWider =
    "o.schema_name = c.schema_name AND o.table_name = c.table_name AND hashtextextended(o.key, 0) = "
    "hashtextextended(c.key, 0) AND o.key = c.key AND o.kind = c.kind AND o.dots @> c.dots AND "
    "NOT o.dots <@ c.dots AND (c.resolution IS NULL OR o.resolution IS NOT NULL)";

}  // namespace

std::string iso_sql(std::string_view time) {
  return fmt::format(
      "CASE WHEN isfinite({0}) THEN regexp_replace(to_char({0} AT TIME ZONE 'UTC', "
      "'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"'), "
      "'\\.?0+Z$', 'Z') END",
      time);
}

Result<ConflictCounts> count_conflicts(PgConnection& db) {
  const auto rows = db.exec(
      fmt::format("SELECT (SELECT count(*) FROM mbsync.conflict c WHERE {0}), "
                  "CASE WHEN (SELECT count(*) FROM (SELECT FROM mbsync.conflict_record LIMIT {3}) few) < {3} "
                  "THEN (SELECT count(*) FROM mbsync.conflict c WHERE {1}) ELSE (SELECT count(*) FROM "
                  "mbsync.conflict_record) - (SELECT count(*) FROM mbsync.conflict_record c WHERE c.is_open) - (SELECT "
                  "count(*) FROM mbsync.conflict_record c WHERE c.resolution IS NOT NULL) END, "
                  "(SELECT count(*) FROM mbsync.conflict c WHERE {2})",
                  state_condition(ConflictState::kOpen), state_condition(ConflictState::kDecided),
                  state_condition(ConflictState::kResolved), kCountedExactly));
  MBSYNC_TRY(rows);
  return ConflictCounts{(*rows)[0][0].as<std::int64_t>(), (*rows)[0][1].as<std::int64_t>(),
                        (*rows)[0][2].as<std::int64_t>()};
}

Result<ConflictList> read_conflicts(PgConnection& db, const ConflictFilter& filter) {
  const auto where = conditions_of(db, filter);
  MBSYNC_TRY(where);
  MBSYNC_TRY(db.begin(PgConnection::Isolation::kRepeatableRead));
  ConflictList list;
  const auto run = [&]() -> Result<void> {
    const auto counts = count_conflicts(db);
    MBSYNC_TRY(counts);
    list.counts = *counts;
    if (filter.limit) {
      // The first lines by time, each looked at for a wider one through the index of its row.
      MBSYNC_TRY(db.exec("SET LOCAL enable_hashjoin = off; SET LOCAL enable_mergejoin = off"));
    }
    const auto rows =
        db.exec(fmt::format("SELECT {} FROM mbsync.conflict c WHERE {} ORDER BY c.at DESC, c.id{}", summary_columns(),
                            *where, filter.limit ? fmt::format(" LIMIT {}", *filter.limit + 1) : std::string()));
    MBSYNC_TRY(rows);
    for (const auto& row : *rows) {
      if (filter.limit && list.conflicts.size() == *filter.limit) {
        list.more = true;
        break;
      }
      list.conflicts.push_back(read_summary(row));
    }
    return {};
  };
  const auto done = run();
  db.rollback();
  MBSYNC_TRY(done);
  return list;
}

Result<std::string> find_conflict(PgConnection& db, const std::string& beginning) {
  std::string digits;
  for (const char c : beginning) {
    if (c != '-') {
      digits += c >= 'A' && c <= 'F' ? static_cast<char>(c - 'A' + 'a') : c;
    }
  }
  if (digits.size() < kBeginningMin || digits.size() > kIdDigits ||
      digits.find_first_not_of("0123456789abcdef") != std::string::npos) {
    return Error{ErrorKind::kConfig, fmt::format("'{}' is no id of a conflict", beginning),
                 "give an id as 'mbsync resolve list' shows it, or its first four digits and more"};
  }
  const auto padded = [&](char filler) { return digits + std::string(kIdDigits - digits.size(), filler); };
  const auto rows =
      db.exec(fmt::format("SELECT c.id, (SELECT o.id FROM mbsync.conflict_record o WHERE {} ORDER BY "
                          "cardinality(o.dots) DESC, o.id LIMIT 1) FROM mbsync.conflict_record c WHERE c.id BETWEEN "
                          "$1::uuid AND $2::uuid ORDER BY c.id LIMIT 100",
                          kWider),
              {padded('0'), padded('f')});
  MBSYNC_TRY(rows);
  std::vector<std::string> shown;
  for (const auto& row : *rows) {
    if (row[1].is_null()) {
      shown.emplace_back(row[0].c_str());
    }
  }
  if (shown.size() == 1) {
    return shown.front();
  }
  if (shown.size() > 1) {
    constexpr std::size_t kNamed = 5;
    const auto named = static_cast<std::ptrdiff_t>(std::min(shown.size(), kNamed));
    return Error{
        ErrorKind::kRejected,
        fmt::format("{} conflicts begin with '{}': {}{}", shown.size(), beginning,
                    fmt::join(shown.begin(), shown.begin() + named, ", "), shown.size() > kNamed ? ", ..." : ""),
        "give more digits"};
  }
  if (!rows->empty()) {
    return Error{ErrorKind::kRejected,
                 fmt::format("conflict {} is part of {} now: yet another write took part", (*rows)[0][0].c_str(),
                             (*rows)[0][1].c_str()),
                 fmt::format("look at it with 'mbsync resolve show {}'", (*rows)[0][1].c_str())};
  }
  return Error{ErrorKind::kNotFound, fmt::format("there is no conflict {}", beginning),
               "'mbsync resolve list --all' shows those that there are"};
}

Result<Conflict> read_conflict(PgConnection& db, const std::string& id, bool lock) {
  const auto rows = db.exec(fmt::format("SELECT {}, c.versions, c.outcome, (SELECT json_object_agg({}, n.name) FROM "
                                        "mbsync.node n) FROM mbsync.conflict_record c WHERE c.id = $1::uuid{}",
                                        summary_columns(), kNodeHex, lock ? " FOR UPDATE OF c" : ""),
                            {id});
  MBSYNC_TRY(rows);
  if (rows->empty()) {
    return Error{ErrorKind::kNotFound, fmt::format("there is no conflict {}", id),
                 "'mbsync resolve list --all' shows those that there are"};
  }
  const auto row = (*rows)[0];
  Conflict conflict;
  conflict.summary = read_summary(row);
  try {
    read_documents(Json::parse(row[kSummaryColumns].c_str()), Json::parse(row[kSummaryColumns + 1].c_str()), conflict);
  } catch (const Json::exception& wrong) {
    return Error{ErrorKind::kCorrupt, fmt::format("the record of conflict {} cannot be read: {}", id, wrong.what()),
                 "was mbsync.conflict_record changed by hand? Decide the row with an ordinary UPDATE"};
  }
  if (!row[kSummaryColumns + 2].is_null()) {
    const auto names = Json::parse(row[kSummaryColumns + 2].c_str(), nullptr, false);
    for (auto& version : conflict.versions) {
      if (const auto name = names.find(version.node); name != names.end()) {
        version.name = value_of(*name).value_or(version.node);
      }
    }
  }
  return conflict;
}

Result<std::vector<LaterWrite>> read_later_writes(PgConnection& db, const Conflict& conflict) {
  const auto& summary = conflict.summary;
  const auto key = db.quote(summary.key);
  std::string dots;
  for (const auto& version : conflict.versions) {
    dots +=
        fmt::format("{}{}", dots.empty() ? "" : ", ", db.quote(fmt::format("{}:{}", version.node, version.counter)));
  }
  const auto columns = [](std::string_view written) {
    return fmt::format(
        "(SELECT json_agg(k.name ORDER BY k.number) FROM mbsync.synced_column k WHERE k.tab = t.id AND NOT k.dropped "
        "AND {})",
        written);
  };
  const auto rows = db.exec(fmt::format(
      "SELECT w.node, coalesce(w.name, w.node), w.counter, {0}, w.deleted, w.columns FROM ("
      "SELECT lpad(to_hex(c.origin), 16, '0') AS node, n.name, c.counter, c.at, c.deleted, {1} AS columns "
      "FROM mbsync.synced_table t JOIN mbsync.change c ON c.tab = t.id AND {2} LEFT JOIN mbsync.node n ON n.id = "
      "c.origin WHERE t.schema_name = {3} AND t.table_name = {4} "
      "UNION ALL SELECT {5}, n.name, NULL, c.at, c.op = 'D', {6} FROM mbsync.synced_table t JOIN mbsync.capture c ON "
      "c.tab = t.id AND c.key = {7} LEFT JOIN mbsync.node n ON n.is_self WHERE t.schema_name = {3} AND t.table_name = "
      "{4} AND (c.op <> 'U' OR position('t' IN c.cols) > 0)) w "
      "WHERE w.counter IS NULL OR NOT w.node || ':' || w.counter = ANY (ARRAY[{8}]::text[]) ORDER BY w.at, w.node",
      iso_sql("w.at"), columns("CASE WHEN k.number < length(c.cols) THEN get_bit(c.cols, k.number) = 1 ELSE false END"),
      has_key("c", key), db.quote(summary.schema), db.quote(summary.table), kNodeHex,
      columns("(c.cols IS NULL OR substr(c.cols, k.number, 1) = 't')"), key, dots));
  MBSYNC_TRY(rows);
  std::vector<LaterWrite> writes;
  for (const auto& row : *rows) {
    LaterWrite write;
    write.node = text(row[0]);
    write.name = text(row[1]);
    if (!row[2].is_null()) {
      write.counter = row[2].as<std::int64_t>();
    }
    write.at = text(row[3]);
    write.deleted = row[4].as<bool>();
    write.columns = write.deleted ? std::vector<std::string>() : texts(row[5]);
    writes.push_back(std::move(write));
  }
  return writes;
}

Result<std::vector<ConflictSummary>> read_later_conflicts(PgConnection& db, const Conflict& conflict) {
  const auto rows = db.exec(fmt::format(
      "SELECT {} FROM mbsync.conflict c WHERE {} AND c.id <> {}::uuid AND c.at > (SELECT x.at FROM "
      "mbsync.conflict_record x WHERE x.id = {}::uuid) ORDER BY c.at, c.id",
      summary_columns(), same_row(db, conflict.summary), db.quote(conflict.summary.id), db.quote(conflict.summary.id)));
  MBSYNC_TRY(rows);
  std::vector<ConflictSummary> later;
  for (const auto& row : *rows) {
    later.push_back(read_summary(row));
  }
  return later;
}

}  // namespace mbsync
