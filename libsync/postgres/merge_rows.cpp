#include "merge_rows.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>
#include <map>
#include <nlohmann/json.hpp>
#include <set>
#include <sstream>

#include "base_row.h"
#include "change_sql.h"
#include "column_range.h"
#include "conflict_record.h"
#include "copy_text.h"
#include "counters.h"
#include "pull_reader.h"
#include "record_text.h"
#include "settle.h"
#include "stand_ins.h"
#include "table_rulebook.h"
#include "table_sql.h"
#include "unique_meaning.h"

namespace mbsync {
namespace {

using Json = nlohmann::json;

// How many rows are judged at a time: enough to hide the round trip, few enough to stay small in memory.
constexpr int kBatchRows = 200;
// From here on statistics of what is staged pay.
constexpr std::int64_t kManyRows = 500;
// Rows whose writes keep more than this beside them are judged one at a time: kept records are read whole.
constexpr std::int64_t kKeptBytesMax = 64 << 10;

// What one row under judgement looks like on both sides.
struct Row {
  std::string key;
  bool held = false;
  RowState mine;
  std::map<Dot, Value> kept;       // of `mine`, as stored
  std::map<Dot, Value> kept_sums;  // the same for mbsync.change.sums
  Counters my_counters;
  Counters their_counters;
  std::set<Dot> unseen;                      // of `mine`
  std::map<std::string, std::string> texts;  // of the stand-ins for values in kept records
  std::optional<Values> my_row;
  std::optional<Values> my_base;  // without what counters add; so are the values of `mine` and `theirs`
  RowState theirs;
  std::optional<Values> their_row;  // without it as well
};

// Collects lines of COPY text for one target and sends them in one go.
class CopyBuffer {
 public:
  explicit CopyBuffer(std::string command) : command_(std::move(command)) {}
  void add(const std::vector<Value>& fields) { append_copy_line(text_, fields); }
  Result<void> flush(PgConnection& db) {
    if (text_.empty()) {
      return {};
    }
    MBSYNC_TRY(db.copy_in_begin(command_));
    MBSYNC_TRY(db.copy_in(text_));
    MBSYNC_TRY(db.copy_in_end());
    text_.clear();
    return {};
  }

 private:
  std::string command_;
  std::string text_;
};

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

std::string format_values(const Values& values, std::size_t width) {
  std::vector<Value> fields(width - 1);
  for (const auto& [number, value] : values) {
    if (number > 0 && number < width) {
      fields[number - 1] = value;
    }
  }
  return format_record(fields);
}

class Judge {
 public:
  /// `counted`: some row here has counters.
  Judge(PgConnection& db, const StagedTable& staged, const MergeContext& context, bool counted)
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

  /// `rows`: how many there are to judge.
  Result<MergeCounts> run(std::int64_t rows) {
    MBSYNC_TRY(run(fmt::format("<= {}", kKeptBytesMax), kBatchRows));
    if (counts_.merged + counts_.set_aside < rows) {
      MBSYNC_TRY(run(fmt::format("> {}", kKeptBytesMax), 1));
    }
    return counts_;
  }

 private:
  Result<void> run(const std::string& kept_bytes, int batch_rows) {
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
          if (const auto trouble = book_.trouble(); !trouble) {
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

  [[nodiscard]] std::size_t value_bytes_max(ColumnNumber number) const {
    return computed_.contains(number) ? StandIns::kComputedBytesMax : StandIns::kValueBytesMax;
  }

  [[nodiscard]] std::string staged_columns() const {
    std::string list;
    for (std::size_t i = 0; i < table_.columns.size(); ++i) {
      list += fmt::format("{}v{}", i == 0 ? "" : ", ", i + 1);
    }
    return list;
  }

  [[nodiscard]] std::string query(const std::string& kept_bytes) const {
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
        "(SELECT string_agg(c.origin || ' ' || c.counter, ' ') FROM mbsync.change c WHERE c.unseen AND c.tab = {5} AND "
        "{9}), coalesce(s.m_policy, 0) FROM {6} s LEFT JOIN {7} t ON {8} WHERE s.m_slow AND "
        "coalesce(octet_length(s.m_kept), 0) + "
        "coalesce(octet_length(s.m_writes), 0) + coalesce((SELECT sum(octet_length(c.kept)) FROM mbsync.change c WHERE "
        "c.tab = {5} AND {9}), 0) {10}{12}",
        first_key + 1, fmt::join(fields, ", "), sql_.present("t"), fmt::join(own, ", "),
        row_json(table_.id, "s.m_key", counted_), table_.id, staged_.name, table_.quoted(),
        sql_.key_match("t", "s.m_key"), has_key("c", "s.m_key"), kept_bytes, micros_of("s.m_at"),
        context_.rules.keeps_both(table_) ? " ORDER BY s.m_key" : "");
  }

  static Value text(const pqxx::field& field) { return field.is_null() ? Value() : Value(field.c_str()); }

  Result<Row> read(const pqxx::row& line) {
    Row row;
    row.key = line[0].c_str();
    row.held = line[11].as<bool>();
    if (!line[12].is_null()) {
      std::istringstream dots(line[12].c_str());
      for (Dot dot; dots >> dot.origin.value >> dot.counter;) {
        row.unseen.insert(dot);
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

  Result<Counters> load_counters(const WireRow& wire, bool from_peer) const {
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

  [[nodiscard]] bool is_column(ColumnNumber number) const {
    return std::find(numbers_.begin(), numbers_.end(), number) != numbers_.end();
  }

  // What looks like a number in a column that has become text since is none (CONFLICTS.md C16).
  [[nodiscard]] bool is_number(ColumnNumber number) const {
    return is_column(number) && table_.columns[index_of(number)].value_type.kind == ValueKind::kNumber;
  }

  static Value sums_text(const std::map<ColumnNumber, std::string>& sums) {
    Json document;
    for (const auto& [number, sum] : sums) {
      document[std::to_string(number)] = sum;
    }
    return sums.empty() ? Value() : Value(document.dump());
  }

  // Gives every write its values: from its kept record, or from the row they stand in.
  Result<RowState> load(const std::vector<WireWrite>& writes, const std::optional<Values>& row, bool from_peer,
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

  // m_cols was brought into our numbering as it was staged, m_kept was not; load() takes both in the sender's.
  [[nodiscard]] ColumnSet their_columns(const ColumnSet& ours) const {
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

  [[nodiscard]] ColumnNumber our_number(ColumnNumber theirs) const {
    if (staged_.renumber.empty() || theirs == kRowMark) {
      return theirs;
    }
    const auto place = staged_.renumber.find(theirs);
    return place == staged_.renumber.end() ? std::numeric_limits<ColumnNumber>::max() : place->second;
  }

  // The application holds the row. Its writes here stay as they are stored; what the peer has besides is stored with
  // its values, since the row does not show them (CONFLICTS.md C10).
  Result<void> set_aside(const Row& row) {
    auto merged = join(row.mine, context_.mine_seen, row.theirs, context_.header.seen);
    if (context_.header.full) {
      const auto waits = base_that_waits(row, merged);
      MBSYNC_TRY(waits);
      merged.writes.insert(merged.writes.end(), waits->begin(), waits->end());
    }
    for (const auto& entry : merged.writes) {
      const auto mine = row.kept.find(entry.dot);
      const bool unseen = mine == row.kept.end() || row.unseen.contains(entry.dot);
      if (unseen) {
        add_change(row, entry, true, {});
      } else {
        add_change(row, entry, mine->second, row.kept_sums.at(entry.dot), false);
      }
    }
    add_counters(row, join(row.my_counters, row.their_counters));
    return {};
  }

  // A newcomer cannot write this row of the fleet yet. Where the fleet has forgotten who wrote it, a write that all
  // have seen stands for it: whatever comes after it takes its place, and nobody is told of it. Own edits have to be
  // put on top of the row (CONFLICTS.md C9), so they must wait with all else.
  Result<std::vector<Write>> base_that_waits(const Row& row, RowState& merged) const {
    const auto edited = [&](const Write& write) {
      return !context_.header.seen.covers(write.dot) && write.at != kTimeUnknown;
    };
    if (std::any_of(merged.writes.begin(), merged.writes.end(), edited)) {
      return Error{ErrorKind::kConflict,
                   fmt::format("row {} of table {} cannot be written now, and was edited here before this node joined",
                               row.key, table_.display()),
                   "nothing was changed; a node that joins needs this row: change or remove what stands in its way, on "
                   "either machine, and it goes on by itself"};
    }
    std::erase_if(merged.writes, [&](const Write& write) { return !context_.header.seen.covers(write.dot); });
    if (!merged.writes.empty() || !row.their_row) {
      return std::vector<Write>{};
    }
    const auto& counters = context_.header.seen.counters();
    const auto sender = counters.find(context_.header.sender.id);
    const auto& [origin, counter] = sender == counters.end() ? *counters.begin() : *sender;
    Write base{Dot{origin, counter}, kTimeUnknown, {}, false, *row.their_row};
    base.columns.insert(kRowMark);
    for (const auto number : numbers_) {
      base.columns.insert(number);
    }
    return std::vector<Write>{std::move(base)};
  }

  void add_counters(const Row& row, const Counters& counters) {
    for (const auto& [number, origins] : counters) {
      for (const auto& [origin, contribution] : origins) {
        counters_.add({std::to_string(table_.id), row.key, std::to_string(number), std::to_string(origin.value),
                       std::to_string(contribution.counter), contribution.total.to_string(),
                       contribution.shown.to_string()});
      }
    }
  }

  Result<void> judge(Row& row) {
    // Where neither side shows the row, a write that was kept beside it may bring it back; a column that has come since
    // is NULL then.
    Values nulls;
    for (const auto number : numbers_) {
      nulls.emplace(number, Value());
    }
    auto merged = join(row.mine, context_.mine_seen, row.theirs, context_.header.seen);
    auto counters = join(row.my_counters, row.their_counters);
    // A newcomer's row that the fleet does not have is news, and shows what it shows.
    const bool news = context_.header.full && !row.their_row;
    const auto totals = total_of(news ? row.my_counters : counters);
    for (auto& entry : merged.writes) {
      add_sums(entry.values, totals);
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
    // This database joins a fleet: what the fleet has not seen goes on top of the fleet's row (CONFLICTS.md C9).
    if (context_.header.full) {
      RowState own;
      RowState fleet;
      for (const auto& entry : merged.writes) {
        (context_.header.seen.covers(entry.dot) ? fleet : own).writes.push_back(entry);
      }
      // The sender's row does not show what the application holds up there.
      const auto theirs = settle(fleet, numbers_, row.their_row, nulls, book_);
      auto base = settle_on_base(own, row.my_base, fleet,
                                 theirs.exists ? std::optional<Values>(theirs.values) : std::nullopt, book_);
      std::string rule = base.base_won ? "fleet-before-newcomer" : "edit-on-top-of-fleet";
      ApartKeys apart;
      if (const auto made = made_anew(own, row); made && theirs.exists && made->values != theirs.values) {
        MBSYNC_TRY(set_apart(row, *made, apart));
        if (row_is_refused(row)) {
          return {};
        }
        rule = "keep-both";
        base.base_won = true;
        base.state = fleet;
        base.values = theirs.values;
        base.conflicts.clear();
        for (const auto& [number, value] : theirs.values) {
          if (made->values.at(number) != value) {
            base.conflicts.push_back(number);
          }
        }
      }
      add_base_conflict(row, base, rule, apart);
      Outcome outcome;
      outcome.exists = base.values.has_value();
      outcome.values = base.values.value_or(Values{});
      write(row, base.state, outcome, totals);
      return {};
    }
    if (has_unknown_label(row, merged)) {
      return {};
    }
    const auto outcome = settle(merged, numbers_, row.my_base, row.their_row ? *row.their_row : nulls, book_);
    ApartKeys apart;
    for (const auto& dot : outcome.apart) {
      MBSYNC_TRY(set_apart(row, *merged.find(dot), apart));
    }
    add_conflicts(row, merged, outcome, apart);
    write(row, merged, outcome, totals);
    return {};
  }

  // Where a label stands among the others, nobody can say who does not have it yet: the row waits for it.
  bool has_unknown_label(const Row& row, const RowState& state) {
    for (const auto number : ordered_enums_.numbers()) {
      const auto& labels = table_.columns[index_of(number)].value_type.labels;
      const auto holds = [&](const Write& write) { return !write.deleted && write.columns.contains(number); };
      if (std::count_if(state.writes.begin(), state.writes.end(), holds) < 2) {
        continue;
      }
      for (const auto& entry : state.writes) {
        const auto value = holds(entry) ? mbsync::value_of(entry, number) : Value();
        if (value && std::find(labels.begin(), labels.end(), *value) == labels.end()) {
          counts_.refused.emplace_back(
              row.key, fmt::format("column {}: \"{}\" is no label of its type here", column_name(number), *value));
          return true;
        }
      }
    }
    return false;
  }

  [[nodiscard]] bool row_is_refused(const Row& row) const {
    return !counts_.refused.empty() && counts_.refused.back().first == row.key;
  }

  // Where both of two rows that were made under one key are kept (CONFLICTS.md C15), a newcomer's is news like any
  // other: the row as it is here, if it was made here. What the fleet knows of its own row may be forgotten, so the
  // policy in force counts.
  [[nodiscard]] std::optional<Write> made_anew(const RowState& own, const Row& row) const {
    const auto* rules = context_.rules.find(context_.rules.latest(), table_);
    if (rules == nullptr || rules->row.keep_both.empty() || !row.my_base) {
      return std::nullopt;
    }
    for (const auto& entry : own.writes) {
      if (!entry.deleted && entry.at != kTimeUnknown && rules->row.keep_both.minus(entry.columns).empty()) {
        Write made = entry;
        made.columns.insert(kRowMark);
        made.values = *row.my_base;
        return made;
      }
    }
    return std::nullopt;
  }

  using ApartKeys = std::map<Dot, std::string>;

  // A row that another one has taken the key of gets one of its own, the same wherever that is found out, unless it has
  // been given one before.
  Result<void> set_apart(const Row& row, const Write& made, ApartKeys& apart) {
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
      const bool taken =
          found[1].as<bool>() || found[2].as<bool>() || found[3].as<bool>() || given_keys_.contains(fresh);
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

  // SQL for the key that is to be tried next.
  [[nodiscard]] std::string other_key(const std::string& key, const Dot& dot, int number) const {
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
    return fmt::format(
        "{} || '~' || left({}, {})",
        room == 0 ? db_.quote(key) : fmt::format("left({}, {})", db_.quote(key), room - kApartDigits - 1), hash,
        kApartDigits);
  }

  void make_apart(const Row& row, const Write& made, const std::string& fresh) {
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
    ++counts_.apart;
  }

  void add_change(const Row& row, const Write& entry, Value kept, Value sums, bool unseen) {
    changes_.add({std::to_string(table_.id), row.key, std::to_string(entry.dot.origin.value),
                  std::to_string(entry.dot.counter),
                  entry.at == kTimeUnknown ? Value() : Value(std::to_string(entry.at.micros)),
                  entry.columns.to_bits(table_.width), std::string(entry.deleted ? "t" : "f"), std::move(kept),
                  std::string(unseen ? "t" : "f"), std::to_string(entry.policy), std::move(sums)});
  }

  // With its values beside the row, which include `totals` of the counters. Large ones are put in their places by the
  // database.
  void add_change(const Row& row, const Write& entry, bool unseen, const Sums& totals) {
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

  // Where the database finds a value that is too large to be here.
  struct Source {
    std::string value;
    std::string from;  // "tables WHERE condition" in two halves: `from` ends where more conditions may follow
  };
  [[nodiscard]] Source source_of(const Row& row, ColumnNumber number, const std::string& stand_in) const {
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

  [[nodiscard]] std::size_t index_of(ColumnNumber number) const {
    return static_cast<std::size_t>(std::find(numbers_.begin(), numbers_.end(), number) - numbers_.begin());
  }

  void write(const Row& row, const RowState& state, const Outcome& outcome, const Sums& totals) {
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

  [[nodiscard]] std::string column_name(ColumnNumber number) const {
    for (const auto& column : table_.columns) {
      if (column.number == number) {
        return column.name;
      }
    }
    return "";
  }

  // A value in the record of a conflict. A large one is put in the place of its stand-in by the database.
  Json value_of(const Row& row, ColumnNumber column, const Value& value, const std::string& signature) {
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

  void add(const ConflictRecord& record) {
    counts_.conflicts += static_cast<std::int64_t>(record.columns.size()) + (record.existence_rule.empty() ? 0 : 1);
    conflicts_.add(record.line());
  }

  [[nodiscard]] ConflictRecord new_record(std::string kind, const Row& row) const {
    ConflictRecord record;
    record.kind = std::move(kind);
    record.schema = table_.schema;
    record.table = table_.name;
    record.key = row.key;
    return record;
  }

  // Everything that the row's writes do not agree on is one conflict.
  void add_conflicts(const Row& row, const RowState& state, const Outcome& outcome, const ApartKeys& apart) {
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
    for (const auto* write : writes) {
      const auto key = apart.find(write->dot);
      record.versions.push_back(ConflictVersion{to_string(write->dot.origin), write->dot.counter, write->at,
                                                write->deleted, key == apart.end() ? "" : key->second, Json::object()});
    }
    const auto signature = record.signature();
    for (const auto& conflict : outcome.conflicts) {
      if (conflict.column == kRowMark) {
        record.existence_rule = word_of(outcome.exists ? DeleteRule::kUpdateWins : DeleteRule::kDeleteWins);
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

  void add_base_conflict(const Row& row, const BaseOutcome& base, const std::string& rule, const ApartKeys& apart) {
    if (base.conflicts.empty() || table_.internal) {
      return;
    }
    auto record = new_record("newcomer", row);
    const auto self = to_string(context_.self.id);
    record.exists = base.values.has_value();
    record.versions.push_back(ConflictVersion{"fleet", 0, kTimeUnknown, !row.their_row, {}, Json::object()});
    record.versions.push_back(ConflictVersion{self, 0, kTimeUnknown, !row.my_row,
                                              apart.empty() ? "" : apart.begin()->second, Json::object()});
    const auto signature = record.signature();
    const std::size_t winner = base.base_won ? 0 : 1;
    for (const auto column : base.conflicts) {
      if (column == kRowMark) {
        record.existence_rule = rule;
        record.existence_version = winner;
        continue;
      }
      record.columns.push_back(ConflictColumn{column_name(column), rule, winner, {}, {}});
    }
    const std::optional<Values>* const sides[] = {&row.their_row, &row.my_row};
    for (std::size_t i = 0; i < 2; ++i) {
      for (const auto column : base.conflicts) {
        if (sides[i]->has_value() && column != kRowMark) {
          if (const auto value = (*sides[i])->find(column); value != (*sides[i])->end()) {
            record.versions[i].values[column_name(column)] = value_of(row, column, value->second, signature);
          }
        }
      }
    }
    add(record);
  }

  PgConnection& db_;
  bool counted_;
  const StagedTable& staged_;
  const Table& table_;
  TableSql sql_;
  const MergeContext& context_;
  std::vector<ColumnNumber> numbers_;
  StandIns stand_ins_;
  TableRulebook book_;
  ColumnSet computed_;       // by some rule
  ColumnSet ordered_enums_;  // compared by some rule
  CopyBuffer rows_;
  CopyBuffer changes_;
  CopyBuffer counters_;
  CopyBuffer conflicts_;
  std::set<std::string> given_keys_;   // to rows that were set apart
  std::vector<std::string> exchange_;  // statements that put large values in the place of their stand-ins
  MergeCounts counts_;
};

}  // namespace

std::string covered_by(const VersionVector& vector, std::string_view alias, std::string_view prefix) {
  std::string condition;
  for (const auto& [origin, counter] : vector.counters()) {
    condition += fmt::format("{0}({1}.{2}origin = {3} AND {1}.{2}counter <= {4})", condition.empty() ? "" : " OR ",
                             alias, prefix, origin.value, counter);
  }
  return condition.empty() ? "false" : fmt::format("({})", condition);
}

Result<void> prepare_merge(PgConnection& db) {
  MBSYNC_TRY(db.ensure_temporary_table("new_change",
                                       "tab int, key text, origin bigint, counter bigint, at_us bigint, cols varbit, "
                                       "deleted boolean, kept text, unseen boolean, policy bigint, sums text",
                                       {"kept"}));
  MBSYNC_TRY(db.ensure_temporary_table(
      "new_counter", "tab int, key text, number int, origin bigint, counter bigint, total numeric, shown numeric"));
  return db.ensure_temporary_table("new_conflict", kNewConflictColumns, {"versions", "outcome"});
}

Result<MergeCounts> merge_rows(PgConnection& db, const StagedTable& staged, const MergeContext& context) {
  const auto& table = *staged.table;
  const TableSql sql(table);
  const auto local = fmt::format("SELECT DISTINCT c.key FROM mbsync.change c WHERE c.tab = {} AND {}", table.id,
                                 has_key_among("c", "m_key", "FROM " + staged.name));
  // Another answer may have been applied since this one was asked for. A write that is covered here and not live any
  // more was overwritten or forgotten, and the values that came with it are out of date.
  if (!context.asked_seen.covers(context.mine_seen)) {
    MBSYNC_TRY(
        db.exec(fmt::format("DELETE FROM {} s WHERE s.m_origin IS NOT NULL AND {} AND NOT EXISTS "
                            "(SELECT FROM mbsync.change c WHERE c.tab = {} AND {})",
                            staged.name, covered_by(context.mine_seen, "s", "m_"), table.id, has_key("c", "s.m_key"))));
  }
  const auto any =
      db.exec(fmt::format("SELECT EXISTS (SELECT FROM {} WHERE m_writes IS NOT NULL OR m_held{}) OR EXISTS ({})",
                          staged.name, staged.renumber.empty() ? "" : " OR m_kept IS NOT NULL", local));
  MBSYNC_TRY(any);
  if (!(*any)[0][0].as<bool>()) {
    return MergeCounts{};
  }

  // Equal rows on both sides, each with one write that the other has not seen: both writes stay live and agree, so
  // there is nothing to judge. Two machines restored from one dump come here with every row they have.
  const auto counted = has_counters(db, table.id);
  MBSYNC_TRY(counted);
  if (!context.header.full && staged.renumber.empty() && !*counted) {
    MBSYNC_TRY(db.exec(fmt::format(
        "WITH same AS (DELETE FROM {0} s USING (SELECT c.key FROM mbsync.change c WHERE c.tab = {1} AND {8} "
        "GROUP BY c.key HAVING count(*) = 1 AND NOT bool_or(c.deleted OR c.kept IS NOT NULL OR {2})) w, {3} t "
        "WHERE w.key = s.m_key AND NOT s.m_held AND s.m_writes IS NULL AND NOT s.m_deleted AND s.m_kept IS NULL AND "
        "NOT {4} AND {5} "
        "AND ROW({6})::record OPERATOR(pg_catalog.*=) ROW({7})::record "
        "RETURNING s.m_key, s.m_origin, s.m_counter, s.m_at, s.m_cols, s.m_policy) "
        "INSERT INTO mbsync.change (tab, key, origin, counter, at, cols, deleted, policy) "
        "SELECT {1}, m_key, m_origin, m_counter, m_at, m_cols, false, m_policy FROM same",
        staged.name, table.id, covered_by(context.header.seen, "c", ""), table.quoted(),
        covered_by(context.mine_seen, "s", "m_"), sql.key_match("t", "s.m_key"), sql.columns("t"),
        sql.staged_values("s"), has_key_among("c", "m_key", "FROM " + staged.name))));
  }
  const auto told = db.exec(fmt::format("UPDATE {} SET m_slow = true WHERE m_writes IS NOT NULL OR m_held{}",
                                        staged.name, staged.renumber.empty() ? "" : " OR m_kept IS NOT NULL"));
  MBSYNC_TRY(told);
  const auto both = db.exec(fmt::format(
      "UPDATE {0} s SET m_slow = true FROM ({1}) k WHERE k.key = s.m_key AND NOT s.m_slow", staged.name, local));
  MBSYNC_TRY(both);

  // It was analysed when nothing was marked yet, and whoever takes the marked rows for none goes through all of them
  // for each: with one row in a hundred in conflict, a pull took ten times as long.
  if (staged.rows > kManyRows) {
    MBSYNC_TRY(db.exec(fmt::format("ANALYZE {} (m_key, m_slow)", staged.name)));
  }
  auto counts = Judge(db, staged, context, *counted)
                    .run(static_cast<std::int64_t>(told->affected_rows() + both->affected_rows()));
  MBSYNC_TRY(counts);
  // From the staged rows to their writes, and never the other way round: how many writes there are is what statistics
  // know least.
  MBSYNC_TRY(db.exec(
      fmt::format("DELETE FROM mbsync.change WHERE ctid = ANY (ARRAY (SELECT w.ctid FROM {0} s, LATERAL (SELECT c.ctid "
                  "FROM mbsync.change c WHERE c.tab = {1} AND {2} OFFSET 0) w WHERE s.m_slow)); "
                  "DELETE FROM {0} WHERE m_slow",
                  staged.name, table.id, has_key("c", "s.m_key"))));
  return counts;
}

Result<void> store_merged(PgConnection& db, int record_table) {
  MBSYNC_TRY(db.exec(fmt::format(
      "INSERT INTO mbsync.change (tab, key, origin, counter, at, cols, deleted, kept, unseen, policy, "
      "sums) SELECT tab, key, origin, counter, coalesce('epoch'::timestamptz + at_us * interval '1 "
      "microsecond', '-infinity'), cols, deleted, kept, unseen, policy, sums FROM pg_temp.new_change; "
      "DELETE FROM mbsync.counter k USING (SELECT DISTINCT tab, key FROM pg_temp.new_counter) n WHERE k.tab "
      "= n.tab AND {1}; "
      "INSERT INTO mbsync.counter SELECT * FROM pg_temp.new_counter; "
      // The record travels: what captures nothing while rows are applied is captured by hand.
      "WITH fresh AS (INSERT INTO mbsync.conflict_record (id, kind, schema_name, table_name, key, dots, "
      "columns, versions, outcome, at, is_open) "
      "SELECT md5(signature)::uuid, kind, schema_name, table_name, key, dots, columns, versions::jsonb, "
      "outcome::jsonb, coalesce('epoch'::timestamptz + at_us * interval '1 microsecond', '-infinity'), "
      "is_open FROM pg_temp.new_conflict ON CONFLICT (id) DO NOTHING RETURNING id, at) "
      "INSERT INTO mbsync.capture (tab, op, key, at) SELECT {0}, 'I', id::text, at FROM fresh",
      record_table, has_key("k", "n.key"))));
  MBSYNC_TRY(db.clear_temporary_table("new_change"));
  MBSYNC_TRY(db.clear_temporary_table("new_counter"));
  return db.clear_temporary_table("new_conflict");
}

}  // namespace mbsync
