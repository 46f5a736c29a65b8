// What a judgement leaves on record.
#include "judge.h"

#include <fmt/format.h>

#include <algorithm>

#include "table_sql.h"

namespace mbsync {

using Json = nlohmann::json;

Judge::Source Judge::source_of(const JudgedRow& row, ColumnNumber number, const std::string& stand_in) const {
  const auto place = index_of(number);
  const auto key = db_.quote(row.key);
  if (row.my_row) {
    if (const auto own = row.my_row->find(number); own != row.my_row->end() && own->second == stand_in) {
      return {"t." + PgConnection::quote_name(table_.columns[place].name),
              fmt::format("(SELECT * FROM {} t WHERE {}) t", table_.quoted(), sql_.key_match("t", key))};
    }
  }
  return {fmt::format("o.v{}", place + 1),
          fmt::format("(SELECT * FROM {} o WHERE o.m_slow AND o.m_key = {}) o", staged_.name, key)};
}

Json Judge::value_of(const JudgedRow& row, ColumnNumber column, const Value& value, const std::string& signature) {
  if (!value) {
    return {};
  }
  if (const auto text = row.texts.find(*value); text != row.texts.end()) {
    return text->second;
  }
  if (stand_ins_.is_one(value)) {
    const auto source = source_of(row, column, *value);
    exchange_.push_back(fmt::format(
        "UPDATE pg_temp.new_conflict c SET versions = replace(c.versions, {}, to_json(concat({}))::text) FROM {} "
        "WHERE c.signature = {}",
        db_.quote(Json(*value).dump()), source.value, source.from, db_.quote(signature)));
  }
  return *value;
}

void Judge::add(const ConflictRecord& record) {
  counts_.conflicts += static_cast<std::int64_t>(record.columns.size()) + (record.existence_rule.empty() ? 0 : 1);
  conflicts_.add(record.line());
}

ConflictRecord Judge::new_record(std::string kind, const JudgedRow& row) const {
  ConflictRecord record;
  record.kind = std::move(kind);
  record.schema = table_.schema;
  record.table = table_.name;
  record.key = row.key;
  return record;
}

void Judge::add_conflicts(const JudgedRow& row, const RowState& state, const Outcome& outcome, const ApartKeys& apart) {
  if (outcome.conflicts.empty() || table_.internal) {
    return;
  }
  std::set<Dot> dots;
  bool existence = false;
  for (const auto& conflict : outcome.conflicts) {
    dots.insert(conflict.losers.begin(), conflict.losers.end());
    if (conflict.winner) {
      dots.insert(*conflict.winner);
    }
    existence = existence || conflict.column == kRowMark;
  }
  std::vector<const Write*> writes;
  writes.reserve(dots.size());
  for (const auto& dot : dots) {
    writes.push_back(state.find(dot));
  }
  std::sort(writes.begin(), writes.end(),
            [](const Write* a, const Write* b) { return std::tie(a->at, a->dot) < std::tie(b->at, b->dot); });
  const auto place_of = [&](const std::optional<Dot>& dot) -> std::optional<std::size_t> {
    const auto place =
        std::find_if(writes.begin(), writes.end(), [&](const Write* write) { return write->dot == dot; });
    return dot ? std::optional(static_cast<std::size_t>(place - writes.begin())) : std::nullopt;
  };
  auto record = new_record(existence ? "existence" : "values", row);
  record.exists = outcome.exists;
  if (existence) {
    record.existence_rule = word_of(outcome.exists ? DeleteRule::kUpdateWins : DeleteRule::kDeleteWins);
  }
  for (const auto* write : writes) {
    const auto key = apart.find(write->dot);
    record.versions.push_back(ConflictVersion{to_string(write->dot.origin), write->dot.counter, write->at,
                                              write->deleted, key == apart.end() ? "" : key->second, Json::object()});
  }
  const auto signature = record.signature();
  for (const auto& conflict : outcome.conflicts) {
    if (conflict.column == kRowMark) {
      record.existence_version = place_of(conflict.winner);
      continue;
    }
    ConflictColumn column{column_name(conflict.column),
                          conflict.kept_both ? "keep-both" : std::string(word_of(conflict.rule)),
                          place_of(conflict.winner),
                          {},
                          conflict.note};
    if (!column.version) {
      const auto& value = outcome.values.at(conflict.column);
      column.value = value ? Json(*value) : Json();
    }
    record.is_open = record.is_open || conflict.rule == Rule::kManual;
    record.columns.push_back(std::move(column));
  }
  // What a deletion took away and what stood against it is all of interest; else only what differs.
  for (std::size_t i = 0; i < writes.size(); ++i) {
    for (const auto& [column, value] : writes[i]->values) {
      const bool differs = std::any_of(outcome.conflicts.begin(), outcome.conflicts.end(),
                                       [number = column](const auto& c) { return c.column == number; });
      if (existence || differs) {
        record.versions[i].values[column_name(column)] = value_of(row, column, value, signature);
      }
    }
  }
  add(record);
}

void Judge::add_base_conflict(const JudgedRow& row, const std::optional<Values>& fleet, const BaseOutcome& base,
                              const ApartKeys& apart) {
  if (base.conflicts.empty() || table_.internal) {
    return;
  }
  auto record = new_record("newcomer", row);
  const auto self = to_string(context_.self.id);
  record.exists = base.values.has_value();
  record.versions.push_back(ConflictVersion{"fleet", 0, kTimeUnknown, !fleet, {}, Json::object()});
  record.versions.push_back(
      ConflictVersion{self, 0, kTimeUnknown, !row.my_row, apart.empty() ? "" : apart.begin()->second, Json::object()});
  const auto signature = record.signature();
  const std::optional<Values>* const sides[] = {&fleet, &row.my_row};
  const auto keep = [&](std::size_t side, ColumnNumber column) {
    if (!sides[side]->has_value()) {
      return;
    }
    if (const auto value = (*sides[side])->find(column); value != (*sides[side])->end()) {
      record.versions[side].values[column_name(column)] = value_of(row, column, value->second, signature);
    }
  };
  // Sides that show the same are none, though counters have come to it differently: of a sum, one by what was added.
  const auto is_same = [&](ColumnNumber column) {
    if (!fleet || !row.my_row || !apart.empty()) {
      return false;
    }
    const auto theirs = fleet->find(column);
    const auto mine = row.my_row->find(column);
    return theirs != fleet->end() && mine != row.my_row->end() && theirs->second == mine->second;
  };
  for (const auto& [column, base_won] : base.conflicts) {
    if (column != kRowMark && is_same(column)) {
      continue;
    }
    const auto rule = !apart.empty() ? "keep-both" : base_won ? "fleet-before-newcomer" : "edit-on-top-of-fleet";
    const std::size_t winner = base_won ? 0 : 1;
    if (column == kRowMark) {
      record.existence_rule = rule;
      record.existence_version = winner;
    } else {
      record.columns.push_back(ConflictColumn{column_name(column), rule, winner, {}, {}});
    }
    // Where a row is gone, all that it was is of interest.
    for (std::size_t side = 0; side < 2; ++side) {
      if (column != kRowMark) {
        keep(side, column);
        continue;
      }
      for (const auto number : numbers_) {
        keep(side, number);
      }
    }
  }
  if (!record.columns.empty() || !record.existence_rule.empty()) {
    add(record);
  }
}

}  // namespace mbsync
