// Rows that were made under one key and are both kept (CONFLICTS.md C15).
#include "judge.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdint>
#include <tuple>

#include "change_sql.h"
#include "repair.h"
#include "unique_meaning.h"

namespace mbsync {

void Judge::write_row_that_stays(const JudgedRow& row, const RowState& left) {
  const auto latest = std::max_element(left.writes.begin(), left.writes.end(), [](const Write& a, const Write& b) {
    return std::tie(a.at, a.dot) < std::tie(b.at, b.dot);
  });
  std::vector<std::string> columns;
  for (std::size_t i = 0; i < table_.columns.size(); ++i) {
    if (std::find(table_.key.begin(), table_.key.end(), i) == table_.key.end()) {
      columns.push_back(table_.columns[i].name);
    }
  }
  exchange_.push_back(fmt::format("INSERT INTO pg_temp.repaired VALUES ({}, 'T', {}, '{}', {}, '{}', {})", table_.id,
                                  db_.quote(row.key), changed_flags(table_, columns),
                                  latest->at == kTimeUnknown ? "NULL" : std::to_string(latest->at.micros),
                                  to_string(latest->dot.origin), latest->dot.counter));
  counts_.repaired = true;
}

Result<void> Judge::set_apart(const JudgedRow& row, const Write& made, ApartKeys& apart) {
  const auto node = to_string(made.dot.origin);
  const auto given = db_.exec(fmt::format(
      "SELECT v ->> 'key' FROM mbsync.conflict_record r, jsonb_array_elements(r.versions) v WHERE r.schema_name = {} "
      "AND r.table_name = {} AND {} AND v ->> 'node' = '{}' AND v ->> 'counter' = '{}' AND v ? 'key'",
      db_.quote(table_.schema), db_.quote(table_.name), has_key("r", db_.quote(row.key)), node, made.dot.counter));
  MBSYNC_TRY(given);
  if (!given->empty()) {
    apart[made.dot] = (*given)[0][0].c_str();
    return {};
  }
  constexpr int kTriesMax = 100;
  for (int number = 0; number < kTriesMax; ++number) {
    const auto key = db_.exec(fmt::format(
        "SELECT k.key, EXISTS (SELECT FROM {1} s WHERE s.m_key = k.key), EXISTS (SELECT FROM {2} t WHERE {3}), "
        "EXISTS "
        "(SELECT FROM mbsync.change c WHERE c.tab = {4} AND {5}), EXISTS (SELECT FROM mbsync.change c WHERE c.tab = "
        "{4} AND {5} AND {6} = {7}) OR EXISTS (SELECT FROM {1} s WHERE s.m_key = k.key AND ({8} = {7} OR s.m_writes "
        "LIKE '%, {7}, %')) FROM (SELECT {0} COLLATE \"C\" AS key) k",
        other_key(row.key, made.dot, number), staged_.name, table_.quoted(), sql_.key_match("t", "k.key"), table_.id,
        has_key("c", "k.key"), micros_of("c.at"), made.at.micros, micros_of("s.m_at")));
    MBSYNC_TRY(key);
    const auto& found = (*key)[0];
    const std::string fresh = found[0].c_str();
    const bool taken = found[1].as<bool>() || found[2].as<bool>() || found[3].as<bool>() || given_keys_.contains(fresh);
    // The write that made it has the time of the row that it was made of.
    if (!taken || found[4].as<bool>()) {
      apart[made.dot] = fresh;
      if (!taken) {
        given_keys_.insert(fresh);
        make_apart(row, made, fresh);
      }
      return {};
    }
  }
  counts_.refused.emplace_back(row.key, "no other key is free for a row that was made under this one as well");
  return {};
}

std::string Judge::other_key(const std::string& key, const Dot& dot, int number) const {
  const auto& column = table_.columns[table_.key[0]];
  const auto hash =
      fmt::format("md5({})", db_.quote(fmt::format("{}|{}|{}:{}{}", table_.display(), key, to_string(dot.origin),
                                                   dot.counter, number == 0 ? "" : fmt::format("|{}", number))));
  const auto at = [&](std::int64_t from, std::int64_t range) {
    constexpr int kHexDigits = 15;
    return fmt::format("({} + ('x' || left({}, {}))::bit(60)::bigint % {})::text", from, hash, kHexDigits, range);
  };
  if (column.type == "uuid") {
    return hash + "::uuid::text";
  }
  if (column.type == "smallint") {
    return at(1 << 14, 1 << 14);
  }
  if (column.type == "integer") {
    return at(1 << 30, 1 << 30);
  }
  if (column.type == "bigint") {
    return at(std::int64_t{1} << 52, std::int64_t{1} << 52);
  }
  const auto room = room_of(column);
  return fmt::format("{} || '~' || left({}, {})",
                     room == 0 ? db_.quote(key) : fmt::format("left({}, {})", db_.quote(key), room - kApartDigits - 1),
                     hash, kApartDigits);
}

void Judge::make_apart(const JudgedRow& row, const Write& made, const std::string& fresh) {
  std::string columns;
  std::string values;
  for (std::size_t i = 0; i < table_.columns.size(); ++i) {
    const auto& column = table_.columns[i];
    const auto held = made.values.find(column.number);
    const auto value = held == made.values.end() ? Value() : held->second;
    std::string source = "NULL";
    if (i == table_.key[0]) {
      source = db_.quote(fresh);
    } else if (held == made.values.end() && !column.default_value.empty()) {
      source = fmt::format("({})::{}", column.default_value, column.type);
    } else if (const auto text = row.texts.find(value.value_or("")); text != row.texts.end()) {
      source = db_.quote(text->second);
    } else if (stand_ins_.is_one(value)) {
      const auto place = source_of(row, column.number, *value);
      source = fmt::format("(SELECT concat({}) FROM {})", place.value, place.from);
    } else if (value) {
      source = db_.quote(*value);
    }
    columns += fmt::format(", v{}", i + 1);
    values += fmt::format(", {}::{}", source, column.user_type ? "text" : column.type);
  }
  exchange_.push_back(
      fmt::format("INSERT INTO {} (m_key, m_deleted, m_slow{}) SELECT {}, false, false{}; INSERT INTO "
                  "pg_temp.repaired VALUES ({}, 'I', {}, NULL, {}, '{}', {})",
                  staged_.name, columns, db_.quote(fresh), values, table_.id, db_.quote(fresh), made.at.micros,
                  to_string(made.dot.origin), made.dot.counter));
  counts_.repaired = true;
  counts_.apart.emplace_back(fresh, row.key);
}

}  // namespace mbsync
