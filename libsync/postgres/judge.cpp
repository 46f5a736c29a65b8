#include "judge.h"

#include <fmt/format.h>

#include <algorithm>

#include "change_sql.h"
#include "column_range.h"
#include "copy_text.h"
#include "record_text.h"

namespace mbsync {
namespace {

// How many rows are judged at a time: enough to hide the round trip, few enough to stay small in memory.
constexpr int kBatchRows = 200;
// Rows whose writes keep more than this beside them are judged one at a time: kept records are read whole.
constexpr std::int64_t kKeptBytesMax = 64 << 10;

std::string format_values(const Values& values, std::size_t width) {
  std::vector<Value> fields(width - 1);
  for (const auto& [number, value] : values) {
    if (number > 0 && number < width) {
      fields[number - 1] = value;
    }
  }
  return format_record(fields);
}

}  // namespace

void CopyBuffer::add(const std::vector<Value>& fields) {
  append_copy_line(text_, fields);
}

Result<void> CopyBuffer::flush(PgConnection& db) {
  if (text_.empty()) {
    return {};
  }
  MBSYNC_TRY(db.copy_in_begin(command_));
  MBSYNC_TRY(db.copy_in(text_));
  MBSYNC_TRY(db.copy_in_end());
  text_.clear();
  return {};
}

Judge::Judge(PgConnection& db, const StagedTable& staged, const MergeContext& context, bool counted)
    : db_(db),
      counted_(counted),
      staged_(staged),
      table_(*staged.table),
      sql_(*staged.table),
      context_(context),
      book_(db, table_, context.rules, stand_ins_),
      computed_(context.rules.computed_columns(table_)),
      ordered_enums_(context.rules.ordered_enums(table_)),
      rows_(fmt::format("COPY {} (m_key, m_deleted, m_slow, {}) FROM STDIN", staged.name, staged_columns())),
      changes_("COPY pg_temp.new_change FROM STDIN"),
      counters_("COPY pg_temp.new_counter FROM STDIN"),
      conflicts_("COPY pg_temp.new_conflict FROM STDIN") {
  for (const auto& column : table_.columns) {
    numbers_.push_back(column.number);
  }
}

Result<MergeCounts> Judge::run(std::int64_t rows) {
  MBSYNC_TRY(run(fmt::format("<= {}", kKeptBytesMax), kBatchRows));
  if (counts_.merged + counts_.set_aside < rows) {
    MBSYNC_TRY(run(fmt::format("> {}", kKeptBytesMax), 1));
  }
  return counts_;
}

Result<void> Judge::run(const std::string& kept_bytes, int batch_rows) {
  MBSYNC_TRY(db_.exec(fmt::format("DECLARE judged NO SCROLL CURSOR FOR {}", query(kept_bytes))));
  while (true) {
    const auto batch = db_.exec(fmt::format("FETCH {} FROM judged", batch_rows));
    MBSYNC_TRY(batch);
    if (batch->empty()) {
      break;
    }
    for (const auto& line : *batch) {
      auto row = read(line);
      MBSYNC_TRY(row);
      if (row->held) {
        MBSYNC_TRY(set_aside(*row));
        ++counts_.set_aside;
      } else {
        MBSYNC_TRY(judge(*row));
        ++counts_.merged;
        if (auto trouble = book_.trouble(); !trouble) {
          if (trouble.error().kind != ErrorKind::kConflict) {
            return trouble;
          }
          counts_.refused.emplace_back(row->key, trouble.error().message);
        }
      }
    }
    MBSYNC_TRY(rows_.flush(db_));
    MBSYNC_TRY(changes_.flush(db_));
    MBSYNC_TRY(counters_.flush(db_));
    MBSYNC_TRY(conflicts_.flush(db_));
    for (const auto& statement : exchange_) {
      MBSYNC_TRY(db_.exec(statement));
    }
    exchange_.clear();
  }
  return db_.run("CLOSE judged");
}

Result<void> Judge::set_aside(JudgedRow& row) {
  auto merged = join(row.mine, context_.mine_seen, row.theirs, context_.header.seen);
  if (context_.header.full) {
    MBSYNC_TRY(newcomer_that_waits(row, merged));
  }
  for (const auto& entry : merged.writes) {
    const auto mine = row.kept.find(entry.dot);
    const bool unseen = mine == row.kept.end() || row.unseen.contains(entry.dot);
    // What a newcomer has deleted is the fleet's row now (C9), and not what is stored.
    if (unseen || (entry.deleted && context_.header.full)) {
      add_change(row, entry, unseen, {});
    } else {
      add_change(row, entry, mine->second, row.kept_sums.at(entry.dot), false);
    }
  }
  add_counters(row, join(row.my_counters, row.their_counters));
  return {};
}

void Judge::add_counters(const JudgedRow& row, const Counters& counters) {
  for (const auto& [number, origins] : counters) {
    for (const auto& [origin, contribution] : origins) {
      counters_.add({std::to_string(table_.id), row.key, std::to_string(number), std::to_string(origin.value),
                     std::to_string(contribution.counter), contribution.total.to_string(),
                     contribution.shown.to_string()});
    }
  }
}

Result<void> Judge::judge(JudgedRow& row) {
  auto merged = join(row.mine, context_.mine_seen, row.theirs, context_.header.seen);
  auto counters = join(row.my_counters, row.their_counters);
  if (context_.header.full) {
    return judge_newcomer(row, std::move(counters));
  }
  const auto totals = show_all(row, counters, {&merged}, total_of(counters));
  if (has_unordered_labels(row, merged)) {
    return {};
  }
  const auto outcome =
      settle(merged, numbers_, below(row, merged), row.their_row ? *row.their_row : no_values(), book_);
  ApartKeys apart;
  for (const auto& dot : outcome.apart) {
    MBSYNC_TRY(set_apart(row, *merged.find(dot), apart));
  }
  add_conflicts(row, merged, outcome, apart);
  const auto left = without_apart(merged, outcome);
  if (!apart.empty()) {
    write_row_that_stays(row, left);
  }
  write(row, left, outcome, totals);
  return {};
}

// What counts in columns that no live write holds. Where the fleet's row has waited since this node joined, and there
// is news of it now, the row here has never been the fleet's, and the sender's is (CONFLICTS.md C3, C9, C21).
const std::optional<Values>& Judge::below(const JudgedRow& row, const RowState& merged) {
  const bool is_over = row.fleet_row && merged.find(*row.fleet_row) == nullptr;
  return is_over && row.their_row ? row.their_row : row.my_base;
}

Values Judge::no_values() const {
  Values nulls;
  for (const auto number : numbers_) {
    nulls.emplace(number, Value());
  }
  return nulls;
}

Sums Judge::show_all(JudgedRow& row, Counters& counters, std::initializer_list<RowState*> states, Sums totals) {
  for (auto* state : states) {
    for (auto& entry : state->writes) {
      add_sums(entry.values, totals);
    }
  }
  for (auto* side : {&row.my_base, &row.their_row}) {
    if (side->has_value()) {
      add_sums(**side, totals);
    }
  }
  for (auto& [number, origins] : counters) {
    for (auto& [origin, contribution] : origins) {
      contribution.shown = contribution.total;
    }
  }
  add_counters(row, counters);
  return totals;
}

bool Judge::has_unordered_labels(const JudgedRow& row, const RowState& state) {
  for (const auto number : ordered_enums_.numbers()) {
    const auto& column = table_.columns[index_of(number)];
    const auto& labels = column.value_type.labels;
    const auto holds = [&](const Write& write) { return !write.deleted && write.columns.contains(number); };
    if (std::count_if(state.writes.begin(), state.writes.end(), holds) < 2) {
      continue;
    }
    for (const auto& entry : state.writes) {
      const auto value = holds(entry) ? mbsync::value_of(entry, number) : Value();
      if (value && std::find(labels.begin(), labels.end(), *value) == labels.end()) {
        counts_.refused.emplace_back(
            row.key, fmt::format("column {}: \"{}\" is no label of its type here", column.name, *value));
        return true;
      }
    }
    auto version = kBuiltInPolicy;
    for (const auto& entry : state.writes) {
      version = holds(entry) ? std::max(version, entry.policy) : version;
    }
    if (const auto order = context_.rules.other_order(version, table_, column); !order.empty()) {
      counts_.refused.emplace_back(
          row.key,
          fmt::format("column {}: policy {} compares labels of {} in the order {}, and here they are in another "
                      "({}); put them in that order, or publish the policy anew where they are as they should be "
                      "and then write the column once more on the same node",
                      column.name, policy_serial(version), column.type, fmt::join(order, ", "),
                      fmt::join(labels, ", ")));
      return true;
    }
  }
  return false;
}

bool Judge::row_is_refused(const JudgedRow& row) const {
  return !counts_.refused.empty() && counts_.refused.back().first == row.key;
}

void Judge::add_change(const JudgedRow& row, const Write& entry, Value kept, Value sums, bool unseen) {
  changes_.add(
      {std::to_string(table_.id), row.key, std::to_string(entry.dot.origin.value), std::to_string(entry.dot.counter),
       entry.at == kTimeUnknown ? Value() : Value(std::to_string(entry.at.micros)), entry.columns.to_bits(table_.width),
       std::string(entry.deleted ? "t" : "f"), std::move(kept), std::string(unseen ? "t" : "f"),
       std::string(unseen && row.fleet_row == entry.dot ? "t" : "f"), std::to_string(entry.policy), std::move(sums)});
}

void Judge::add_change(const JudgedRow& row, const Write& entry, bool unseen, const Sums& totals) {
  Values values = entry.values;
  for (auto& [number, value] : values) {
    if (const auto text = row.texts.find(value.value_or("")); text != row.texts.end()) {
      value = text->second;
    } else if (stand_ins_.is_one(value)) {
      const auto source = source_of(row, number, *value);
      exchange_.push_back(fmt::format(
          "UPDATE pg_temp.new_change c SET kept = replace(c.kept, {}, '\"' || replace(replace(concat({}), '\\', "
          "'\\\\'), '\"', '\"\"') || '\"') FROM {} WHERE c.tab = {} AND c.key = {} AND c.origin = {} AND c.counter = "
          "{}",
          db_.quote(*value), source.value, source.from, table_.id, db_.quote(row.key), entry.dot.origin.value,
          entry.dot.counter));
    }
  }
  std::map<ColumnNumber, std::string> included;
  for (const auto& [number, sum] : totals) {
    if (values.contains(number)) {
      included.emplace(number, sum.to_string());
    }
  }
  add_change(row, entry, format_values(values, table_.width), sums_text(included), unseen);
}

std::size_t Judge::index_of(ColumnNumber number) const {
  return static_cast<std::size_t>(std::find(numbers_.begin(), numbers_.end(), number) - numbers_.begin());
}

void Judge::write(const JudgedRow& row, const RowState& state, const Outcome& outcome, const Sums& totals) {
  for (const auto& entry : state.writes) {
    const bool keep = must_keep_values(entry, outcome);
    if (keep) {
      add_change(row, entry, false, totals);
    } else {
      add_change(row, entry, Value(), Value(), false);
    }
  }
  for (const auto number : computed_.numbers()) {
    const auto value = outcome.values.find(number);
    const auto reason = value == outcome.values.end() || !value->second
                            ? std::string()
                            : misfit(table_.columns[index_of(number)], *value->second);
    if (!reason.empty()) {
      counts_.refused.emplace_back(row.key, fmt::format("column {}: {}", column_name(number), reason));
      return;
    }
  }
  const bool unchanged = outcome.exists ? row.my_row && *row.my_row == outcome.values : !row.my_row;
  if (unchanged) {
    return;
  }
  std::vector<Value> fields{row.key, std::string(outcome.exists ? "f" : "t"), std::string("f")};
  for (const auto number : numbers_) {
    const auto place = outcome.values.find(number);
    auto value = place == outcome.values.end() ? Value() : place->second;
    if (const auto text = row.texts.find(value.value_or("")); text != row.texts.end()) {
      value = text->second;
    } else if (stand_ins_.is_one(value)) {
      const auto source = source_of(row, number, *value);
      const bool as_text = table_.columns[index_of(number)].user_type;
      exchange_.push_back(fmt::format(
          "UPDATE {} s SET v{} = {} FROM {} WHERE NOT s.m_slow AND s.m_key = {}", staged_.name, index_of(number) + 1,
          as_text ? fmt::format("concat({})", source.value) : source.value, source.from, db_.quote(row.key)));
      value.reset();
    }
    fields.push_back(std::move(value));
  }
  rows_.add(fields);
}

std::string Judge::column_name(ColumnNumber number) const {
  for (const auto& column : table_.columns) {
    if (column.number == number) {
      return column.name;
    }
  }
  return "";
}

}  // namespace mbsync
