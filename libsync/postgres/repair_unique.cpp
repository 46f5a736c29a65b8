// Rows with one value of a unique key (CONFLICTS.md C19): who came to it first, and what becomes of the other.
#include "repair.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>
#include <tuple>
#include <utility>

#include "change_sql.h"
#include "table_sql.h"
#include "unique_meaning.h"
#include "unique_sql.h"

namespace mbsync {
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
  Claim claim{key, ConflictVersion{"fleet", 0, kTimeUnknown, false, key, nlohmann::json::object()}, Dot{}};
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

// Whether news of the row has come that cannot be written yet: then how it stands here says nothing of what it is.
Result<bool> Repair::waits_here(const Table& table, const std::string& key) {
  const auto waits =
      db_.exec(fmt::format("SELECT EXISTS (SELECT FROM mbsync.change c WHERE c.unseen AND c.tab = {} AND {})", table.id,
                           has_key("c", db_.quote(key))));
  MBSYNC_TRY(waits);
  return (*waits)[0][0].as<bool>();
}

// Rows that have come with the value of one that waits here wait with it, and so do those that have come with theirs.
Result<void> Repair::wait_for(const Table& table, const UniqueKey& unique, std::set<std::string> waiting) {
  const auto standing = standing_entries(table, unique,
                                         fmt::format("EXISTS (SELECT FROM {} m WHERE NOT m.m_held AND {})",
                                                     stage(table).name, TableSql(table).key_match("t", "m.m_key")));
  const auto rows = db_.exec(fmt::format("SELECT b.k, a.k FROM {} a JOIN {} b ON a.k <> b.k{}",
                                         staged_entries(stage(table), unique), standing, equal_entries(unique)));
  MBSYNC_TRY(rows);
  std::multimap<std::string, std::string> after;
  for (const auto& row : *rows) {
    after.emplace(row[0].c_str(), row[1].c_str());
  }
  std::vector<std::string> open(waiting.begin(), waiting.end());
  while (!open.empty()) {
    const auto key = open.back();
    open.pop_back();
    set_aside({table.id, key}, "");
    const auto [from, to] = after.equal_range(key);
    std::for_each(from, to, [&](const auto& entry) {
      if (waiting.insert(entry.second).second) {
        open.push_back(entry.second);
      }
    });
  }
  return {};
}

// Of two rows with one value of a unique key, the one that had it first keeps it (CONFLICTS.md C19).
Result<bool> Repair::separate(const Table& table, const UniqueKey& unique) {
  const auto pairs = clashes(table, unique);
  MBSYNC_TRY(pairs);
  std::set<std::string> changed;
  std::set<std::string> waiting;
  for (const auto& [one, other] : *pairs) {
    if (changed.contains(one) || changed.contains(other)) {
      continue;  // perhaps they no longer clash; the next round tells
    }
    const auto one_staged = stage_row(table, one, {table.id, other});
    MBSYNC_TRY(one_staged);
    const auto other_staged = stage_row(table, other, {table.id, one});
    MBSYNC_TRY(other_staged);
    if (!*one_staged || !*other_staged) {
      waiting.insert(*one_staged ? one : other);
      continue;
    }
    const auto one_waits = waits_here(table, one);
    MBSYNC_TRY(one_waits);
    const auto other_waits = waits_here(table, other);
    MBSYNC_TRY(other_waits);
    if (*one_waits || *other_waits) {
      waiting.insert(*one_waits ? other : one);
      continue;
    }
    auto first = claim_of(table, unique, one);
    MBSYNC_TRY(first);
    auto second = claim_of(table, unique, other);
    MBSYNC_TRY(second);
    auto& winner = *second < *first ? *second : *first;
    auto& loser = *second < *first ? *first : *second;
    const auto rules = rules_for(table, loser, winner);
    MBSYNC_TRY(rules);
    const auto rule =
        decided(*rules == nullptr ? UniqueRule::kAuto : (*rules)->unique_rule(unique.name), table, unique);
    std::string reason = unique.of_rows              ? "one of the two has to be deleted, or get another key"
                         : unique.exclusion          ? "one of the two has to be changed"
                         : rule == UniqueRule::kPark ? "the policy leaves it to a person to change one of them"
                                                     : "";
    if (reason.empty() && rule == UniqueRule::kMerge) {
      MBSYNC_TRY(unite(table, loser, winner, *rules));
      changed.insert({loser.key, winner.key});
      continue;
    }
    if (reason.empty()) {
      const auto done = give_way(table, unique, loser, winner);
      MBSYNC_TRY(done);
      if (*done) {
        changed.insert(loser.key);
        continue;
      }
      reason = "neither can be given another";
    }
    const auto waits = park(table, unique, loser, winner, reason);
    MBSYNC_TRY(waits);
    changed.insert(*waits);
  }
  if (!waiting.empty()) {
    MBSYNC_TRY(wait_for(table, unique, waiting));
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

// Neither row can be changed: the one that has come waits, or else the one that does not stand here with this value
// yet. Its key is returned.
Result<std::string> Repair::park(const Table& table, const UniqueKey& unique, const Claim& loser, const Claim& winner,
                                 const std::string& reason) {
  const auto stands = db_.exec(fmt::format(
      "SELECT EXISTS (SELECT FROM {} a JOIN {} b ON true{} WHERE a.k = {})", staged_entries(stage(table), unique),
      standing_entries(table, unique, TableSql(table).key_match("t", db_.quote(loser.key))), equal_entries(unique),
      db_.quote(winner.key)));
  MBSYNC_TRY(stands);
  const bool winner_waits = (*stands)[0][0].as<bool>() || brought_in_.contains({table.id, loser.key});
  const auto& waits = winner_waits ? winner.key : loser.key;
  const auto& stays = winner_waits ? loser.key : winner.key;
  record_clash(table, unique, loser, winner);
  set_aside({table.id, waits},
            fmt::format("unique key \"{}\": row {} has the same value, and {}", unique.name, stays, reason));
  return waits;
}

// Whichever of the two waits on a node, the conflict is the same on all.
void Repair::record_clash(const Table& table, const UniqueKey& unique, const Claim& loser, const Claim& winner) {
  auto entry = new_record("unique", table, loser.key);
  entry.versions = {winner.version, loser.version};
  for (const auto& column : unique.columns) {
    entry.columns.push_back(ConflictColumn{column, "unique-park", 1, loser.version.values.at(column)});
  }
  entry.is_open = true;
  clashes_.push_back(std::move(entry));
}

// Rows that have come with the one that gives way, and refer to it by the value that it loses. Where that one stands
// here with this value, the rows that stand here refer to it; they follow as they would follow any other change of it.
Result<std::vector<std::pair<Repair::Edge, std::string>>> Repair::refer_to_arrived(const Table& parent,
                                                                                   const std::string& key,
                                                                                   const std::string& column) {
  std::vector<std::pair<Edge, std::string>> all;
  for (const auto& edge : edges()) {
    const auto& reference = *edge.reference;
    const auto& names = reference.referenced;
    if (edge.parent != &parent || std::find(names.begin(), names.end(), column) == names.end()) {
      continue;
    }
    const auto refers = [&](const NameColumn& child) {
      return equal_columns(reference, &parent, child, staged_of("ps", parent));
    };
    const auto rows = db_.exec(fmt::format(
        "SELECT s.m_key FROM {0} ps JOIN {1} s ON {2} WHERE ps.m_key = {3} AND s.m_deleted IS NOT TRUE AND NOT "
        "s.m_held "
        "AND NOT EXISTS (SELECT FROM {4} t WHERE {5} AND {6}) AND NOT EXISTS (SELECT FROM {7} p WHERE {8} AND {9})",
        stage(parent).name, stage(*edge.child).name, refers(staged_of("s", *edge.child)), db_.quote(key),
        edge.child->quoted(), TableSql(*edge.child).key_match("t", "s.m_key"), refers(of("t")), parent.quoted(),
        TableSql(parent).key_match("p", "ps.m_key"),
        equal_columns(reference, &parent, staged_of("s", *edge.child), of("p"))));
    MBSYNC_TRY(rows);
    for (const auto& row : *rows) {
      all.emplace_back(edge, row[0].c_str());
    }
  }
  return all;
}

// Whether a row that must refer to something refers to this one by its value in this column.
Result<bool> Repair::must_have(const Table& table, const std::string& key, const std::string& column) {
  for (const auto& edge : edges()) {
    const auto& reference = *edge.reference;
    const auto place = std::find(reference.referenced.begin(), reference.referenced.end(), column);
    if (edge.parent != &table || place == reference.referenced.end() ||
        !edge.child->find(reference.columns[static_cast<std::size_t>(place - reference.referenced.begin())])
             ->not_null) {
      continue;
    }
    const auto& child = *edge.child;
    const auto parent = staged_of("ps", table);
    const auto any = db_.exec(fmt::format(
        "SELECT EXISTS (SELECT FROM {0} ps JOIN {1} s ON {2} WHERE ps.m_key = {3} AND s.m_deleted IS NOT TRUE AND NOT "
        "s.m_held) OR EXISTS (SELECT FROM {0} ps JOIN {4} t ON {5} WHERE ps.m_key = {3} AND NOT EXISTS (SELECT FROM "
        "{1} s "
        "WHERE NOT s.m_held AND {6}))",
        stage(table).name, stage(child).name, equal_columns(reference, &table, staged_of("s", child), parent),
        db_.quote(key), child.quoted(), equal_columns(reference, &table, of("t"), parent),
        TableSql(child).key_match("t", "s.m_key")));
    MBSYNC_TRY(any);
    if ((*any)[0][0].as<bool>()) {
      return true;
    }
  }
  return false;
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
      const auto needed = must_have(table, loser.key, name);
      MBSYNC_TRY(needed);
      if (*needed) {
        continue;
      }
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
  const auto referring = refer_to_arrived(table, loser.key, column);
  MBSYNC_TRY(referring);
  MBSYNC_TRY(db_.exec(fmt::format("UPDATE {} SET v{} = {} WHERE m_key = {}", stage(table).name,
                                  table.index_of(column) + 1, value, db_.quote(loser.key))));
  for (const auto& [edge, child_key] : *referring) {
    MBSYNC_TRY(refer_to(edge, child_key, loser.key,
                        Deletion{loser.version.node, loser.version.counter, loser.version.at, "", ""}, false));
  }
  const auto after = staged_values(table, loser.key);
  MBSYNC_TRY(after);
  auto entry = new_record("unique", table, loser.key);
  entry.versions = {winner.version, loser.version};
  entry.columns.push_back(ConflictColumn{column, rule, std::nullopt, after->at(column)});
  entry.is_open = rule == "unique-null";
  record(std::move(entry));
  MBSYNC_TRY(note(table, loser.key, 'U', changed_flags(table, {column}),
                  Deletion{loser.version.node, loser.version.counter, loser.version.at, "", ""}));
  return true;
}

}  // namespace mbsync
