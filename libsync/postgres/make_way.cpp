#include "make_way.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <set>

#include "reference_sql.h"
#include "table_sql.h"
#include "unique_meaning.h"
#include "unique_sql.h"

namespace mbsync {
namespace {

// How many rows of a chain, each waiting for the next one's value, move one after the other before they all step aside.
constexpr int kMovesMax = 8;
// How long it may take to find out which of several rows cannot be written in one statement.
constexpr std::chrono::milliseconds kOneByOneMax{3000};

bool contains(const std::vector<std::string>& names, const std::string& name) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

// A value that no row has nor wants, for the row `t` that is number h.n among those with the key h.k. Empty for a type
// that has none.
std::vector<std::string> unused_values(const StagedTable& staged, std::size_t index) {
  const auto& column = staged.table->columns[index];
  const auto name = PgConnection::quote_name(column.name);
  const auto utmost = [&](const char* which, const char* of_two) {
    return fmt::format("(SELECT {}((SELECT {}(x.{}) FROM {} x), (SELECT {}({}) FROM {} s)))", of_two, which, name,
                       staged.table->quoted(), which, TableSql(*staged.table).staged_value("s", index), staged.name);
  };
  const auto last = utmost("max", "greatest");
  const auto first = utmost("min", "least");
  const bool array = column.type.ends_with(']');
  if (column.value_type.kind == ValueKind::kText && !array) {
    const int room = room_of(column);
    constexpr int kSuffix = 33;
    const auto own = room == 0 ? fmt::format("t.{}::text", name)
                               : fmt::format("left(t.{}::text, {})", name, std::max(0, room - kSuffix));
    return {room != 0 && room < kSuffix ? fmt::format("left(md5(h.k), {})::{}", room, column.type)
                                        : fmt::format("({} || '~' || md5(h.k))::{}", own, column.type)};
  }
  if (column.value_type.kind == ValueKind::kNumber || column.value_type.kind == ValueKind::kFloat ||
      column.type == "date") {
    return {fmt::format("{} + h.n", last), fmt::format("{} - h.n", first)};
  }
  if (column.value_type.kind == ValueKind::kTimestamp) {
    return {fmt::format("{} + h.n * interval '1 second'", last)};
  }
  if (column.type == "uuid") {
    return {"md5(h.k || '~')::uuid"};
  }
  return {};
}

// "column = value" by which a row leaves its value of the key, in the order in which they are to be tried.
std::vector<std::string> ways_aside(const StagedTable& staged, const UniqueKey& unique) {
  const auto& table = *staged.table;
  std::vector<std::string> ways;
  std::vector<std::string> others;
  for (const auto& name : unique.columns) {
    const auto index = table.index_of(name);
    const auto& column = table.columns[index];
    const auto quoted = PgConnection::quote_name(name);
    if (column.identity_always || std::find(table.key.begin(), table.key.end(), index) != table.key.end()) {
      continue;
    }
    if (!contains(unique.compared, name)) {
      if (column.type == "boolean") {
        ways.push_back(fmt::format("{0} = NOT t.{0}", quoted));
      }
      continue;
    }
    if (!column.not_null && !unique.nulls_not_distinct) {
      ways.push_back(fmt::format("{} = NULL", quoted));
    }
    if (!refers(table, name)) {
      for (const auto& value : unused_values(staged, index)) {
        others.push_back(fmt::format("{} = {}", quoted, value));
      }
    }
  }
  ways.insert(ways.end(), others.begin(), others.end());
  return ways;
}

std::string is_in(const Table& table, std::string_view key) {
  return fmt::format("EXISTS (SELECT FROM pg_temp.together g WHERE g.tab = {} AND g.key = {})", table.id, key);
}

// Whether the row that stands under the key is deleted in the statement, for good or to be inserted again.
constexpr const char* kGoes = "(s.m_deleted IS TRUE OR g.anew)";

}  // namespace

Result<void> prepare_make_way(PgConnection& db) {
  return db.ensure_temporary_table("together", "tab int, key text COLLATE \"C\", anew boolean NOT NULL DEFAULT false");
}

// (taker, holder): a staged row, and another that stands with the value which that one is to have, and leaves it.
std::string MakeWay::pairs(const Tight& tight) const {
  const auto& table = *tight.staged->table;
  const auto leaves = fmt::format("EXISTS (SELECT FROM {} m WHERE NOT m.m_held AND {})", tight.staged->name,
                                  TableSql(table).key_match("t", "m.m_key"));
  return fmt::format("(SELECT a.k AS taker, b.k AS holder FROM {} a JOIN {} b ON a.k <> b.k{})",
                     staged_entries(*tight.staged, *tight.unique), standing_entries(table, *tight.unique, leaves),
                     equal_entries(*tight.unique));
}

const StagedTable* MakeWay::stage_of(const Table& table) const {
  const auto place = std::find_if(order_.begin(), order_.end(),
                                  [&](const StagedTable* entry) { return entry->table->id == table.id; });
  return place == order_.end() ? nullptr : *place;
}

std::vector<MakeWay::Edge> MakeWay::edges() const {
  auto all = edges_of(schema_);
  std::erase_if(all, [&](const Edge& edge) {
    return edge.parent == nullptr || stage_of(*edge.child) == nullptr || stage_of(*edge.parent) == nullptr;
  });
  return all;
}

Result<bool> MakeWay::run() {
  for (const auto* entry : order_) {
    for (const auto& unique : entry->table->unique_keys) {
      const Tight tight{entry, &unique};
      if (unique.deferrable || unique.of_rows) {
        continue;  // checked at the end of the transaction; keys do not change
      }
      const auto before = is_tight(tight);
      MBSYNC_TRY(before);
      if (!*before) {
        continue;
      }
      MBSYNC_TRY(step_aside(tight));
      const auto after = is_tight(tight);
      MBSYNC_TRY(after);
      if (*after) {
        tight_.push_back(tight);
      }
    }
  }
  if (tight_.empty()) {
    return wrote_;
  }
  const auto seeds = places();
  MBSYNC_TRY(seeds);
  bool done = false;
  MBSYNC_TRY(together(*seeds, done));
  const auto deadline = std::chrono::steady_clock::now() + kOneByOneMax;
  for (const auto& seed : *seeds) {
    if (done || seeds->size() == 1 || std::chrono::steady_clock::now() > deadline) {
      break;
    }
    bool alone = false;  // one row that is refused does not hold up the others
    MBSYNC_TRY(together({seed}, alone));
  }
  return wrote_;
}

Result<bool> MakeWay::is_tight(const Tight& tight) {
  const auto any = db_.exec(fmt::format("SELECT EXISTS {}", pairs(tight)));
  MBSYNC_TRY(any);
  return (*any)[0][0].as<bool>();
}

// How many rows were changed; none if the database refuses it.
Result<std::int64_t> MakeWay::attempt(const std::string& sql) {
  MBSYNC_TRY(db_.exec("SAVEPOINT make_way"));
  const auto done = db_.exec(sql);
  if (!done && db_.broken()) {
    return done.error();
  }
  MBSYNC_TRY(db_.exec(done ? "RELEASE SAVEPOINT make_way" : "ROLLBACK TO SAVEPOINT make_way"));
  const auto rows = done ? static_cast<std::int64_t>(done->affected_rows()) : 0;
  wrote_ = wrote_ || rows > 0;
  return rows;
}

// Rows that are in the way and stay: to where they are to be, as long as that is free for some; the others, which wait
// for each other in a circle, to a value of no meaning until they are written.
Result<void> MakeWay::step_aside(const Tight& tight) {
  const auto& staged = *tight.staged;
  const TableSql sql(*staged.table);
  const auto assignments = sql.staged_assignments("s");
  for (int number = 0; number < kMovesMax && !assignments.empty(); ++number) {
    const auto moved = attempt(fmt::format(
        "WITH pair AS MATERIALIZED {} UPDATE {} t SET {} FROM {} s WHERE s.m_deleted IS NOT TRUE AND NOT s.m_held AND "
        "{} AND s.m_key IN (SELECT holder FROM pair) AND s.m_key NOT IN (SELECT taker FROM pair)",
        pairs(tight), staged.table->quoted(), assignments, staged.name, sql.key_match("t", "s.m_key")));
    MBSYNC_TRY(moved);
    if (*moved == 0) {
      break;
    }
  }
  for (const auto& way : ways_aside(staged, *tight.unique)) {
    const auto moved = attempt(fmt::format(
        "UPDATE {} t SET {} FROM (SELECT p.holder AS k, (row_number() OVER (ORDER BY p.holder))::int AS n FROM {} p "
        "JOIN {} s ON s.m_key = p.holder AND s.m_deleted IS NOT TRUE GROUP BY p.holder) h WHERE {}",
        staged.table->quoted(), way, pairs(tight), staged.name, sql.key_match("t", "h.k")));
    MBSYNC_TRY(moved);
  }
  return {};
}

// The rows that are in the way still.
Result<std::vector<MakeWay::Place>> MakeWay::places() {
  std::vector<Place> all;
  std::set<std::pair<int, std::string>> known;
  for (const auto& tight : tight_) {
    const auto rows = db_.exec(fmt::format("SELECT DISTINCT holder FROM {} p ORDER BY 1", pairs(tight)));
    MBSYNC_TRY(rows);
    for (const auto& row : *rows) {
      if (known.emplace(tight.staged->table->id, row[0].c_str()).second) {
        all.push_back(Place{tight.staged->table->id, row[0].c_str()});
      }
    }
  }
  return all;
}

// One statement that takes the rows out of the way, puts in those that take their values, and makes all that referred
// to them refer to these. What foreign keys say about a deleted row comes to pass at the end of a statement, and by
// then nothing refers to it.
Result<void> MakeWay::together(const std::vector<Place>& seeds, bool& done) {
  MBSYNC_TRY(db_.clear_temporary_table("together"));
  for (const auto& seed : seeds) {
    MBSYNC_TRY(db_.exec(
        fmt::format("INSERT INTO pg_temp.together (tab, key) VALUES ({}, {})", seed.tab, db_.quote(seed.key))));
  }
  MBSYNC_TRY(gather());
  MBSYNC_TRY(mark_anew());
  const auto harmful = takes_others_along();
  MBSYNC_TRY(harmful);
  if (*harmful) {
    return {};
  }
  const auto sql = statement();
  MBSYNC_TRY(sql);
  const auto rows = attempt(*sql);
  MBSYNC_TRY(rows);
  done = *rows > 0;
  return {};
}

// All that has to be written in the same statement.
Result<void> MakeWay::gather() {
  const auto all = edges();
  for (std::int64_t added = 1; added > 0;) {
    const auto partners = add_partners();
    MBSYNC_TRY(partners);
    added = *partners;
    for (const auto& edge : all) {
      const auto children = add_children(edge);
      MBSYNC_TRY(children);
      const auto parents = add_parents(edge);
      MBSYNC_TRY(parents);
      added += *children + *parents;
    }
  }
  return {};
}

Result<std::int64_t> MakeWay::add(const Table& table, const std::string& key, const std::string& from) {
  const auto added =
      db_.exec(fmt::format("INSERT INTO pg_temp.together (tab, key) SELECT DISTINCT {0}, {1} FROM {2} AND NOT {3}",
                           table.id, key, from, is_in(table, key)));
  MBSYNC_TRY(added);
  return static_cast<std::int64_t>(added->affected_rows());
}

// Who takes a value of theirs, and whose value they take.
Result<std::int64_t> MakeWay::add_partners() {
  std::int64_t added = 0;
  for (const auto& tight : tight_) {
    const auto& table = *tight.staged->table;
    const auto more = add(table, "e.k",
                          fmt::format("{} p CROSS JOIN LATERAL (VALUES (p.taker), (p.holder)) e (k) WHERE ({} OR {})",
                                      pairs(tight), is_in(table, "p.taker"), is_in(table, "p.holder")));
    MBSYNC_TRY(more);
    added += *more;
  }
  return added;
}

// What refers to a row that goes.
Result<std::int64_t> MakeWay::add_children(const Edge& edge) {
  return add(
      *edge.child, "cs.m_key",
      fmt::format("{} s JOIN {} p ON {} JOIN {} t ON {} JOIN {} cs ON {} WHERE s.m_deleted AND NOT cs.m_held AND "
                  "{}",
                  stage_of(*edge.parent)->name, edge.parent->quoted(), TableSql(*edge.parent).key_match("p", "s.m_key"),
                  edge.child->quoted(), equal_columns(*edge.reference, edge.parent, of("t"), of("p")),
                  stage_of(*edge.child)->name, TableSql(*edge.child).key_match("t", "cs.m_key"),
                  is_in(*edge.parent, "s.m_key")));
}

// What a row is to refer to and is not there yet.
Result<std::int64_t> MakeWay::add_parents(const Edge& edge) {
  if (!are_staged(*edge.child, edge.reference->columns) || !are_staged(*edge.parent, edge.reference->referenced)) {
    return std::int64_t{0};
  }
  const auto own = staged_of("s", *edge.child);
  return add(
      *edge.parent, "ps.m_key",
      fmt::format("{} s JOIN {} ps ON {} WHERE s.m_deleted IS NOT TRUE AND ps.m_deleted IS NOT TRUE AND NOT ps.m_held "
                  "AND {} AND NOT EXISTS (SELECT FROM {} p WHERE {})",
                  stage_of(*edge.child)->name, stage_of(*edge.parent)->name,
                  equal_columns(*edge.reference, edge.parent, own, staged_of("ps", *edge.parent)),
                  is_in(*edge.child, "s.m_key"), edge.parent->quoted(),
                  equal_columns(*edge.reference, edge.parent, own, of("p"))));
}

// Rows that could not step aside are deleted and inserted.
Result<void> MakeWay::mark_anew() {
  for (const auto& tight : tight_) {
    MBSYNC_TRY(db_.exec(fmt::format(
        "UPDATE pg_temp.together g SET anew = true FROM {} s WHERE g.tab = {} AND s.m_key = g.key AND s.m_deleted IS "
        "NOT TRUE AND g.key IN (SELECT holder FROM {} p)",
        tight.staged->name, tight.staged->table->id, pairs(tight))));
  }
  return {};
}

// Whether a row that is to stand refers to what the row `p` of the parent has now.
std::string MakeWay::will_refer(const Edge& edge) const {
  const auto& child = *edge.child;
  const auto& stage = stage_of(child)->name;
  const auto standing = equal_columns(*edge.reference, edge.parent, of("t"), of("p"));
  if (!are_staged(child, edge.reference->columns)) {
    return fmt::format("EXISTS (SELECT FROM {} t WHERE {})", child.quoted(), standing);
  }
  return fmt::format(
      "(EXISTS (SELECT FROM {0} cs WHERE cs.m_deleted IS NOT TRUE AND NOT cs.m_held AND {1}) OR EXISTS (SELECT FROM "
      "{2} "
      "t WHERE {3} AND NOT EXISTS (SELECT FROM {0} cs WHERE NOT cs.m_held AND {4})))",
      stage, equal_columns(*edge.reference, edge.parent, staged_of("cs", child), of("p")), child.quoted(), standing,
      TableSql(child).key_match("t", "cs.m_key"));
}

// Whether deleting would do something to rows that are to stay, since they refer to what is inserted in its place.
Result<bool> MakeWay::takes_others_along() {
  for (const auto& edge : edges()) {
    if (edge.reference->on_delete == 'a') {
      continue;  // looks whether somebody else has the value by now
    }
    const auto& parent = *edge.parent;
    const auto any = db_.exec(
        fmt::format("SELECT EXISTS (SELECT FROM pg_temp.together g JOIN {} s ON s.m_key = g.key JOIN {} p ON {} WHERE "
                    "g.tab = {} AND {} AND {})",
                    stage_of(parent)->name, parent.quoted(), TableSql(parent).key_match("p", "s.m_key"), parent.id,
                    kGoes, will_refer(edge)));
    MBSYNC_TRY(any);
    if ((*any)[0][0].as<bool>()) {
      return true;
    }
  }
  for (const auto* entry : order_) {
    const auto strangers = takes_strangers_along(*entry->table);
    MBSYNC_TRY(strangers);
    if (*strangers) {
      return true;
    }
  }
  return false;
}

// The same for tables that do not take part: what rows of theirs refer to must not even be deleted to be inserted
// again.
Result<bool> MakeWay::takes_strangers_along(const Table& table) {
  std::string known;
  for (const auto& other : schema_.tables) {
    known += fmt::format("{}{}", known.empty() ? "" : ", ", other.oid);
  }
  std::string key;
  for (const auto index : table.key) {
    key += fmt::format("{}{}", key.empty() ? "" : ", ", table.columns[index].attnum);
  }
  const auto any = db_.exec(fmt::format(
      "SELECT EXISTS (SELECT FROM pg_temp.together g JOIN {} s ON s.m_key = g.key JOIN pg_catalog.pg_constraint c ON "
      "c.contype = 'f' AND c.confrelid = {} AND c.conparentid = 0 AND c.confdeltype <> 'a' AND c.conrelid NOT IN ({}) "
      "WHERE g.tab = {} AND (g.anew OR (s.m_deleted AND NOT c.confkey <@ ARRAY[{}]::int2[])))",
      stage_of(table)->name, table.oid, known, table.id, key));
  MBSYNC_TRY(any);
  return (*any)[0][0].as<bool>();
}

// All parts of a statement see what was there before it, so they neither see each other nor meet in a row. A unique key
// does see what was deleted: that has to have happened, which counting it makes sure of.
Result<std::string> MakeWay::statement() {
  std::string deletions;
  std::string updates;
  std::string insertions;
  std::string gone = "0";
  std::string changed = "(SELECT n FROM gone)";
  std::string added = "(SELECT n FROM changed)";
  for (const auto* entry : order_) {
    const auto& table = *entry->table;
    const auto member = db_.exec(fmt::format("SELECT EXISTS (SELECT FROM pg_temp.together WHERE tab = {})", table.id));
    MBSYNC_TRY(member);
    if (!(*member)[0][0].as<bool>()) {
      continue;
    }
    const TableSql sql(table);
    const auto match = sql.key_match("t", "s.m_key");
    const auto rows = fmt::format("pg_temp.together g JOIN {} s ON s.m_key = g.key AND g.tab = {} AND NOT s.m_held",
                                  entry->name, table.id);
    deletions += fmt::format("d{} AS (DELETE FROM {} t USING {} WHERE {} AND {} RETURNING 1), ", table.id,
                             table.quoted(), rows, kGoes, match);
    gone += fmt::format(" + (SELECT count(*) FROM d{})", table.id);
    if (const auto assignments = sql.staged_assignments("s"); !assignments.empty()) {
      updates += fmt::format(
          "u{} AS (UPDATE {} t SET {} FROM {} WHERE NOT {} AND {} AND (SELECT n FROM gone) >= 0 RETURNING 1), ",
          table.id, table.quoted(), assignments, rows, kGoes, match);
      changed += fmt::format(" + (SELECT count(*) FROM u{})", table.id);
    }
    insertions += fmt::format(
        "i{} AS (INSERT INTO {} ({}) OVERRIDING SYSTEM VALUE SELECT {} FROM {} WHERE s.m_deleted IS NOT TRUE AND "
        "(g.anew OR NOT EXISTS (SELECT FROM {} t WHERE {})) AND (SELECT n FROM changed) >= 0 RETURNING 1), ",
        table.id, table.quoted(), sql.column_names(), sql.staged_values("s"), rows, table.quoted(), match);
    added += fmt::format(" + (SELECT count(*) FROM i{})", table.id);
  }
  return fmt::format(
      "WITH {}gone AS (SELECT {} AS n), {}changed AS (SELECT {} AS n), {}added AS (SELECT {} AS n) "
      "SELECT n FROM added",
      deletions, gone, updates, changed, insertions, added);
}

}  // namespace mbsync
