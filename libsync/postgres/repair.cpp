#include "repair.h"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <set>
#include <tuple>
#include <utility>

#include "change_sql.h"
#include "copy_text.h"
#include "counters.h"
#include "record_text.h"
#include "table_sql.h"
#include "unique_meaning.h"
#include "unique_sql.h"

namespace mbsync {
namespace {

using Json = nlohmann::json;

// A chain of cascades takes a round for each link; no real schema comes near this.
constexpr int kRoundsMax = 200;
constexpr const char* kNoSuchRow = "no-such-row";
constexpr const char* kCascade = "cascade";
// How many deletions are looked through for a row that is referred to by something else than its key.
constexpr int kDeletionsMax = 10000;

WriteTime time_of(const pqxx::field& micros) {
  return micros.is_null() ? kTimeUnknown : WriteTime{micros.as<std::int64_t>()};
}

bool same_columns(std::vector<std::string> a, std::vector<std::string> b) {
  std::sort(a.begin(), a.end());
  std::sort(b.begin(), b.end());
  return a == b;
}

std::vector<std::string> key_names(const Table& table) {
  std::vector<std::string> names;
  for (const auto index : table.key) {
    names.push_back(table.columns[index].name);
  }
  return names;
}

}  // namespace

std::string changed_flags(const Table& table, const std::vector<std::string>& columns) {
  std::string flags(table.width - 1, 'f');
  for (const auto& column : columns) {
    flags[table.find(column)->number - 1] = 't';
  }
  return flags;
}

Result<void> prepare_repair(PgConnection& db) {
  return db.ensure_temporary_table(
      "repaired",
      "tab int, op \"char\", key text COLLATE \"C\", cols text COLLATE \"C\", at_us bigint, node text, counter bigint");
}

Result<void> add_stages(PgConnection& db, const Schema& schema, Repair::Staged& staged) {
  std::set<int> wanted;
  for (auto& [id, entry] : staged) {
    wanted.insert(id);
    entry.may_delete = true;  // for what is mended
  }
  for (bool grown = true; grown;) {
    grown = false;
    for (const auto& child : schema.tables) {
      for (const auto& reference : child.foreign_keys) {
        const auto* parent = schema.find(reference.schema, reference.table);
        if (parent == nullptr || wanted.contains(child.id) == wanted.contains(parent->id)) {
          continue;
        }
        wanted.insert({child.id, parent->id});
        grown = true;
      }
    }
  }
  for (const auto id : wanted) {
    if (!staged.contains(id)) {
      auto entry = make_stage(db, *schema.find(id));
      MBSYNC_TRY(entry);
      staged.emplace(id, std::move(*entry));
    }
  }
  return {};
}

std::vector<Repair::Edge> Repair::edges() const {
  auto all = edges_of(schema_);
  std::erase_if(all, [&](const Edge& edge) {
    return edge.parent == nullptr || !staged_.contains(edge.child->id) || !staged_.contains(edge.parent->id) ||
           !are_staged(*edge.child, edge.reference->columns) || !are_staged(*edge.parent, edge.reference->referenced);
  });
  return all;
}

Result<ReferenceCheck::Keys> Repair::run() {
  for (int number = 0; number < kRoundsMax; ++number) {
    const auto changed = round();
    MBSYNC_TRY(changed);
    if (!*changed || !unsolved_.empty()) {
      MBSYNC_TRY(store_records());
      return std::move(unsolved_);
    }
  }
  return Error{ErrorKind::kConflict, "rows that refer to each other cannot be brought to stand together",
               "nothing was changed; look at the foreign keys of the tables concerned"};
}

// Whether the columns that ON DELETE SET NULL or SET DEFAULT is for can be set.
bool Repair::can_be_set(const Edge& edge, bool to_default) {
  const auto& reference = *edge.reference;
  const auto& list = reference.on_delete_columns.empty() ? reference.columns : reference.on_delete_columns;
  return std::all_of(list.begin(), list.end(), [&](const std::string& name) {
    const auto* column = edge.child->find(name);
    return !column->not_null || (to_default && !column->default_value.empty());
  });
}

// A default that leads nowhere refuses as well, but for that one has to look at the row.
bool Repair::refuses_deletion(const Edge& edge) {
  switch (edge.reference->on_delete) {
    case 'c':
      return false;
    case 'n':
      return !can_be_set(edge, false);
    case 'd':
      return !can_be_set(edge, true);
    default:
      return true;
  }
}

Result<bool> Repair::round() {
  bool changed = false;
  const auto mend_all = [&](const std::vector<Edge>& some) -> Result<void> {
    for (const auto& edge : some) {
      const auto mended = mend(edge);
      if (!mended) {
        return mended.error().in(
            fmt::format("foreign key \"{}\" of table {}", edge.reference->name, edge.child->display()));
      }
      changed = changed || *mended;
    }
    return {};
  };
  // What must stay for one reference stays for all, as a deletion that is refused sets nothing to NULL either. So those
  // that refuse come first, also once more rows have gone; and what is set is set when it is known what goes.
  const auto all = edges();
  const auto those = [&](const auto& wanted) {
    std::vector<Edge> some;
    std::copy_if(all.begin(), all.end(), std::back_inserter(some), wanted);
    return some;
  };
  const auto with = [](char action) {
    return [=](const Edge& edge) { return !refuses_deletion(edge) && edge.reference->on_delete == action; };
  };
  MBSYNC_TRY(mend_all(those(refuses_deletion)));
  for (const auto& edge : those(with('c'))) {
    MBSYNC_TRY(mend_all({edge}));
    MBSYNC_TRY(
        mend_all(those([&](const Edge& other) { return refuses_deletion(other) && other.parent == edge.child; })));
  }
  if (changed) {
    return true;
  }
  MBSYNC_TRY(mend_all(those(with('d'))));
  MBSYNC_TRY(mend_all(those(with('n'))));
  for (const auto& [id, entry] : staged_) {
    for (const auto& unique : entry.table->unique_keys) {
      const auto separated = separate(*entry.table, unique);
      if (!separated) {
        return separated.error().in(fmt::format("unique key \"{}\" of table {}", unique.name, entry.table->display()));
      }
      changed = changed || *separated;
    }
  }
  return changed;
}

// Pairs of rows that would both have one value: a staged one, and one that is staged as well or stands here.
Result<std::vector<std::pair<std::string, std::string>>> Repair::clashes(const Table& table, const UniqueKey& unique) {
  const auto staged = staged_entries(stage(table), unique);
  const auto local = standing_entries(table, unique,
                                      fmt::format("NOT EXISTS (SELECT FROM {} m WHERE NOT m.m_held AND {})",
                                                  stage(table).name, TableSql(table).key_match("t", "m.m_key")));
  const auto rows = db_.exec(fmt::format(
      "SELECT a.k, b.k FROM {0} a JOIN {0} b ON a.k < b.k{2} UNION SELECT a.k, b.k FROM {0} a JOIN {1} b ON "
      "true{2} ORDER BY 1, 2",
      staged, local, equal_entries(unique)));
  MBSYNC_TRY(rows);
  std::vector<std::pair<std::string, std::string>> pairs;
  for (const auto& row : *rows) {
    pairs.emplace_back(row[0].c_str(), row[1].c_str());
  }
  return pairs;
}

Result<bool> Repair::breaks_deferred_key() {
  for (const auto& [id, entry] : staged_) {
    for (const auto& unique : entry.table->unique_keys) {
      if (unique.deferrable) {
        const auto pairs = clashes(*entry.table, unique);
        MBSYNC_TRY(pairs);
        if (!pairs->empty()) {
          return true;
        }
      }
    }
  }
  return false;
}

bool Repair::Claim::operator<(const Claim& other) const {
  return std::tie(version.at, dot, key) < std::tie(other.version.at, other.dot, other.key);
}

// The write by which a row came to its value of a unique key; of a row that came back, perhaps the deletion (C6).
Result<Repair::Claim> Repair::claim_of(const Table& table, const UniqueKey& unique, const std::string& key) {
  std::string mask(table.width, '0');
  for (const auto& column : unique.columns) {
    mask[table.find(column)->number] = '1';
  }
  // A row that has just been made (C15) has no write yet, but will have this one.
  const auto write = db_.exec(fmt::format(
      "SELECT c.origin, c.counter, {0}, c.deleted FROM mbsync.change c WHERE c.tab = {1} AND {2} AND position(B'1' IN "
      "c.cols & B'{3}') > 0 UNION ALL SELECT ('x' || r.node)::bit(64)::bigint, r.counter, r.at_us, false FROM "
      "pg_temp.repaired r WHERE r.tab = {1} AND r.key = {4} AND r.op = 'I' ORDER BY 4, 3 DESC, 1 DESC, 2 DESC LIMIT 1",
      micros_of("c.at"), table.id, has_key("c", db_.quote(key)), mask, db_.quote(key)));
  MBSYNC_TRY(write);
  auto values = staged_values(table, key);
  MBSYNC_TRY(values);
  Claim claim{key, ConflictVersion{"fleet", 0, kTimeUnknown, false, key, Json::object()}, Dot{}};
  for (const auto& column : unique.columns) {
    claim.version.values[column] = values->at(column);
  }
  if (!write->empty()) {
    claim.dot = Dot{NodeId{(*write)[0][0].as<std::int64_t>()}, (*write)[0][1].as<std::int64_t>()};
    claim.version.node = to_string(claim.dot.origin);
    claim.version.counter = claim.dot.counter;
    claim.version.at = time_of((*write)[0][2]);
  }
  return claim;
}

// Rows `t` that stand here, so that they can be changed together with the staged ones. `which` is what follows the list
// of columns, and leaves out rows that are staged. `because`: SQL for the key of the staged row, of table
// `because_tab`, that makes it necessary.
Result<void> Repair::bring_in(const Table& table, const std::string& which, int because_tab,
                              const std::string& because) {
  std::string columns;
  std::string values;
  for (std::size_t i = 0; i < table.columns.size(); ++i) {
    const auto value = "t." + PgConnection::quote_name(table.columns[i].name);
    columns += fmt::format(", v{}", i + 1);
    values += fmt::format(
        ", {} AS v{}",
        table.columns[i].user_type ? fmt::format("CASE WHEN num_nulls({0}) = 0 THEN concat({0}) END", value) : value,
        i + 1);
  }
  const auto added =
      db_.exec(fmt::format("WITH found AS MATERIALIZED (SELECT {0} AS m_key, {1} AS because{2} {3} FOR UPDATE OF "
                           "t{4}), made AS (INSERT INTO "
                           "{5} (m_key, m_deleted{6}) SELECT DISTINCT ON (f.m_key) f.m_key, false{6} FROM found f) "
                           "SELECT m_key, because FROM "
                           "found",
                           TableSql(table).key_text("t"), because, values, which, skip_held_ ? " SKIP LOCKED" : "",
                           stage(table).name, columns));
  MBSYNC_TRY(added);
  for (const auto& row : *added) {
    brought_in_.emplace(RowKey{table.id, row[0].c_str()}, RowKey{because_tab, row[1].c_str()});
  }
  return {};
}

// False if the application holds the row.
Result<bool> Repair::stage_row(const Table& table, const std::string& key, const RowKey& because) {
  const auto staged =
      db_.exec(fmt::format("SELECT EXISTS (SELECT FROM {} s WHERE s.m_key = {})", stage(table).name, db_.quote(key)));
  MBSYNC_TRY(staged);
  if ((*staged)[0][0].as<bool>()) {
    return true;
  }
  MBSYNC_TRY(bring_in(table,
                      fmt::format("FROM {} t WHERE {}", table.quoted(), TableSql(table).key_match("t", db_.quote(key))),
                      because.first, db_.quote(because.second)));
  return brought_in_.contains({table.id, key});
}

// Only what is staged without us can be left out of the next attempt: where a row was brought in, that is the one that
// made it necessary.
void Repair::set_aside(const RowKey& row, const std::string& reason) {
  unsolved_.push_back(cause_of(ReferenceCheck::Held{row.first, row.second, reason}));
}

void Repair::made(const Table& table, const std::string& key, const std::string& of) {
  brought_in_[{table.id, key}] = {table.id, of};
}

ReferenceCheck::Held Repair::cause_of(ReferenceCheck::Held row) const {
  RowKey key{row.tab, row.key};
  std::set<RowKey> seen;
  for (auto place = brought_in_.find(key); place != brought_in_.end() && seen.insert(key).second;
       place = brought_in_.find(key)) {
    key = place->second;
  }
  if (!row.reason.empty() && key != RowKey{row.tab, row.key}) {
    row.reason = fmt::format("row {} of table {}: {}", row.key, schema_.find(row.tab)->display(), row.reason);
  }
  return {key.first, key.second, row.reason};
}

// Of two rows with one value of a unique key, the one that had it first keeps it (CONFLICTS.md C19).
Result<bool> Repair::separate(const Table& table, const UniqueKey& unique) {
  const auto pairs = clashes(table, unique);
  MBSYNC_TRY(pairs);
  std::set<std::string> changed;
  for (const auto& [one, other] : *pairs) {
    if (changed.contains(one) || changed.contains(other)) {
      continue;  // perhaps they no longer clash; the next round tells
    }
    const auto one_staged = stage_row(table, one, {table.id, other});
    MBSYNC_TRY(one_staged);
    const auto other_staged = stage_row(table, other, {table.id, one});
    MBSYNC_TRY(other_staged);
    if (!*one_staged || !*other_staged) {
      set_aside({table.id, *one_staged ? one : other}, "");
      continue;
    }
    auto first = claim_of(table, unique, one);
    MBSYNC_TRY(first);
    auto second = claim_of(table, unique, other);
    MBSYNC_TRY(second);
    auto& winner = *second < *first ? *second : *first;
    auto& loser = *second < *first ? *first : *second;
    changed.insert(loser.key);
    const auto rules = rules_for(table, loser, winner);
    MBSYNC_TRY(rules);
    const auto rule =
        decided(*rules == nullptr ? UniqueRule::kAuto : (*rules)->unique_rule(unique.name), table, unique);
    if (unique.exclusion) {
      park(table, unique, loser, winner, "one of the two has to be changed");
      continue;
    }
    if (rule == UniqueRule::kMerge) {
      MBSYNC_TRY(unite(table, loser, winner, *rules));
      changed.insert(winner.key);
      continue;
    }
    if (rule == UniqueRule::kPark) {
      park(table, unique, loser, winner, "the policy leaves it to a person to change one of them");
      continue;
    }
    const auto done = give_way(table, unique, loser, winner);
    MBSYNC_TRY(done);
    if (!*done) {
      park(table, unique, loser, winner, "neither can be given another");
    }
  }
  return !changed.empty();
}

// What the highest policy among the writes of both rows says (CONFLICTS.md C11, C19).
Result<const TableRules*> Repair::rules_for(const Table& table, const Claim& one, const Claim& other) {
  const auto highest =
      db_.exec(fmt::format("SELECT coalesce(max(c.policy), 0) FROM mbsync.change c WHERE c.tab = {} AND ({} OR {})",
                           table.id, has_key("c", db_.quote(one.key)), has_key("c", db_.quote(other.key))));
  MBSYNC_TRY(highest);
  return schema_.rules->find((*highest)[0][0].as<PolicyVersion>(), table);
}

// Neither row can be changed: the one that has come waits.
void Repair::park(const Table& table, const UniqueKey& unique, const Claim& loser, const Claim& winner,
                  const std::string& reason) {
  const auto& waits = brought_in_.contains({table.id, loser.key}) ? winner.key : loser.key;
  set_aside({table.id, waits}, fmt::format("unique key \"{}\": row {} has the same value, and {}", unique.name,
                                           waits == loser.key ? winner.key : loser.key, reason));
}

Result<bool> Repair::give_way(const Table& table, const UniqueKey& unique, Claim& loser, Claim& winner) {
  constexpr int kDigits[] = {4, 8, 16, 32};  // behind NULL as well, where NULLs are not distinct
  std::string column;
  std::string value;
  std::string rule;
  for (const auto& way : ways_out(table, unique)) {
    const auto& name = way.column->name;
    if (way.kind == WayOut::Kind::kSuffix) {
      const auto tries = suffixes_[{table.id, loser.key, name}];
      if (tries == std::ssize(kDigits)) {
        continue;
      }
      const auto digits = kDigits[tries];
      const int room = room_of(*way.column);
      if (room != 0 && room < digits + 2) {
        continue;
      }
      rule = "unique-suffix";
      const auto own = fmt::format("v{}", table.index_of(name) + 1);
      value = fmt::format("coalesce({}, '') || '~' || left(md5(m_key), {})",
                          room == 0 ? own : fmt::format("left({}, {})", own, room - digits - 1), digits);
    } else if (way.kind == WayOut::Kind::kFlag) {
      rule = "unique-flag";
      value = "false";
    } else {
      rule = "unique-null";
      value = "NULL";
    }
    column = name;
    break;
  }
  if (column.empty()) {
    return false;
  }
  ++suffixes_[{table.id, loser.key, column}];
  MBSYNC_TRY(db_.exec(fmt::format("UPDATE {} SET v{} = {} WHERE m_key = {}", stage(table).name,
                                  table.index_of(column) + 1, value, db_.quote(loser.key))));
  const auto after = staged_values(table, loser.key);
  MBSYNC_TRY(after);
  ConflictRecord entry;
  entry.kind = "unique";
  entry.schema = table.schema;
  entry.table = table.name;
  entry.key = loser.key;
  entry.versions = {winner.version, loser.version};
  entry.columns.push_back(ConflictColumn{column, rule, std::nullopt, after->at(column)});
  entry.is_open = rule == "unique-null";
  record(std::move(entry));
  MBSYNC_TRY(note(table, loser.key, 'U', changed_flags(table, {column}),
                  Deletion{loser.version.node, loser.version.counter, loser.version.at, "", ""}));
  return true;
}

Result<bool> Repair::mend(const Edge& edge) {
  MBSYNC_TRY(stage_children(edge));
  auto keys = dangling(edge);
  MBSYNC_TRY(keys);
  // What these refer to comes back, for others as well.
  std::stable_partition(keys->begin(), keys->end(), [&](const std::string& key) {
    return pinned_.contains({edge.child->id, key});
  });
  bool changed = false;
  const auto pinned = pinned_.size();
  for (const auto& key : *keys) {
    if (pinned_.size() != pinned) {  // a row has come back meanwhile, perhaps the very one
      const auto still = dangling(edge, &key);
      MBSYNC_TRY(still);
      if (still->empty()) {
        continue;
      }
    }
    const auto deletion = find_deletion(edge, key);
    MBSYNC_TRY(deletion);
    if (*deletion) {
      MBSYNC_TRY(apply_action(edge, key, **deletion));
      changed = true;
      continue;
    }
    const auto followed = follow(edge, key);
    MBSYNC_TRY(followed);
    if (*followed) {
      changed = true;
      continue;
    }
    const auto unchecked = find_unchecked(edge, key);
    MBSYNC_TRY(unchecked);
    const auto& columns = edge.reference->columns;
    const bool may_be_null = edge.reference->on_delete_columns.empty() &&
                             std::none_of(columns.begin(), columns.end(),
                                          [&](const std::string& name) { return edge.child->find(name)->not_null; });
    if (*unchecked && (may_be_null || (*unchecked)->by_deletions)) {
      MBSYNC_TRY(may_be_null ? set_columns(edge, key, (*unchecked)->cause, false, kNoSuchRow)
                             : remove(edge, key, (*unchecked)->cause, kNoSuchRow));
      changed = true;
      continue;
    }
    set_aside({edge.child->id, key}, fmt::format("it refers to a row of {} that is not here (constraint \"{}\")",
                                                 edge.parent->display(), edge.reference->name));
  }
  return changed;
}

// A reference that is known from a deletion's image alone may never have been checked: where the constraint is checked
// at the end of a transaction, a row may be given one that leads nowhere and be deleted again. If somebody else's write
// brings the row back, the image counts (CONFLICTS.md C6). Then this is the deletion. Nor has anybody checked a
// reference of several columns that come from different writes.
Result<std::optional<Repair::Unchecked>> Repair::find_unchecked(const Edge& edge, const std::string& child_key) {
  std::string mask(edge.child->width, '0');
  for (const auto& column : edge.reference->columns) {
    mask[edge.child->find(column)->number] = '1';
  }
  // A row that had to come back for others is as its deletion found it, whatever else is known of it.
  const bool came_back = pinned_.contains({edge.child->id, child_key});
  const auto writes = db_.exec(fmt::format(
      "SELECT c.origin, c.counter, {}, {}, count(*) OVER () FROM mbsync.change c WHERE c.tab = {} AND {} AND "
      "position(B'1' IN c.cols & B'{}') > 0 ORDER BY {}c.at DESC, c.origin DESC, c.counter DESC LIMIT 1",
      micros_of("c.at"), came_back ? "c.deleted" : "bool_and(c.deleted) OVER ()", edge.child->id,
      has_key("c", db_.quote(child_key)), mask, came_back ? "c.deleted DESC, " : ""));
  MBSYNC_TRY(writes);
  const bool by_deletions = !writes->empty() && (*writes)[0][3].as<bool>();
  const bool by_several =
      !writes->empty() && edge.reference->columns.size() > 1 && (*writes)[0][4].as<std::int64_t>() > 1;
  if (!by_deletions && !by_several) {
    return std::optional<Unchecked>();
  }
  const auto& row = (*writes)[0];
  return std::optional<Unchecked>({Deletion{to_string(NodeId{row[0].as<std::int64_t>()}), row[1].as<std::int64_t>(),
                                            time_of(row[2]), child_key, ""},
                                   by_deletions});
}

// Rows of the application's that refer to what is about to go or to change its value, and are not staged themselves.
Result<void> Repair::stage_children(const Edge& edge) {
  const auto& child = *edge.child;
  const auto& parent = *edge.parent;
  const TableSql child_sql(child);
  std::string moves;
  for (const auto& column : edge.reference->referenced) {
    moves +=
        fmt::format(" OR p.{} IS DISTINCT FROM {}", PgConnection::quote_name(column), staged_of("ps", parent)(column));
  }
  const auto which = fmt::format(
      "FROM {} ps JOIN {} p ON {} JOIN {} t ON {} WHERE NOT ps.m_held AND (ps.m_deleted IS TRUE{}) AND NOT EXISTS "
      "(SELECT FROM {} cs WHERE {})",
      stage(parent).name, parent.quoted(), TableSql(parent).key_match("p", "ps.m_key"), child.quoted(),
      equal_columns(*edge.reference, &parent, of("t"), of("p")), moves, stage(child).name,
      child_sql.key_match("t", "cs.m_key"));
  MBSYNC_TRY(bring_in(child, which, parent.id, "ps.m_key"));
  if (!skip_held_) {
    return {};
  }
  // What the application holds is still there: then the parent's turn comes later.
  const auto waiting = db_.exec("SELECT DISTINCT ps.m_key " + which);
  MBSYNC_TRY(waiting);
  for (const auto& row : *waiting) {
    set_aside({parent.id, row[0].c_str()}, "");
  }
  return {};
}

// Whether what `child` refers to will be there.
std::string Repair::has_parent(const Edge& edge, const NameColumn& child) const {
  const auto& parent = *edge.parent;
  return fmt::format(
      "(EXISTS (SELECT FROM {0} ps WHERE ps.m_deleted IS NOT TRUE AND NOT ps.m_held AND {1}) OR EXISTS (SELECT FROM "
      "{2} "
      "p WHERE {3} AND NOT EXISTS (SELECT FROM {0} ps WHERE NOT ps.m_held AND {4})))",
      stage(parent).name, equal_columns(*edge.reference, &parent, child, staged_of("ps", parent)), parent.quoted(),
      equal_columns(*edge.reference, &parent, child, of("p")), TableSql(parent).key_match("p", "ps.m_key"));
}

// Staged rows whose parent will not be there.
Result<std::vector<std::string>> Repair::dangling(const Edge& edge, const std::string* only) {
  const auto own = staged_of("s", *edge.child);
  const auto rows = db_.exec(
      fmt::format("SELECT s.m_key FROM {} s WHERE {} AND s.m_deleted IS NOT TRUE AND NOT s.m_held AND {} AND {} AND "
                  "NOT {} ORDER BY s.m_key",
                  stage(*edge.child).name, only == nullptr ? "true" : "s.m_key = " + db_.quote(*only),
                  all_present(*edge.reference, own),
                  edge.reference->validated ? "true" : may_have_written(stage(*edge.child), edge.reference->columns),
                  has_parent(edge, own)));
  MBSYNC_TRY(rows);
  std::vector<std::string> keys;
  for (const auto& row : *rows) {
    keys.emplace_back(row[0].c_str());
  }
  return keys;
}

// The write that deleted the row which a staged row refers to; of several, the latest.
Result<std::optional<Repair::Deletion>> Repair::find_deletion(const Edge& edge, const std::string& child_key) {
  const auto& parent = *edge.parent;
  const auto& reference = *edge.reference;
  const auto own = staged_of("s", *edge.child);
  // Deleted here, a moment ago, because something else was.
  std::vector<std::string> image(parent.width - 1, "NULL");
  for (std::size_t i = 0; i < parent.columns.size(); ++i) {
    image[parent.columns[i].number - 1] = fmt::format("ps.v{}", i + 1);
  }
  const auto own_deletion = db_.exec(fmt::format(
      "SELECT r.node, r.counter, r.at_us, ps.m_key, ROW({})::text FROM {} ps JOIN pg_temp.repaired r ON r.tab = {} AND "
      "r.key = ps.m_key AND r.op = 'D', {} s WHERE ps.m_deleted AND s.m_key = {} AND {} LIMIT 1",
      fmt::join(image, ", "), stage(parent).name, parent.id, stage(*edge.child).name, db_.quote(child_key),
      equal_columns(reference, &parent, own, staged_of("ps", parent))));
  MBSYNC_TRY(own_deletion);
  if (!own_deletion->empty()) {
    const auto& row = (*own_deletion)[0];
    return std::optional<Deletion>(
        Deletion{row[0].c_str(), row[1].as<std::int64_t>(), time_of(row[2]), row[3].c_str(), row[4].c_str()});
  }
  std::string condition;
  std::vector<std::string> wanted;  // texts of the referenced columns, where they are not the key
  const bool by_key = same_columns(reference.referenced, key_names(parent));
  if (by_key) {
    std::string columns;
    for (std::size_t i = 0; i < reference.columns.size(); ++i) {
      columns +=
          fmt::format("{}{}::{} AS {}", i == 0 ? "" : ", ", own(reference.columns[i]),
                      parent.find(reference.referenced[i])->type, PgConnection::quote_name(reference.referenced[i]));
    }
    const auto key =
        db_.exec(fmt::format("SELECT {} FROM (SELECT {} FROM {} s WHERE s.m_key = {}) x",
                             TableSql(parent).key_text("x"), columns, stage(*edge.child).name, db_.quote(child_key)));
    MBSYNC_TRY(key);
    condition = has_key("c", fmt::format("{} COLLATE \"C\"", db_.quote((*key)[0][0].c_str())));
  } else {
    condition = "true";
    for (const auto& column : reference.columns) {
      const auto value = db_.exec(fmt::format("SELECT concat({}) FROM {} s WHERE s.m_key = {}", own(column),
                                              stage(*edge.child).name, db_.quote(child_key)));
      MBSYNC_TRY(value);
      wanted.emplace_back((*value)[0][0].c_str());
    }
  }
  const auto rows = db_.exec(fmt::format(
      "SELECT c.origin, c.counter, {}, c.key, c.kept, c.sums FROM mbsync.change c WHERE c.tab = {} AND c.deleted AND "
      "c.kept IS NOT NULL AND {} ORDER BY c.at DESC, c.origin DESC, c.counter DESC LIMIT {}",
      micros_of("c.at"), parent.id, condition, by_key ? 1 : kDeletionsMax));
  MBSYNC_TRY(rows);
  for (const auto& row : *rows) {
    if (!by_key) {
      const auto fields = parse_record(row[4].c_str());
      MBSYNC_TRY(fields);
      bool same = true;
      for (std::size_t i = 0; i < wanted.size(); ++i) {
        const auto number = parent.find(reference.referenced[i])->number;
        same = same && number <= fields->size() && (*fields)[number - 1] == wanted[i];
      }
      if (!same) {
        continue;
      }
    }
    auto kept = image_now(parent, row[3].c_str(), row[4].c_str(), row[5].is_null() ? "{}" : row[5].c_str());
    MBSYNC_TRY(kept);
    return std::optional<Deletion>(Deletion{to_string(NodeId{row[0].as<std::int64_t>()}), row[1].as<std::int64_t>(),
                                            time_of(row[2]), row[3].c_str(), std::move(*kept)});
  }
  return std::optional<Deletion>();
}

// What has been added to the row since it was deleted is part of it when it comes back (CONFLICTS.md C16). `included`:
// what the image has of it already, as in mbsync.change.sums.
Result<std::string> Repair::image_now(const Table& table, const std::string& key, const std::string& image,
                                      const std::string& included) {
  const auto sums = db_.exec(
      fmt::format("SELECT k.number, (sum(k.shown) - coalesce(({0}::json ->> k.number::text)::numeric, 0))::text FROM "
                  "mbsync.counter k WHERE k.tab = {1} AND {2} GROUP BY k.number",
                  db_.quote(included), table.id, has_key("k", db_.quote(key))));
  MBSYNC_TRY(sums);
  if (sums->empty()) {
    return image;
  }
  auto fields = parse_record(image);
  MBSYNC_TRY(fields);
  for (const auto& row : *sums) {
    const auto place = row[0].as<std::size_t>() - 1;
    if (place < fields->size()) {
      Values value{{kRowMark, (*fields)[place]}};
      add_sums(value, Sums{{kRowMark, Decimal::parse(row[1].c_str()).value_or(Decimal())}});
      (*fields)[place] = value.at(kRowMark);
    }
  }
  return format_record(*fields);
}

// The parent is still there under another value: the reference follows it, as ON UPDATE CASCADE would have it.
Result<bool> Repair::follow(const Edge& edge, const std::string& child_key) {
  const auto& child = *edge.child;
  const auto& parent = *edge.parent;
  std::string assignments;
  for (std::size_t i = 0; i < edge.reference->columns.size(); ++i) {
    const auto place = child.index_of(edge.reference->columns[i]);
    const auto value = staged_of("ps", parent)(edge.reference->referenced[i]);
    assignments += fmt::format("{}v{} = {}{}", i == 0 ? "" : ", ", place + 1, value,
                               child.columns[place].user_type ? "::text" : "");
  }
  const auto moved = db_.exec(fmt::format(
      "UPDATE {} s SET {} FROM {} ps JOIN {} p ON {} WHERE s.m_key = {} AND ps.m_deleted IS NOT TRUE AND NOT ps.m_held "
      "AND "
      "{} RETURNING (SELECT max({}) FROM mbsync.change c WHERE c.tab = {} AND {})",
      stage(child).name, assignments, stage(parent).name, parent.quoted(), TableSql(parent).key_match("p", "ps.m_key"),
      db_.quote(child_key), equal_columns(*edge.reference, &parent, staged_of("s", child), of("p")), micros_of("c.at"),
      parent.id, has_key("c", "ps.m_key")));
  MBSYNC_TRY(moved);
  if (moved->empty()) {
    return false;
  }
  MBSYNC_TRY(note(child, child_key, 'U', changed_flags(child, edge.reference->columns),
                  Deletion{"", 0, time_of((*moved)[0][0]), "", ""}));
  return true;
}

// What the schema says should happen to rows that refer to a deleted one (CONFLICTS.md C20).
Result<void> Repair::apply_action(const Edge& edge, const std::string& child_key, const Deletion& deletion) {
  const auto& reference = *edge.reference;
  const auto& list = reference.on_delete_columns.empty() ? reference.columns : reference.on_delete_columns;
  const auto united = united_with(*edge.parent, deletion, {edge.child->id, child_key});
  MBSYNC_TRY(united);
  if (*united) {
    return refer_to(edge, child_key, **united, deletion);
  }
  // A row that has to be there for others keeps what it refers to, as a deletion that cascades into a RESTRICT fails
  // whole.
  if (pinned_.contains({edge.child->id, child_key}) || refuses_deletion(edge)) {
    return revive(*edge.parent, deletion, "restrict");
  }
  if (reference.on_delete == 'c') {
    return remove(edge, child_key, deletion, kCascade);
  }
  if (reference.on_delete == 'n') {
    return set_columns(edge, child_key, deletion, false, "set-null");
  }
  // The default must lead to a row that is there. A deletion that would set another default is refused as well.
  const auto own = staged_of("s", *edge.child);
  const NameColumn by_default = [&](const std::string& name) {
    const auto* column = edge.child->find(name);
    if (std::find(list.begin(), list.end(), name) == list.end()) {
      return own(name);
    }
    return column->default_value.empty() ? fmt::format("NULL::{}", column->type)
                                         : fmt::format("({})::{}", column->default_value, column->type);
  };
  const auto leads =
      db_.exec(fmt::format("SELECT {} AND NOT {} FROM {} s WHERE s.m_key = {}", all_present(reference, by_default),
                           has_parent(edge, by_default), stage(*edge.child).name, db_.quote(child_key)));
  MBSYNC_TRY(leads);
  return (*leads)[0][0].as<bool>() ? revive(*edge.parent, deletion, "restrict")
                                   : set_columns(edge, child_key, deletion, true, "set-default");
}

// What went because `cause` was deleted is taken back, and what went because of that.
Result<void> Repair::take_back_cascades(const RowKey& cause) {
  const auto [from, to] = cascades_.equal_range(cause);
  std::vector<RowKey> gone;
  std::transform(from, to, std::back_inserter(gone), [](const auto& entry) { return entry.second; });
  cascades_.erase(from, to);
  for (const auto& row : gone) {
    MBSYNC_TRY(take_back(row));
  }
  return {};
}

// A row that went a moment ago, because what it refers to is deleted, does not go after all. Whether there was such a
// row.
Result<bool> Repair::take_back(const RowKey& row) {
  const auto& [tab, key] = row;
  const auto& table = *schema_.find(tab);
  const auto went = std::erase_if(records_, [&, &key = key](const auto& known) {
    const auto& entry = known.second;
    return entry.schema == table.schema && entry.table == table.name && entry.key == key &&
           entry.existence_rule == kCascade;
  });
  if (went == 0) {
    return false;
  }
  MBSYNC_TRY(db_.exec(fmt::format(
      "DELETE FROM pg_temp.repaired WHERE tab = {0} AND key = {1} AND op = 'D'; UPDATE {2} SET m_deleted = false WHERE "
      "m_key = {1}",
      tab, db_.quote(key), stage(table).name)));
  MBSYNC_TRY(take_back_cascades(row));
  return true;
}

// The deleted row comes back as it was.
Result<void> Repair::revive(const Table& parent, const Deletion& deletion, const std::string& rule) {
  // A deletion that is refused is refused with all that would come of it.
  MBSYNC_TRY(take_back_cascades({parent.id, deletion.key}));
  const auto taken_back = take_back({parent.id, deletion.key});
  MBSYNC_TRY(taken_back);
  if (*taken_back) {
    pinned_.emplace(parent.id, deletion.key);  // so what it refers to comes back in turn
    return {};
  }
  auto fields = parse_record(deletion.image);
  MBSYNC_TRY(fields);
  std::vector<Value> line{deletion.key, std::string("f")};
  std::string columns = "m_key, m_deleted";
  Json image = Json::object();
  for (std::size_t i = 0; i < parent.columns.size(); ++i) {
    const auto number = parent.columns[i].number;
    auto value = number <= fields->size() ? (*fields)[number - 1] : Value();
    image[parent.columns[i].name] = value ? Json(*value) : Json();
    columns += fmt::format(", v{}", i + 1);
    line.push_back(std::move(value));
  }
  MBSYNC_TRY(db_.exec(fmt::format("DELETE FROM {} WHERE m_key = {}", stage(parent).name, db_.quote(deletion.key))));
  std::string text;
  append_copy_line(text, line);
  MBSYNC_TRY(db_.copy_in_begin(fmt::format("COPY {} ({}) FROM STDIN", stage(parent).name, columns)));
  MBSYNC_TRY(db_.copy_in(text));
  MBSYNC_TRY(db_.copy_in_end());
  // What was deleted a moment ago because of something else is not deleted after all, and that comes back as well.
  MBSYNC_TRY(db_.exec(
      fmt::format("DELETE FROM pg_temp.repaired WHERE tab = {} AND key = {}", parent.id, db_.quote(deletion.key))));
  pinned_.emplace(parent.id, deletion.key);
  MBSYNC_TRY(note(parent, deletion.key, 'I', "", deletion));
  ConflictRecord entry;
  entry.kind = "reference";
  entry.schema = parent.schema;
  entry.table = parent.name;
  entry.key = deletion.key;
  entry.versions.push_back(ConflictVersion{deletion.node, deletion.counter, deletion.at, true, {}, image});
  entry.exists = true;
  entry.existence_rule = rule;
  record(std::move(entry));
  return {};
}

Result<void> Repair::remove(const Edge& edge, const std::string& child_key, const Deletion& deletion,
                            const std::string& rule) {
  const auto& child = *edge.child;
  auto version = latest_version(child, child_key);
  MBSYNC_TRY(version);
  ConflictRecord entry;
  entry.kind = "reference";
  entry.schema = child.schema;
  entry.table = child.name;
  entry.key = child_key;
  entry.versions.push_back(std::move(*version));
  entry.versions.push_back(ConflictVersion{deletion.node, deletion.counter, deletion.at, true, {}, Json::object()});
  entry.exists = false;
  entry.existence_rule = rule;
  entry.existence_version = 1;
  record(std::move(entry));
  if (rule == kCascade) {
    cascades_.emplace(RowKey{edge.parent->id, deletion.key}, RowKey{child.id, child_key});
  }
  MBSYNC_TRY(note(child, child_key, 'D', "", deletion));
  return db_.run(
      fmt::format("UPDATE {} SET m_deleted = true WHERE m_key = {}", stage(child).name, db_.quote(child_key)));
}

Result<void> Repair::set_columns(const Edge& edge, const std::string& child_key, const Deletion& deletion,
                                 bool to_default, const std::string& rule) {
  const auto& child = *edge.child;
  const auto& reference = *edge.reference;
  const auto& list = reference.on_delete_columns.empty() ? reference.columns : reference.on_delete_columns;
  auto version = latest_version(child, child_key);
  MBSYNC_TRY(version);
  const auto before = version->values;
  version->values = Json::object();
  std::string assignments;
  for (const auto& name : list) {
    const auto& column = *child.find(name);
    const bool has_default = to_default && !column.default_value.empty();
    const auto value = has_default ? fmt::format("({})::{}", column.default_value, column.type) : std::string("NULL");
    assignments += fmt::format("{}v{} = {}{}", assignments.empty() ? "" : ", ", child.index_of(name) + 1, value,
                               has_default && column.user_type ? "::text" : "");
    version->values[name] = before.at(name);
  }
  MBSYNC_TRY(db_.exec(
      fmt::format("UPDATE {} s SET {} WHERE s.m_key = {}", stage(child).name, assignments, db_.quote(child_key))));
  const auto after = staged_values(child, child_key);
  MBSYNC_TRY(after);
  ConflictRecord entry;
  entry.kind = "reference";
  entry.schema = child.schema;
  entry.table = child.name;
  entry.key = child_key;
  entry.versions.push_back(std::move(*version));
  entry.versions.push_back(ConflictVersion{deletion.node, deletion.counter, deletion.at, true, {}, Json::object()});
  for (const auto& name : list) {
    entry.columns.push_back(ConflictColumn{name, rule, std::nullopt, after->at(name)});
  }
  record(std::move(entry));
  return note(child, child_key, 'U', changed_flags(child, list), deletion);
}

Result<void> Repair::note(const Table& table, const std::string& key, char op, const std::string& cols,
                          const Deletion& cause) {
  return db_.run(fmt::format("INSERT INTO pg_temp.repaired VALUES ({}, '{}', {}, {}, {}, {}, {})", table.id, op,
                             db_.quote(key), cols.empty() ? "NULL" : db_.quote(cols),
                             cause.at == kTimeUnknown ? "NULL" : std::to_string(cause.at.micros), db_.quote(cause.node),
                             cause.counter));
}

// One row may be mended several times because of the same writes: it has two references to a row that is gone, or two
// unique values of another row. That is one conflict, with all columns concerned. Values are those before the first
// time.
void Repair::record(ConflictRecord entry) {
  const auto [place, fresh] = records_.try_emplace(entry.signature(), entry);
  if (fresh) {
    return;
  }
  auto& known = place->second;
  for (std::size_t i = 0; i < known.versions.size(); ++i) {
    known.versions[i].values.insert(entry.versions[i].values.begin(), entry.versions[i].values.end());
  }
  for (auto& column : entry.columns) {
    std::erase_if(known.columns, [&](const ConflictColumn& other) { return other.name == column.name; });
    known.columns.push_back(std::move(column));
  }
  if (!entry.existence_rule.empty()) {
    known.exists = entry.exists;
    known.existence_rule = entry.existence_rule;
    known.existence_version = entry.existence_version;
  }
  known.is_open = known.is_open || entry.is_open;
}

Result<void> Repair::store_records() {
  std::string text;
  for (const auto& [signature, entry] : records_) {
    append_copy_line(text, entry.line());
  }
  records_.clear();
  MBSYNC_TRY(db_.copy_in_begin("COPY pg_temp.new_conflict FROM STDIN"));
  MBSYNC_TRY(db_.copy_in(text));
  MBSYNC_TRY(db_.copy_in_end());
  return {};
}

Result<Json> Repair::staged_values(const Table& table, const std::string& key) {
  std::string list;
  for (std::size_t i = 0; i < table.columns.size(); ++i) {
    list += fmt::format("{}CASE WHEN num_nulls(s.v{}) = 0 THEN concat(s.v{}) END", i == 0 ? "" : ", ", i + 1, i + 1);
  }
  const auto row =
      db_.exec(fmt::format("SELECT {} FROM {} s WHERE s.m_key = {}", list, stage(table).name, db_.quote(key)));
  MBSYNC_TRY(row);
  Json values = Json::object();
  for (std::size_t i = 0; i < table.columns.size(); ++i) {
    const auto field = (*row)[0][static_cast<int>(i)];
    values[table.columns[i].name] = field.is_null() ? Json() : Json(field.c_str());
  }
  return values;
}

Result<ConflictVersion> Repair::latest_version(const Table& table, const std::string& key) {
  auto values = staged_values(table, key);
  MBSYNC_TRY(values);
  const auto write = db_.exec(
      fmt::format("SELECT c.origin, c.counter, {} FROM mbsync.change c WHERE c.tab = {} AND {} ORDER BY c.at DESC, "
                  "c.origin DESC, c.counter DESC LIMIT 1",
                  micros_of("c.at"), table.id, has_key("c", db_.quote(key))));
  MBSYNC_TRY(write);
  ConflictVersion version{"fleet", 0, kTimeUnknown, false, {}, std::move(*values)};
  if (!write->empty()) {
    version.node = to_string(NodeId{(*write)[0][0].as<std::int64_t>()});
    version.counter = (*write)[0][1].as<std::int64_t>();
    version.at = time_of((*write)[0][2]);
  }
  return version;
}

Result<std::int64_t> Repair::capture() {
  std::int64_t rows = 0;
  for (const auto& [id, entry] : staged_) {
    const TableSql sql(*entry.table);
    std::vector<std::string> image(entry.table->width - 1, "NULL");
    for (std::size_t i = 0; i < entry.table->columns.size(); ++i) {
      image[entry.table->columns[i].number - 1] = fmt::format("s.v{}", i + 1);
    }
    const auto captured = db_.exec(fmt::format(
        "INSERT INTO mbsync.capture (tab, op, key, cols, at, image) SELECT r.tab, r.op, r.key, r.cols, coalesce("
        "'epoch'::timestamptz + r.at_us * interval '1 microsecond', '-infinity'), CASE WHEN r.op = 'D' THEN "
        "ROW({})::text END FROM pg_temp.repaired r LEFT JOIN {} s ON s.m_key = r.key WHERE r.tab = {} AND (r.op = 'T' "
        "OR s.m_key IS NOT NULL)",
        fmt::join(image, ", "), entry.name, id));
    MBSYNC_TRY(captured);
    rows += static_cast<std::int64_t>(captured->affected_rows());
  }
  return rows;
}

}  // namespace mbsync
