// Two rows that become one (CONFLICTS.md C19): what refers to the one that goes is made to refer to the one that stays.
#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "change_sql.h"
#include "reference_sql.h"
#include "repair.h"
#include "table_sql.h"

namespace mbsync {
namespace {

using Json = nlohmann::json;

// Rows that became one with others that became one with others: no real chain comes near this.
constexpr int kChainMax = 100;
constexpr const char* kUnited = "unique-merge";

// Columns that stay together are taken over together (CONFLICTS.md C12).
bool whole_group_is_null(const Table& table, std::size_t place, const Json& values, const TableRules* rules) {
  if (rules == nullptr) {
    return true;
  }
  const auto& groups = rules->row.groups;
  return std::all_of(groups.begin(), groups.end(), [&](const ColumnSet& group) {
    return !group.contains(table.columns[place].number) ||
           std::all_of(table.columns.begin(), table.columns.end(), [&](const Column& column) {
             return !group.contains(column.number) || values.at(column.name).is_null();
           });
  });
}

}  // namespace

Result<void> Repair::unite(const Table& table, const Claim& loser, const Claim& winner, const TableRules* rules) {
  const Deletion cause{loser.version.node, loser.version.counter, loser.version.at, loser.key, ""};
  const auto kept = staged_values(table, winner.key);
  MBSYNC_TRY(kept);
  auto gone = staged_values(table, loser.key);
  MBSYNC_TRY(gone);
  // What only the row that goes has is not lost.
  std::vector<std::string> taken;
  std::string assignments;
  for (std::size_t i = 0; i < table.columns.size(); ++i) {
    const auto& name = table.columns[i].name;
    if (kept->at(name).is_null() && !gone->at(name).is_null() && whole_group_is_null(table, i, *kept, rules)) {
      taken.push_back(name);
      assignments += fmt::format("{}v{} = g.v{}", assignments.empty() ? "" : ", ", i + 1, i + 1);
    }
  }
  const auto& stage_name = stage(table).name;
  // A row that took another's place is there to stay: whoever deletes it without knowing deletes less than it now is.
  MBSYNC_TRY(note(table, winner.key, 'T', changed_flags(table, {}), cause));
  if (!taken.empty()) {
    MBSYNC_TRY(db_.exec(fmt::format("UPDATE {0} s SET {1} FROM {0} g WHERE s.m_key = {2} AND g.m_key = {3}", stage_name,
                                    assignments, db_.quote(winner.key), db_.quote(loser.key))));
    MBSYNC_TRY(note(table, winner.key, 'U', changed_flags(table, taken), cause));
  }
  for (const auto& edge : edges()) {
    if (edge.parent == &table) {
      const auto moved = move_children(edge, loser.key, winner.key, cause);
      MBSYNC_TRY(moved);
      if (!*moved) {
        // The application holds a row that refers to it; both wait.
        set_aside({table.id, brought_in_.contains({table.id, loser.key}) ? winner.key : loser.key}, "");
        return {};
      }
    }
  }
  MBSYNC_TRY(take_counters(table, loser.key, winner.key));
  auto entry = new_record("unique", table, loser.key);
  entry.versions = {winner.version, loser.version};
  entry.versions[0].values = *kept;
  entry.versions[1].values = std::move(*gone);
  entry.exists = false;
  entry.existence_rule = kUnited;
  entry.existence_version = 0;
  record(std::move(entry));
  MBSYNC_TRY(note(table, loser.key, 'D', "", cause));
  return db_.run(fmt::format("UPDATE {} SET m_deleted = true WHERE m_key = {}", stage_name, db_.quote(loser.key)));
}

// What was added to the row that goes counts for the one that stays (CONFLICTS.md C16), each node's share as that of an
// origin of its own: so nodes that find the union out at the same time, or one of them again with a later share, end
// with the same sum.
Result<void> Repair::take_counters(const Table& table, const std::string& from, const std::string& to) {
  const auto origin = fmt::format("('x' || left(md5({} || '|' || k.origin), 15))::bit(60)::bigint", db_.quote(from));
  const auto taken = db_.exec(fmt::format(
      "WITH shares AS (SELECT k.tab, k.number, {2} AS origin, k.counter, k.total FROM mbsync.counter k WHERE k.tab = "
      "{0} "
      "AND {3}), known AS (DELETE FROM mbsync.counter k USING shares s WHERE k.tab = {0} AND {4} AND k.number = "
      "s.number AND k.origin = s.origin AND k.counter < s.counter RETURNING k.number, k.origin, k.shown), made AS "
      "(INSERT INTO mbsync.counter (tab, key, number, origin, counter, total, shown) SELECT s.tab, {1}, s.number, "
      "s.origin, s.counter, s.total, s.total FROM shares s LEFT JOIN known o ON o.number = s.number AND o.origin = "
      "s.origin WHERE o.origin IS NOT NULL OR NOT EXISTS (SELECT FROM mbsync.counter k WHERE k.tab = {0} AND {4} AND "
      "k.number = s.number AND k.origin = s.origin) RETURNING number, origin, shown) "
      "SELECT m.number, sum(m.shown - coalesce(o.shown, 0)) FROM made m LEFT JOIN known o ON o.number = m.number AND "
      "o.origin = m.origin GROUP BY m.number",
      table.id, db_.quote(to), origin, has_key("k", db_.quote(from)), has_key("k", db_.quote(to))));
  MBSYNC_TRY(taken);
  for (const auto& row : *taken) {
    const auto number = row[0].as<ColumnNumber>();
    for (std::size_t i = 0; i < table.columns.size(); ++i) {
      if (table.columns[i].number == number) {
        MBSYNC_TRY(db_.exec(fmt::format("UPDATE {0} SET v{1} = (v{1}::numeric + {2})::{4} WHERE m_key = {3}",
                                        stage(table).name, i + 1, row[1].c_str(), db_.quote(to),
                                        table.columns[i].user_type ? "text" : table.columns[i].type)));
      }
    }
  }
  return {};
}

// The row that has taken the place of a deleted one, if the record says so, here or in the answer; and is there. Of a
// key that was used again later, only the deletion counts that was made so: it has the time of the write that lost,
// here or in the row that this one went with.
Result<std::optional<std::string>> Repair::united_with(const Table& table, const Deletion& deletion,
                                                       const RowKey& because) {
  const auto* record = schema_.internal("conflict_record");
  // An index finds those that are here already.
  const auto records_of = [&](const std::string& row_key) {
    auto from = fmt::format(
        "SELECT r.schema_name, r.table_name, r.key, r.outcome::text AS outcome, r.versions::text AS versions FROM "
        "mbsync.conflict_record r WHERE r.schema_name = {} AND r.table_name = {} AND {}",
        db_.quote(table.schema), db_.quote(table.name), has_key("r", db_.quote(row_key)));
    if (const auto news = staged_.find(record->id); news != staged_.end()) {
      const auto own = staged_of("s", *record);
      from += fmt::format(" UNION ALL SELECT {}::text, {}::text, {}::text, {}::text, {}::text FROM {} s",
                          own("schema_name"), own("table_name"), own("key"), own("outcome"), own("versions"),
                          news->second.name);
    }
    return from;
  };
  std::string current = deletion.key;
  for (int i = 0; i < kChainMax; ++i) {
    const auto at = i == 0 ? iso_time(deletion.at) : Json();
    const auto made_now = std::find_if(records_.begin(), records_.end(), [&](const auto& known) {
      const auto& entry = known.second;
      return entry.schema == table.schema && entry.table == table.name && entry.key == current &&
             entry.existence_rule == kUnited &&
             (i > 0 || std::any_of(entry.versions.begin(), entry.versions.end(),
                                   [&](const ConflictVersion& version) { return version.at == deletion.at; }));
    });
    const auto row = db_.exec(fmt::format(
        "SELECT versions::json -> 0 ->> 'key' FROM ({}) c WHERE schema_name = {} AND table_name = {} AND key = {} AND "
        "outcome::json ->> 'rule' = '{}'{} ORDER BY versions LIMIT 1",
        records_of(current), db_.quote(table.schema), db_.quote(table.name), db_.quote(current), kUnited,
        i > 0 ? ""
              : fmt::format(" AND EXISTS (SELECT FROM json_array_elements(versions::json) v WHERE v ->> 'at' IS NOT "
                            "DISTINCT FROM {})",
                            at.is_null() ? "NULL" : db_.quote(at.get<std::string>()))));
    MBSYNC_TRY(row);
    if (row->empty() && made_now == records_.end()) {
      return std::optional<std::string>();
    }
    current = row->empty() ? made_now->second.versions.front().key : (*row)[0][0].c_str();
    const auto there = stage_row(table, current, because);
    MBSYNC_TRY(there);
    const auto alive =
        db_.exec(fmt::format("SELECT EXISTS (SELECT FROM {} s WHERE s.m_key = {} AND s.m_deleted IS NOT "
                             "TRUE AND NOT s.m_held)",
                             stage(table).name, db_.quote(current)));
    MBSYNC_TRY(alive);
    if ((*alive)[0][0].as<bool>()) {
      return std::optional<std::string>(current);
    }
  }
  return std::optional<std::string>();
}

// All rows that refer to `from`, staged or not. False if the application holds one of them.
Result<bool> Repair::move_children(const Edge& edge, const std::string& from, const std::string& to,
                                   const Deletion& cause) {
  const auto& child = *edge.child;
  const auto parent = staged_of("ps", *edge.parent);
  const auto here = fmt::format(
      "FROM {} ps JOIN {} t ON {} WHERE ps.m_key = {} AND NOT EXISTS (SELECT FROM {} cs WHERE {})",
      stage(*edge.parent).name, child.quoted(), equal_columns(*edge.reference, edge.parent, of("t"), parent),
      db_.quote(from), stage(child).name, TableSql(child).key_match("t", "cs.m_key"));
  MBSYNC_TRY(bring_in(child, here, edge.parent->id, "ps.m_key"));
  if (skip_held_) {
    const auto waiting = db_.exec(fmt::format("SELECT EXISTS (SELECT {})", here));
    MBSYNC_TRY(waiting);
    if ((*waiting)[0][0].as<bool>()) {
      return false;
    }
  }
  const auto staged = db_.exec(
      fmt::format("SELECT s.m_key FROM {} s JOIN {} ps ON {} WHERE ps.m_key = {} AND s.m_deleted IS NOT TRUE AND NOT "
                  "s.m_held ORDER BY 1",
                  stage(child).name, stage(*edge.parent).name,
                  equal_columns(*edge.reference, edge.parent, staged_of("s", child), parent), db_.quote(from)));
  MBSYNC_TRY(staged);
  for (const auto& row : *staged) {
    MBSYNC_TRY(refer_to(edge, row[0].c_str(), to, cause));
  }
  return true;
}

// A staged row refers to another parent from now on. Where the reference is part of its key, that is another row, and
// the record says which, for those that refer to it in turn.
Result<void> Repair::refer_to(const Edge& edge, const std::string& child_key, const std::string& parent_key,
                              const Deletion& cause, bool on_record) {
  const auto& child = *edge.child;
  const auto& reference = *edge.reference;
  const auto parent = staged_of("ps", *edge.parent);
  const bool in_key = std::any_of(reference.columns.begin(), reference.columns.end(), [&](const std::string& name) {
    return std::find(child.key.begin(), child.key.end(), child.index_of(name)) != child.key.end();
  });
  const auto value = [&](const std::string& referring, const std::string& referenced) {
    const auto& column = *child.find(referring);
    return fmt::format("{}::{}", parent(referenced), column.user_type ? "text" : column.type);
  };
  const auto& stage_name = stage(child).name;
  auto before = latest_version(child, child_key);
  MBSYNC_TRY(before);
  auto entry = new_record("reference", child, child_key);
  if (!in_key) {
    MBSYNC_TRY(db_.exec(fmt::format("UPDATE {} s SET {} FROM {} ps WHERE s.m_key = {} AND ps.m_key = {}", stage_name,
                                    assignments_from(edge), stage(*edge.parent).name, db_.quote(child_key),
                                    db_.quote(parent_key))));
    if (!on_record) {
      return note(child, child_key, 'U', changed_flags(child, reference.columns), cause);
    }
    const auto after = staged_values(child, child_key);
    MBSYNC_TRY(after);
    const auto values = std::exchange(before->values, Json::object());
    for (const auto& name : reference.columns) {
      before->values[name] = values.at(name);
      entry.columns.push_back(ConflictColumn{name, kUnited, std::nullopt, after->at(name)});
    }
    entry.versions.push_back(std::move(*before));
    record(std::move(entry));
    return note(child, child_key, 'U', changed_flags(child, reference.columns), cause);
  }
  std::string names;
  std::string values;
  std::string columns;
  for (std::size_t i = 0; i < child.columns.size(); ++i) {
    const auto& name = child.columns[i].name;
    const auto place = std::find(reference.columns.begin(), reference.columns.end(), name);
    const auto own =
        place == reference.columns.end()
            ? fmt::format("s.v{}", i + 1)
            : value(name, reference.referenced[static_cast<std::size_t>(place - reference.columns.begin())]);
    columns += fmt::format(", v{}", i + 1);
    values += fmt::format("{}{} AS {}", i == 0 ? "" : ", ", own, PgConnection::quote_name(name));
    names += fmt::format(", x.{}", PgConnection::quote_name(name));
  }
  const auto key =
      db_.exec(fmt::format("SELECT {} FROM (SELECT {} FROM {} s, {} ps WHERE s.m_key = {} AND ps.m_key = {}) x",
                           TableSql(child).key_text("x"), values, stage_name, stage(*edge.parent).name,
                           db_.quote(child_key), db_.quote(parent_key)));
  MBSYNC_TRY(key);
  const std::string moved_key = (*key)[0][0].c_str();
  const auto there = stage_row(child, moved_key, {child.id, child_key});
  MBSYNC_TRY(there);
  MBSYNC_TRY(db_.exec(fmt::format("DELETE FROM {} WHERE m_key = {} AND m_deleted", stage_name, db_.quote(moved_key))));
  const auto inserted =
      db_.exec(fmt::format("INSERT INTO {0} (m_key, m_deleted{1}) SELECT {2}, false{3} FROM (SELECT {4} FROM {0} s, "
                           "{5} ps WHERE s.m_key = {6} "
                           "AND ps.m_key = {7}) x WHERE NOT EXISTS (SELECT FROM {0} o WHERE o.m_key = {2})",
                           stage_name, columns, db_.quote(moved_key), names, values, stage(*edge.parent).name,
                           db_.quote(child_key), db_.quote(parent_key)));
  MBSYNC_TRY(inserted);
  if (inserted->affected_rows() > 0) {
    brought_in_[{child.id, moved_key}].emplace(child.id, child_key);
    MBSYNC_TRY(note(child, moved_key, 'I', "", cause));
  }
  before->key = child_key;
  entry.versions = {ConflictVersion{cause.node, cause.counter, cause.at, false, moved_key, Json::object()},
                    std::move(*before)};
  entry.exists = false;
  entry.existence_rule = kUnited;
  entry.existence_version = 0;
  record(std::move(entry));
  MBSYNC_TRY(note(child, child_key, 'D', "", cause));
  return db_.run(fmt::format("UPDATE {} SET m_deleted = true WHERE m_key = {}", stage_name, db_.quote(child_key)));
}

}  // namespace mbsync
