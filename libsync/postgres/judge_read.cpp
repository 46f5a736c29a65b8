// How a row under judgement is read: both sides in our numbering, each write with its values.
#include "judge.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>
#include <sstream>

#include "change_sql.h"
#include "peer_claims.h"
#include "record_text.h"

namespace mbsync {
namespace {

using Json = nlohmann::json;

Result<Values> parse_values(std::string_view record, const std::vector<ColumnNumber>& numbers) {
  auto fields = parse_record(record);
  MBSYNC_TRY(fields);
  Values values;
  for (const auto number : numbers) {
    if (number <= fields->size()) {
      values[number] = std::move((*fields)[number - 1]);
    }
  }
  return values;
}

}  // namespace

std::size_t Judge::value_bytes_max(ColumnNumber number) const {
  return computed_.contains(number) ? StandIns::kComputedBytesMax : StandIns::kValueBytesMax;
}

std::string Judge::staged_columns() const {
  std::string list;
  for (std::size_t i = 0; i < table_.columns.size(); ++i) {
    list += fmt::format("{}v{}", i == 0 ? "" : ", ", i + 1);
  }
  return list;
}

std::string Judge::query(const std::string& kept_bytes) const {
  // Both rows as record text in our numbering, whatever order they came in, with stand-ins for large values.
  std::vector<std::string> fields(table_.width - 1, "NULL");
  std::vector<std::string> own(table_.width - 1, "NULL");
  for (std::size_t i = 0; i < table_.columns.size(); ++i) {
    const auto& column = table_.columns[i];
    const auto staged = fmt::format("s.v{}", i + 1);
    const auto here = "t." + PgConnection::quote_name(column.name);
    const auto bytes_max = value_bytes_max(column.number);
    fields[column.number - 1] = column.fixed_size ? staged : stand_ins_.sql(staged, bytes_max);
    own[column.number - 1] = column.fixed_size ? here : stand_ins_.sql(here, bytes_max);
  }
  const auto first_key = table_.key[0];
  // Keys that are given to rows set apart are looked for in one order everywhere.
  return fmt::format(
      "SELECT s.m_key, s.m_origin, s.m_counter, {11}, s.m_cols::text, s.m_deleted, s.m_kept, s.m_writes, "
      "CASE WHEN s.v{0} IS NOT NULL THEN ROW({1})::text END, CASE WHEN {2} THEN ROW({3})::text END, "
      "{4}, s.m_held, "
      "(SELECT string_agg(c.origin || ' ' || c.counter || ' ' || c.is_fleet_row::int, ' ') FROM mbsync.change c WHERE "
      "c.unseen AND c.tab = {5} AND "
      "{9}), coalesce(s.m_policy, 0) FROM {6} s LEFT JOIN {7} t ON {8} WHERE s.m_slow AND "
      "coalesce(octet_length(s.m_kept), 0) + "
      "coalesce(octet_length(s.m_writes), 0) + coalesce((SELECT sum(octet_length(c.kept)) FROM mbsync.change c WHERE "
      "c.tab = {5} AND {9}), 0) {10}{12}",
      first_key + 1, fmt::join(fields, ", "), sql_.present("t"), fmt::join(own, ", "),
      row_json(table_.id, "s.m_key", counted_), table_.id, staged_.name, table_.quoted(),
      sql_.key_match("t", "s.m_key"), has_key("c", "s.m_key"), kept_bytes, micros_of("s.m_at"),
      context_.rules.keeps_both(table_) ? " ORDER BY s.m_key" : "");
}

Value Judge::text(const pqxx::field& field) {
  return field.is_null() ? Value() : Value(field.c_str());
}

Result<JudgedRow> Judge::read(const pqxx::row& line) {
  JudgedRow row;
  row.key = line[0].c_str();
  row.held = line[11].as<bool>();
  if (!line[12].is_null()) {
    std::istringstream dots(line[12].c_str());
    int is_fleet_row = 0;
    for (Dot dot; dots >> dot.origin.value >> dot.counter >> is_fleet_row;) {
      row.unseen.insert(dot);
      row.fleet_row = is_fleet_row != 0 ? dot : row.fleet_row;
    }
  }
  if (!line[8].is_null()) {
    auto values = parse_values(line[8].c_str(), numbers_);
    MBSYNC_TRY(values);
    row.their_row = std::move(*values);
  }
  if (!line[9].is_null()) {
    auto values = parse_values(line[9].c_str(), numbers_);
    MBSYNC_TRY(values);
    row.my_row = std::move(*values);
  }
  WireRow theirs;
  if (!line[7].is_null()) {
    auto parsed = parse_wire_row(line[7].c_str());
    MBSYNC_TRY(parsed);
    theirs = std::move(*parsed);
  } else if (!line[1].is_null()) {
    auto bits = ColumnSet::parse(line[4].c_str());
    MBSYNC_TRY(bits);
    theirs.writes.push_back(WireWrite{Dot{NodeId{line[1].as<std::int64_t>()}, line[2].as<std::int64_t>()},
                                      line[3].is_null() ? kTimeUnknown : WriteTime{line[3].as<std::int64_t>()},
                                      their_columns(*bits), line[5].as<bool>(), text(line[6]),
                                      line[13].as<std::int64_t>()});
  }
  MBSYNC_TRY(check_writes(theirs, context_.header.seen, context_.self.id, context_.away, table_));
  auto counters = load_counters(theirs, true);
  MBSYNC_TRY(counters);
  row.their_counters = std::move(*counters);
  if (row.their_row) {
    subtract_sums(*row.their_row, shown_of(row.their_counters));
  }
  auto their_state = load(theirs.writes, row.their_row, true, row.texts);
  MBSYNC_TRY(their_state);
  row.theirs = std::move(*their_state);
  row.my_base = row.my_row;
  if (!line[10].is_null()) {
    const auto mine = parse_wire_row(line[10].c_str());
    MBSYNC_TRY(mine);
    counters = load_counters(*mine, false);
    MBSYNC_TRY(counters);
    row.my_counters = std::move(*counters);
    if (row.my_base) {
      subtract_sums(*row.my_base, shown_of(row.my_counters));
    }
    auto my_state = load(mine->writes, row.my_base, false, row.texts);
    MBSYNC_TRY(my_state);
    for (const auto& write : mine->writes) {
      row.kept[write.dot] = write.kept;
      row.kept_sums[write.dot] = sums_text(write.sums);
    }
    row.mine = std::move(*my_state);
  }
  return row;
}

Result<Counters> Judge::load_counters(const WireRow& wire, bool from_peer) const {
  Counters counters;
  for (const auto& entry : wire.counters) {
    const auto number = from_peer ? our_number(entry.number) : entry.number;
    const auto total = Decimal::parse(entry.total);
    const auto shown = Decimal::parse(entry.shown);
    if (!total || !shown) {
      return Error{ErrorKind::kCorrupt, fmt::format("table {}: a counter is no number", table_.display()), ""};
    }
    if (is_number(number)) {
      counters[number][entry.origin] = Contribution{entry.counter, *total, *shown};
    }
  }
  return counters;
}

bool Judge::is_column(ColumnNumber number) const {
  return std::find(numbers_.begin(), numbers_.end(), number) != numbers_.end();
}

bool Judge::is_number(ColumnNumber number) const {
  return is_column(number) && table_.columns[index_of(number)].value_type.kind == ValueKind::kNumber;
}

Value Judge::sums_text(const std::map<ColumnNumber, std::string>& sums) {
  Json document;
  for (const auto& [number, sum] : sums) {
    document[std::to_string(number)] = sum;
  }
  return sums.empty() ? Value() : Value(document.dump());
}

Result<RowState> Judge::load(const std::vector<WireWrite>& writes, const std::optional<Values>& row, bool from_peer,
                             std::map<std::string, std::string>& texts) {
  RowState state;
  for (const auto& wire : writes) {
    Write write{wire.dot, wire.at, {}, wire.deleted, {}};
    write.policy = wire.policy;
    MBSYNC_TRY(book_.require(wire.policy));
    std::vector<Value> kept;
    if (wire.kept) {
      auto fields = parse_record(*wire.kept);
      MBSYNC_TRY(fields);
      kept = std::move(*fields);
    }
    for (const auto number : wire.columns.numbers()) {
      const auto own = from_peer ? our_number(number) : number;
      if (own != kRowMark && !is_column(own)) {
        continue;  // a column that has been dropped since
      }
      write.columns.insert(own);
      if (own == kRowMark) {
        continue;
      }
      if (wire.kept) {
        auto value = number <= kept.size() ? std::move(kept[number - 1]) : Value();
        if (StandIns::needed(value, value_bytes_max(own))) {
          auto stand_in = stand_ins_.of(*value);
          texts.emplace(stand_in, std::move(*value));
          value = std::move(stand_in);
        }
        write.values[own] = std::move(value);
      } else if (row) {
        const auto place = row->find(own);
        write.values[own] = place == row->end() ? Value() : place->second;
      }
    }
    if (!write.columns.empty() && !wire.kept && !row && !wire.deleted) {
      if (from_peer) {
        return Error{ErrorKind::kCorrupt, fmt::format("table {}: a write came without its values", table_.display()),
                     ""};
      }
      // The row was removed with triggers switched off; what was written to it is nowhere any more.
      ++counts_.missing;
      continue;
    }
    for (const auto& [number, sum] : wire.sums) {
      const auto included = Decimal::parse(sum);
      if (!included) {
        return Error{ErrorKind::kCorrupt, fmt::format("table {}: a counter is no number", table_.display()), ""};
      }
      const auto own = from_peer ? our_number(number) : number;
      subtract_sums(write.values, is_number(own) ? Sums{{own, *included}} : Sums());
    }
    state.writes.push_back(std::move(write));
  }
  state.normalise();
  return state;
}

ColumnSet Judge::their_columns(const ColumnSet& ours) const {
  if (staged_.renumber.empty()) {
    return ours;
  }
  ColumnSet columns;
  if (ours.contains(kRowMark)) {
    columns.insert(kRowMark);
  }
  for (const auto& [theirs, own] : staged_.renumber) {
    if (ours.contains(own)) {
      columns.insert(theirs);
    }
  }
  return columns;
}

ColumnNumber Judge::our_number(ColumnNumber theirs) const {
  if (staged_.renumber.empty() || theirs == kRowMark) {
    return theirs;
  }
  const auto place = staged_.renumber.find(theirs);
  return place == staged_.renumber.end() ? std::numeric_limits<ColumnNumber>::max() : place->second;
}

}  // namespace mbsync
