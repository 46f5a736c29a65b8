#include "schema_change.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>

#include "change_sql.h"
#include "seal.h"
#include "table_shape.h"
#include "table_sql.h"

namespace mbsync {
namespace {

using Json = nlohmann::json;

// The application may be at its migration still; all else waits meanwhile.
constexpr const char* kTableLockTimeout = "SET LOCAL lock_timeout = '1s'";

struct Change {
  const Table* table = nullptr;
  ColumnSet columns;      // whose siblings may come to another value, or whose values have another form
  bool rows = false;      // whether rows exist may be decided otherwise
  ColumnSet no_counters;  // what cannot be a counter any more

  [[nodiscard]] bool any() const { return !columns.empty() || rows || !no_counters.empty(); }
};

// Whether NULL is taken decides about what a function returns, so it is a part of the type here.
std::string type_of(const Column& column) {
  return column.type + (column.not_null ? " NOT NULL" : "");
}

std::string text_of(const Table& table) {
  Json columns = Json::array();
  for (std::size_t i = 0; i < table.columns.size(); ++i) {
    const auto& column = table.columns[i];
    columns.push_back({{"number", column.number},
                       {"name", column.name},
                       {"type", type_of(column)},
                       {"labels", column.value_type.labels},
                       {"key", std::find(table.key.begin(), table.key.end(), i) != table.key.end()}});
  }
  Json text{{"schema", table.schema}, {"name", table.name}, {"columns", columns}};
  if (const auto references = shape_of(table).references; !references.empty()) {
    text["references"] = references;
  }
  return text.dump();
}

TableShape shape_from(const Json& before) {
  TableShape shape{before.at("schema"), before.at("name"), {}, before.value("references", Json::array())};
  for (const auto& column : before.at("columns")) {
    shape.columns.push_back({column.at("number"), column.at("name"), {}, column.at("key")});
  }
  return shape;
}

// A label that has come leaves the others in their order.
bool has_in_order(const std::vector<std::string>& labels, const std::vector<std::string>& before) {
  auto next = before.begin();
  for (const auto& label : labels) {
    next += next != before.end() && *next == label ? 1 : 0;
  }
  return next == before.end();
}

// Columns whose values have another form or another order than before.
ColumnSet retyped(const Json& before, const Table& table) {
  ColumnSet columns;
  for (const auto& old : before.at("columns")) {
    const auto now = std::find_if(table.columns.begin(), table.columns.end(),
                                  [&](const Column& column) { return column.number == old.at("number"); });
    if (now != table.columns.end() &&
        (old.at("type") != type_of(*now) ||
         !has_in_order(now->value_type.labels, old.at("labels").get<std::vector<std::string>>()))) {
      columns.insert(now->number);
    }
  }
  return columns;
}

ColumnSet without_numbers(const Table& table) {
  ColumnSet columns;
  for (const auto& column : table.columns) {
    if (column.value_type.kind != ValueKind::kNumber) {
      columns.insert(column.number);
    }
  }
  return columns;
}

std::string list_of(const ColumnSet& columns) {
  return fmt::format("{}", fmt::join(columns.numbers(), ", "));
}

// Those of `columns` in which something was added up.
Result<ColumnSet> counters_among(PgConnection& db, const Table& table, const ColumnSet& columns) {
  ColumnSet found;
  if (columns.empty()) {
    return found;
  }
  const auto numbers =
      db.exec(fmt::format("SELECT DISTINCT k.number FROM mbsync.counter k WHERE k.tab = {} AND k.number IN ({})",
                          table.id, list_of(columns)));
  MBSYNC_TRY(numbers);
  for (const auto& row : *numbers) {
    found.insert(row[0].as<ColumnNumber>());
  }
  return found;
}

Result<Change> change_of(PgConnection& db, const Schema& schema, const Table& table, const std::string& before) {
  Change change{&table, {}, false, {}};
  if (before.empty()) {  // by a program that did not keep it; such a one added to texts as well
    auto counters = counters_among(db, table, without_numbers(table));
    MBSYNC_TRY(counters);
    change.no_counters = std::move(*counters);
    return change;
  }
  const auto document = Json::parse(before);
  const auto types = retyped(document, table);
  const auto rules = schema.rules->changed(shape_from(document), shape_of(table));
  change.columns = rules.columns.unite(types);
  change.rows = rules.rows;
  change.no_counters = types.intersect(without_numbers(table));
  return change;
}

// The rows' live writes that the application has seen: what they hold (cols), when it was written, and whether the row
// fails to show some of it (kept) or some member may not know what was added to it (counted).
std::string live_rows(const Change& change, const std::string& bits) {
  const auto id = change.table->id;
  const auto concerned = fmt::format("position(B'1' IN c.cols & B'{}') > 0", bits);
  const auto counted = fmt::format(
      "EXISTS (SELECT FROM mbsync.counter k, mbsync.node n WHERE k.tab = {} AND {} AND k.number IN ({}) "
      "AND NOT n.is_self AND k.counter > coalesce((SELECT r.counter FROM mbsync.report r WHERE r.node = "
      "n.id AND r.origin = k.origin), 0))",
      id, has_key("k", "l.key"), list_of(change.no_counters));
  return fmt::format(
      "SELECT l.*, {} AS counted FROM (SELECT c.key, bit_or(c.cols) AS cols, max(c.at) AS at, max(c.at) FILTER (WHERE "
      "{}) AS concerned_at, coalesce(bool_or(c.kept IS NOT NULL) FILTER (WHERE {}), false) AS kept, "
      "bool_or(c.deleted) AND bool_or(NOT c.deleted) AS disputed, (array_agg(c.kept ORDER BY c.at DESC, c.origin "
      "DESC, c.counter DESC) FILTER (WHERE c.deleted))[1] AS image FROM mbsync.change c WHERE c.tab = {} AND NOT "
      "c.unseen GROUP BY c.key) l",
      change.no_counters.empty() ? "false" : counted, concerned, concerned, id);
}

// As if the migration had written it, at the time of the writes that it follows from: nobody's later write loses to it,
// and nodes that judged alike write alike.
Result<void> write_anew(PgConnection& db, const Change& change) {
  const auto& table = *change.table;
  const TableSql sql(table);
  const auto bits = change.rows ? sql.all_bits() : change.columns.to_bits(table.width);
  const auto there = fmt::format("EXISTS (SELECT FROM {} t WHERE {})", table.quoted(), sql.key_match("t", "l.key"));
  MBSYNC_TRY(db.exec(fmt::format(
      "INSERT INTO mbsync.capture (tab, op, key, cols, at) SELECT {}, 'U', l.key, translate(substring(({} | CASE WHEN "
      "l.counted THEN B'{}' ELSE B'{}' END)::text FROM 2), '10', 'tf'), CASE WHEN l.counted THEN l.at ELSE "
      "l.concerned_at END FROM ({}) l WHERE (l.kept OR l.counted) AND {}",
      table.id, change.rows ? fmt::format("B'{}'", bits) : fmt::format("(l.cols & B'{}')", bits),
      change.no_counters.to_bits(table.width), ColumnSet().to_bits(table.width), live_rows(change, bits), there)));
  if (change.rows) {
    MBSYNC_TRY(db.exec(
        fmt::format("INSERT INTO mbsync.capture (tab, op, key, at, image) SELECT {}, 'D', l.key, l.at, l.image FROM "
                    "({}) l WHERE l.disputed AND NOT {}",
                    table.id, live_rows(change, bits), there)));
  }
  return {};
}

Result<void> carry_out(PgConnection& db, const Schema& schema, NodeId self, std::vector<Change>& changes) {
  MBSYNC_TRY(db.exec(kTableLockTimeout));
  // What the application has written meanwhile has decided for itself (C2), and counts what it added.
  MBSYNC_TRY(seal(db, schema, self));
  for (auto& change : changes) {
    auto counters = counters_among(db, *change.table, change.no_counters);
    MBSYNC_TRY(counters);
    change.no_counters = std::move(*counters);
    if (change.any()) {
      MBSYNC_TRY(write_anew(db, change));
    }
    if (!change.no_counters.empty()) {
      MBSYNC_TRY(db.exec(fmt::format("DELETE FROM mbsync.counter WHERE tab = {} AND number IN ({})", change.table->id,
                                     list_of(change.no_counters))));
    }
  }
  MBSYNC_TRY(seal(db, schema, self));
  return {};
}

}  // namespace

Result<void> keep_decisions(PgConnection& db, const Schema& schema, NodeId self) {
  const auto known = db.exec("SELECT id, shape FROM mbsync.synced_table");
  MBSYNC_TRY(known);
  std::map<int, std::string> before;
  for (const auto& row : *known) {
    before[row[0].as<int>()] = row[1].c_str();
  }
  MBSYNC_TRY(schema.rules->read(db));
  std::vector<Change> changes;
  for (const auto& table : schema.tables) {
    const auto now = text_of(table);
    const auto& was = before[table.id];
    if (table.internal || was == now) {
      continue;
    }
    auto change = change_of(db, schema, table, was);
    MBSYNC_TRY(change);
    if (change->any()) {
      changes.push_back(std::move(*change));
    }
    MBSYNC_TRY(
        db.exec("UPDATE mbsync.synced_table SET shape = $2 WHERE id = $1::int", {std::to_string(table.id), now}));
  }
  return changes.empty() ? Result<void>() : carry_out(db, schema, self, changes);
}

}  // namespace mbsync
