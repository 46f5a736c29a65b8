#include "digest_reader.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <functional>
#include <set>
#include <sstream>
#include <utility>

#include "change_sql.h"
#include "protocol_limits.h"
#include "record_text.h"
#include "rule_book.h"
#include "seal.h"
#include "table_sql.h"
#include "version_store.h"

namespace mbsync {
namespace {

// A value that is larger is hashed by itself: the text of a whole row has to stay below 1 GB.
constexpr std::int64_t kHashedApartBytes = 1 << 20;
// Half of what may be sent: what surrounds it, and the quoting of JSON, take room as well.
constexpr std::size_t kAnswerBytes = kDigestBytesMax / 2;
constexpr const char* kNotYet = "its rows have not been taken in yet on one side: they are compared once they are";
constexpr const char* kNotCaptured =
    "mbsync's triggers are not in place on one side: it puts them there by itself; 'mbsync status' says if it cannot";

std::string hash_of(std::string_view text) {
  return fmt::format("sha256(convert_to({}, 'UTF8'))", text);
}

// Whether its size can be asked for without reading it.
bool is_sized(const Column& column) {
  return !column.user_type && !column.type.ends_with("[]") &&
         (column.type == "text" || column.type == "bytea" || column.type.starts_with("character varying"));
}

// What stands for a column's value in the text of its row: the same on every node for the same value.
std::string value_of(const Table& table, const ColumnSet& sums, const Column& column) {
  auto name = "t." + PgConnection::quote_name(column.name);
  if (sums.contains(column.number) && column.type == "numeric") {
    // The node whose application has written 7 shows 7, and another, which has added 2.00 to 5.00, 7.00.
    return fmt::format("CASE WHEN strpos({0}::text, '.') > 0 THEN rtrim(rtrim({0}::text, '0'), '.') ELSE {0}::text END",
                       name);
  }
  if (!table.has_toast || !is_sized(column)) {
    return name;
  }
  if (column.type == "bytea") {
    return fmt::format(
        "CASE WHEN octet_length({0}) > {1} THEN concat(encode(sha256({0}), 'hex'), ':', octet_length({0})) ELSE "
        "{0}::text END",
        name, kHashedApartBytes);
  }
  // Bytes as they travel; where the database's are the same, the size is known without reading the value.
  const auto size = fmt::format(
      "CASE getdatabaseencoding() WHEN 'UTF8' THEN octet_length({0}) ELSE octet_length(convert_to({0}, 'UTF8')) END",
      name);
  return fmt::format("CASE WHEN {3} > {1} THEN concat(encode({2}, 'hex'), ':', {3}) ELSE {0}::text END", name,
                     kHashedApartBytes, hash_of(name), size);
}

std::vector<const Column*> by_name(const Table& table) {
  std::vector<const Column*> columns;
  for (const auto& column : table.columns) {
    columns.push_back(&column);
  }
  std::sort(columns.begin(), columns.end(), [](const Column* a, const Column* b) { return a->name < b->name; });
  return columns;
}

// One text of kColumnHashDigits for each column.
std::string column_hashes(const Table& table, const ColumnSet& sums) {
  std::vector<std::string> hashes;
  for (const auto* column : by_name(table)) {
    const auto value = value_of(table, sums, *column);
    hashes.push_back(
        fmt::format("left(encode({}, 'hex'), {})",
                    hash_of(fmt::format("CASE WHEN num_nulls({0}) = 1 THEN '0' ELSE concat('1', {0}) END", value)),
                    kColumnHashDigits));
  }
  return fmt::format("array_to_string(ARRAY[{}], '')", fmt::join(hashes, ", "));
}

std::vector<std::string> key_names(const Table& table) {
  std::vector<std::string> names;
  for (const auto index : table.key) {
    names.push_back(table.columns[index].name);
  }
  return names;
}

std::vector<WireColumn> shape_of(const Table& table) {
  std::vector<WireColumn> columns;
  for (const auto* column : by_name(table)) {
    columns.push_back({column->name, column->type});
  }
  return columns;
}

// How the key's index puts rows in order, in words that are the same where the order is. Empty where the rows are put
// in order by their keys' text: where equal keys look different, and for types of the application's.
Result<std::string> index_order(PgConnection& db, const Table& table) {
  std::string order;
  for (const auto index : table.key) {
    const auto& column = table.columns[index];
    if (!column.exact || column.user_type || column.is_enum || !column.not_null) {
      return std::string();
    }
    order += fmt::format("{}{}", order.empty() ? "" : ", ", column.type);
    if (column.collation.empty()) {
      continue;
    }
    // Names of collations say little: what sorts is a library of the system, of which there are versions.
    const auto collation = db.exec_cached(fmt::format(
        "SELECT CASE WHEN c.collprovider = 'd' THEN concat(d.datcollate, ' ', {1}) ELSE concat(c.collprovider, ' ', "
        "c.collcollate, ' ', pg_collation_actual_version(c.oid)) END FROM pg_attribute a JOIN pg_collation c ON c.oid "
        "= a.attcollation, pg_database d WHERE a.attrelid = {0} AND a.attnum = {2} AND d.datname = "
        "current_database()",
        table.oid,
        db.server_version() >= 150000 ? "pg_database_collation_actual_version(d.oid), ' ', d.datlocprovider"
                                      : "split_part(version(), ' ', 2)",
        column.attnum));
    MBSYNC_TRY(collation);
    order += fmt::format(" ({})", collation->empty() ? "" : (*collation)[0][0].c_str());
  }
  return order.substr(0, kDigestOrderBytesMax);
}

// What is compared has to be the same thing on both sides.
std::string difference(const Table& table, const DigestRequest& request) {
  const auto own = shape_of(table);
  const auto find = [](const std::vector<WireColumn>& columns, std::string_view name) {
    return std::find_if(columns.begin(), columns.end(), [&](const WireColumn& c) { return c.name == name; });
  };
  for (const auto& column : request.columns) {
    const auto place = find(own, column.name);
    if (place == own.end()) {
      return fmt::format("column \"{}\" is missing there", column.name);
    }
    if (place->type != column.type) {
      return fmt::format("column \"{}\" is {} here and {} there", column.name, column.type, place->type);
    }
  }
  for (const auto& column : own) {
    if (find(request.columns, column.name) == request.columns.end()) {
      return fmt::format("column \"{}\" is missing here", column.name);
    }
  }
  const auto key = key_names(table);
  return key == request.key
             ? std::string()
             : fmt::format("its key is ({}) here and ({}) there", fmt::join(request.key, ", "), fmt::join(key, ", "));
}

class DigestReader {
 public:
  DigestReader(PgConnection& db, const Table& table, ColumnSet sums, const DigestRequest& request)
      : db_(db), table_(table), sums_(std::move(sums)), sql_(table), request_(request) {}

  // Whether all that is written to the table is seen. Looked at in the snapshot of the rows: the application may have
  // made it anew a moment ago.
  Result<bool> is_captured() {
    constexpr int kTriggersMin = 3;  // for INSERT, UPDATE, DELETE; of TRUNCATE the partitions have their own
    const auto found = db_.exec(fmt::format(
        "SELECT coalesce(to_regclass({})::oid = {}, false) AND (SELECT count(DISTINCT g.tgname) FROM pg_trigger g JOIN "
        "pg_proc p ON p.oid = g.tgfoid WHERE g.tgrelid = {} AND p.pronamespace = 'mbsync'::regnamespace AND NOT "
        "g.tgisinternal AND g.tgenabled IN ('O', 'A')) >= {}",
        db_.quote(table_.quoted()), table_.oid, table_.oid, kTriggersMin));
    MBSYNC_TRY(found);
    return (*found)[0][0].as<bool>();
  }

  Result<void> shape(DigestAnswer& answer) {
    auto order = index_order(db_, table_);
    MBSYNC_TRY(order);
    answer.order = std::move(*order);
    answer.key = key_names(table_);
    answer.columns = shape_of(table_);
    const auto size = db_.exec(
        fmt::format("SELECT coalesce(sum(greatest(c.reltuples, 0)), 0)::bigint, coalesce(sum(pg_table_size(c.oid)), "
                    "0)::bigint FROM (SELECT {0}::oid AS oid UNION SELECT relid FROM pg_partition_tree({0})) p JOIN "
                    "pg_class c ON c.oid = p.oid WHERE c.relkind = 'r'",
                    table_.oid));
    MBSYNC_TRY(size);
    answer.estimate = (*size)[0][0].as<std::int64_t>();
    answer.row_bytes = (*size)[0][1].as<std::int64_t>() / std::max<std::int64_t>(1, answer.estimate);
    return {};
  }

  Result<void> range(DigestAnswer& answer) {
    auto rows = rows_in_range();
    MBSYNC_TRY(rows);
    return request_.kind == DigestKind::kBlock ? block(*rows, answer) : list(*rows, answer);
  }

  Result<void> look(DigestAnswer& answer) {
    auto versions = read_versions(db_);
    MBSYNC_TRY(versions);
    answer.seen = std::move(versions->seen);
    answer.forgotten = std::move(versions->forgotten);
    const std::size_t each = table_.columns.size() * (kColumnHashDigits + 3) + 500;
    const std::size_t count = std::max<std::size_t>(1, std::min(request_.keys.size(), kAnswerBytes / each));
    const std::vector<std::string> keys(request_.keys.begin(),
                                        request_.keys.begin() + static_cast<std::ptrdiff_t>(count));
    MBSYNC_TRY(plan_for(db_, 0));
    const auto rows = db_.exec(look_sql(keys));
    MBSYNC_TRY(rows);
    std::size_t bytes = 0;
    for (const auto& row : *rows) {
      auto look = look_of(row);
      bytes += look.key.size() + look.columns.size() * (kColumnHashDigits + 3) + look.writes.size() * 40 + 200;
      if (!answer.looks.empty() && bytes > kAnswerBytes) {
        break;
      }
      answer.looks.push_back(std::move(look));
    }
    return {};
  }

 private:
  // The rows asked for, with key and hash, numbered in their order.
  Result<std::string> rows_in_range() {
    auto order = index_order(db_, table_);
    MBSYNC_TRY(order);
    const bool by_index = !order->empty() && *order == request_.order;
    std::string places;
    std::vector<std::string> conditions;
    const auto add = [&](const std::optional<std::string>& bound, std::string_view comparison) -> Result<void> {
      if (!bound) {
        return {};
      }
      if (!by_index) {
        conditions.push_back(fmt::format("{} COLLATE \"C\" {} {}", sql_.key_text("t"), comparison, db_.quote(*bound)));
        return {};
      }
      auto values = key_values(*bound);
      MBSYNC_TRY(values);
      conditions.push_back(fmt::format("({}) {} ({})", key_columns(), comparison, *values));
      return {};
    };
    MBSYNC_TRY(add(request_.above, ">"));
    MBSYNC_TRY(add(request_.upto, "<="));
    const auto sorted = by_index ? key_columns() : sql_.key_text("t") + " COLLATE \"C\"";
    return fmt::format(
        "SELECT r.key, r.hash, row_number() OVER () AS place FROM (SELECT {} AS key, {} AS hash FROM {} t{}{} ORDER BY "
        "{} LIMIT {}) r",
        sql_.key_text("t"), row_hash_sql(table_, sums_), table_.quoted(), conditions.empty() ? "" : " WHERE ",
        fmt::join(conditions, " AND "), sorted, request_.limit);
  }

  [[nodiscard]] std::string key_columns() const {
    std::string columns;
    for (const auto index : table_.key) {
      columns +=
          fmt::format("{}t.{}", columns.empty() ? "" : ", ", PgConnection::quote_name(table_.columns[index].name));
    }
    return columns;
  }

  // A key's text as literals of the columns' types, so that the index is used.
  Result<std::string> key_values(const std::string& key) {
    std::vector<Value> parts;
    if (table_.key.size() == 1) {
      parts.emplace_back(key);
    } else {
      auto parsed = parse_record(key);
      MBSYNC_TRY(parsed);
      parts = std::move(*parsed);
    }
    if (parts.size() != table_.key.size() ||
        std::any_of(parts.begin(), parts.end(), [](const Value& part) { return !part; })) {
      return Error{ErrorKind::kCorrupt, fmt::format("no key of table {}", table_.display()), ""};
    }
    std::string values;
    for (std::size_t i = 0; i < parts.size(); ++i) {
      values += fmt::format("{}{}::{}", values.empty() ? "" : ", ", db_.quote(*parts[i]),
                            table_.columns[table_.key[i]].looked_up_as);
    }
    return values;
  }

  // A hash over the rows' hashes, one after the other: two ranges have the same one only if they have the same rows.
  // (A sum of them would do for accidents, and costs as much.) They are put in order by the text of their keys, so that
  // it does not matter how the index does it.
  Result<void> block(const std::string& rows, DigestAnswer& answer) {
    const auto result = db_.exec(fmt::format(
        "WITH b AS MATERIALIZED ({}) SELECT count(*), encode(sha256(coalesce(string_agg(hash, ''::bytea ORDER BY key "
        "COLLATE \"C\"), ''::bytea)), 'hex'), (array_agg(key ORDER BY place DESC))[1] FROM b",
        rows));
    MBSYNC_TRY(result);
    const auto& row = (*result)[0];
    answer.rows = row[0].as<std::int64_t>();
    answer.checksum = row[1].c_str();
    if (answer.rows == request_.limit) {
      answer.last = row[2].c_str();
    }
    return {};
  }

  Result<void> list(const std::string& rows, DigestAnswer& answer) {
    const auto result = db_.exec(fmt::format("SELECT key, encode(hash, 'hex') FROM ({}) b ORDER BY place", rows));
    MBSYNC_TRY(result);
    std::size_t bytes = 0;
    bool cut = false;
    for (const auto& row : *result) {
      bytes += row[0].size() + kRowHashDigits + 10;
      cut = !answer.list.empty() && bytes > kAnswerBytes;
      if (cut) {
        break;
      }
      answer.list.push_back({row[0].c_str(), row[1].c_str()});
    }
    answer.rows = static_cast<std::int64_t>(answer.list.size());
    if (cut || answer.rows == request_.limit) {
      answer.last = answer.list.back().key;
    }
    return {};
  }

  [[nodiscard]] std::string look_sql(const std::vector<std::string>& keys) const {
    const auto present = sql_.present("t");
    // A write that only this node's own snapshot of the fleet has (is_fleet_row) is under a dot of others, and says
    // that the row does not show what it should.
    return fmt::format(
        "WITH k AS MATERIALIZED (SELECT u.key COLLATE \"C\" AS key, u.n FROM unnest({keys}::text[]) WITH ORDINALITY "
        "u(key, n)), captured AS MATERIALIZED (SELECT DISTINCT c.key FROM mbsync.capture c WHERE c.tab = {tab}) "
        "SELECT k.key, {present}, CASE WHEN {present} THEN encode({hash}, 'hex') END, CASE WHEN {present} THEN "
        "{columns} END, "
        "(SELECT string_agg(concat(w.origin, ' ', w.counter), ' ' ORDER BY w.origin, w.counter) FROM (SELECT c.origin, "
        "c.counter FROM mbsync.change c WHERE c.tab = {tab} AND NOT c.is_fleet_row AND {change} UNION SELECT s.origin, "
        "s.counter FROM mbsync.counter s WHERE s.tab = {tab} AND {counter}) w), "
        "EXISTS (SELECT FROM captured c WHERE c.key = k.key OR c.key IS NULL), "
        "EXISTS (SELECT FROM mbsync.change c WHERE c.tab = {tab} AND (c.unseen OR c.is_fleet_row) AND {change}) OR "
        "EXISTS (SELECT FROM mbsync.counter s WHERE s.tab = {tab} AND s.total <> s.shown AND {counter}), "
        "EXISTS (SELECT FROM mbsync.parked p WHERE p.tab = {tab} AND {parked}) "
        "FROM k LEFT JOIN {table} t ON {match} ORDER BY k.n",
        fmt::arg("keys", db_.quote(format_array(keys))), fmt::arg("tab", table_.id), fmt::arg("present", present),
        fmt::arg("hash", row_hash_sql(table_, sums_)), fmt::arg("columns", column_hashes(table_, sums_)),
        fmt::arg("change", has_key("c", "k.key")), fmt::arg("counter", has_key("s", "k.key")),
        fmt::arg("parked", has_key("p", "k.key")), fmt::arg("table", table_.quoted()),
        fmt::arg("match", sql_.key_match("t", "k.key")));
  }

  static RowLook look_of(const pqxx::row& row) {
    RowLook look;
    look.key = row[0].c_str();
    look.present = row[1].as<bool>();
    if (look.present) {
      look.hash = row[2].c_str();
      const std::string_view hashes(row[3].c_str(), row[3].size());
      for (std::size_t i = 0; i + kColumnHashDigits <= hashes.size(); i += kColumnHashDigits) {
        look.columns.emplace_back(hashes.substr(i, kColumnHashDigits));
      }
    }
    if (!row[4].is_null()) {
      std::istringstream dots(row[4].c_str());
      Dot dot;
      while (dots >> dot.origin.value >> dot.counter) {
        look.writes.push_back(dot);
      }
    }
    look.captured = row[5].as<bool>();
    look.waits = row[6].as<bool>();
    look.parked = row[7].as<bool>();
    return look;
  }

  PgConnection& db_;
  const Table& table_;
  const ColumnSet sums_;
  const TableSql sql_;
  const DigestRequest& request_;
};

// Parents before children: in this order rows that are missing can come back. Those in a circle as they come.
void list_tables(const Schema& schema, DigestAnswer& answer) {
  std::set<const Table*> listed;
  const std::function<void(const Table&)> list = [&](const Table& table) {
    if (table.internal || !listed.insert(&table).second) {
      return;
    }
    for (const auto& reference : table.foreign_keys) {
      if (const auto* parent = schema.find(reference.schema, reference.table)) {
        list(*parent);
      }
    }
    answer.tables.push_back({table.schema, table.name, ""});
  };
  std::for_each(schema.tables.begin(), schema.tables.end(), list);
  for (const auto& refused : schema.refused) {
    answer.tables.push_back({refused.schema, refused.name, refused.reason});
  }
}

}  // namespace

// Record text: every type's own output function makes the values, and NULL is no empty text.
std::string row_hash_sql(const Table& table, const ColumnSet& sums) {
  std::vector<std::string> values;
  for (const auto* column : by_name(table)) {
    values.push_back(value_of(table, sums, *column));
  }
  return hash_of(fmt::format("ROW({})::text", fmt::join(values, ", ")));
}

Result<ColumnSet> sums_of(PgConnection& db, const Schema& schema, const Table& table) {
  const auto version = policy_in_force(db);
  MBSYNC_TRY(version);
  if (*version == kBuiltInPolicy) {
    return ColumnSet();
  }
  MBSYNC_TRY(schema.rules->read(db));
  const auto* rules = schema.rules->find(*version, table);
  return rules == nullptr ? ColumnSet() : rules->sums();
}

Result<DigestAnswer> read_digest(PgConnection& db, const Schema& schema, const Member& self,
                                 const DigestRequest& request) {
  DigestAnswer answer;
  answer.sender = self;
  if (request.kind == DigestKind::kTables) {
    list_tables(schema, answer);
    return answer;
  }
  const auto* table = schema.find(request.schema, request.table);
  if (table == nullptr || table->internal) {
    answer.state = DigestState::kNoTable;
    const auto refused = std::find_if(schema.refused.begin(), schema.refused.end(), [&](const RefusedTable& entry) {
      return entry.schema == request.schema && entry.name == request.table;
    });
    answer.why = refused == schema.refused.end() ? "there is no such table" : refused->reason;
    return answer;
  }
  const bool own = request.kind == DigestKind::kShape && request.sender.id == self.id;
  if (!own) {
    answer.why = difference(*table, request);
    if (!answer.why.empty()) {
      answer.state = DigestState::kDiffers;
      return answer;
    }
  }
  if (!table->adopted || table->fingerprint.empty()) {
    answer.state = DigestState::kNoTable;
    answer.why = kNotYet;
    return answer;
  }
  auto sums = sums_of(db, schema, *table);
  MBSYNC_TRY(sums);
  DigestReader reader(db, *table, std::move(*sums), request);
  const auto captured = reader.is_captured();
  MBSYNC_TRY(captured);
  if (!*captured) {
    answer.state = DigestState::kNoTable;
    answer.why = kNotCaptured;
    return answer;
  }
  if (is_of_repair(request.kind)) {
    return answer;  // is for others to do
  }
  auto read = request.kind == DigestKind::kShape  ? reader.shape(answer)
              : request.kind == DigestKind::kLook ? reader.look(answer)
                                                  : reader.range(answer);
  if (!read) {
    return read.error().in(fmt::format("comparing table {}", table->display()));
  }
  return answer;
}

}  // namespace mbsync
