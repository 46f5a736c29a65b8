// One table's rows that are written on both sides, judged by the core and written back as what they are to become. In
// the apply transaction; one thread. Used by merge_rows() alone.
#pragma once

#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "base_row.h"
#include "conflict_record.h"
#include "counters.h"
#include "merge_rows.h"
#include "pull_reader.h"
#include "settle.h"
#include "stand_ins.h"
#include "table_rulebook.h"
#include "table_sql.h"

namespace mbsync {

// What one row under judgement looks like on both sides.
struct JudgedRow {
  std::string key;
  bool held = false;
  RowState mine;
  std::map<Dot, Value> kept;       // of `mine`, as stored
  std::map<Dot, Value> kept_sums;  // the same for mbsync.change.sums
  Counters my_counters;
  Counters their_counters;
  std::set<Dot> unseen;                      // of `mine`
  std::optional<Dot> fleet_row;              // of these, what stands for the fleet's row (C9, C21)
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
  void add(const std::vector<Value>& fields);
  Result<void> flush(PgConnection& db);

 private:
  std::string command_;
  std::string text_;
};

class Judge {
 public:
  /// `counted`: some row here has counters.
  Judge(PgConnection& db, const StagedTable& staged, const MergeContext& context, bool counted);

  /// `rows`: how many there are to judge.
  Result<MergeCounts> run(std::int64_t rows);

 private:
  Result<void> run(const std::string& kept_bytes, int batch_rows);

  [[nodiscard]] std::size_t value_bytes_max(ColumnNumber number) const;

  [[nodiscard]] std::string staged_columns() const;

  [[nodiscard]] std::string query(const std::string& kept_bytes) const;

  static Value text(const pqxx::field& field);

  Result<JudgedRow> read(const pqxx::row& line);

  Result<Counters> load_counters(const WireRow& wire, bool from_peer) const;

  [[nodiscard]] bool is_column(ColumnNumber number) const;

  // What looks like a number in a column that has become text since is none (CONFLICTS.md C16).
  [[nodiscard]] bool is_number(ColumnNumber number) const;

  static Value sums_text(const std::map<ColumnNumber, std::string>& sums);

  // Gives every write its values: from its kept record, or from the row they stand in.
  Result<RowState> load(const std::vector<WireWrite>& writes, const std::optional<Values>& row, bool from_peer,
                        std::map<std::string, std::string>& texts);

  // m_cols was brought into our numbering as it was staged, m_kept was not; load() takes both in the sender's.
  [[nodiscard]] ColumnSet their_columns(const ColumnSet& ours) const;

  [[nodiscard]] ColumnNumber our_number(ColumnNumber theirs) const;

  // The application holds the row. Its writes here stay as they are stored; what the peer has besides is stored with
  // its values, since the row does not show them (CONFLICTS.md C10).
  Result<void> set_aside(JudgedRow& row);

  // A newcomer cannot write this row of the fleet yet. Its edits are on top of it all the same, and what waits is kept
  // as writes that the application has not seen (C10). Where the fleet has forgotten who wrote it, a write that all
  // have seen stands for it: whatever comes after it takes its place, and nobody is told of it (CONFLICTS.md C9, C21).
  Result<void> newcomer_that_waits(JudgedRow& row, RowState& merged);

  using ApartKeys = std::map<Dot, std::string>;

  // A newcomer's writes and the fleet's, and what comes of them: the fleet's row, if there is one; the row as it is to
  // be; and the newcomer's, if it is to be kept beside the fleet's (C15).
  struct Sides {
    RowState own;
    RowState fleet;
  };
  struct Meeting {
    std::optional<Values> below;
    BaseOutcome base;
    std::optional<Write> beside;
  };
  [[nodiscard]] Sides sides_of(const JudgedRow& row) const;
  Result<void> keep_beside(JudgedRow& row, const Write& beside, const Values& below, const RowState& fleet,
                           BaseOutcome& base, ApartKeys& apart);
  Meeting meet(const JudgedRow& row, const RowState& own, const RowState& fleet);
  [[nodiscard]] Error cannot_wait(const JudgedRow& row) const;

  void add_counters(const JudgedRow& row, const Counters& counters);

  Result<void> judge(JudgedRow& row);
  Result<void> judge_newcomer(JudgedRow& row, Counters counters);

  // Where neither side shows a row, a write that was kept beside it may bring it back; a column that has come since is
  // NULL then.
  [[nodiscard]] Values no_values() const;
  static const std::optional<Values>& below(const JudgedRow& row, const RowState& merged);

  // From bases to what is shown: `totals` are added to all values of counters, and every share counts as shown.
  Sums show_all(JudgedRow& row, Counters& counters, std::initializer_list<RowState*> states, Sums totals);

  // Where a label stands among the others, nobody can say who does not have it yet, or has them in another order than
  // the policy: the row waits.
  bool has_unordered_labels(const JudgedRow& row, const RowState& state);

  [[nodiscard]] bool row_is_refused(const JudgedRow& row) const;

  // Where both of two rows that were made under one key are kept (CONFLICTS.md C15), a newcomer's is news like any
  // other: the row as it is here, if it was made here. What the fleet knows of its own row may be forgotten, so the
  // policy in force counts.
  [[nodiscard]] std::optional<Write> made_anew(const RowState& own, const JudgedRow& row) const;

  // All hear by this what has no part in the row any more (without_apart()). It holds the row's values, since two nodes
  // may each have set apart what the other has kept, and the row would be nobody's; and has the time of what it holds,
  // so that whoever has written the row meanwhile wins.
  void write_row_that_stays(const JudgedRow& row, const RowState& left);

  // A row that another one has taken the key of gets one of its own, the same wherever that is found out, unless it has
  // been given one before.
  Result<void> set_apart(const JudgedRow& row, const Write& made, ApartKeys& apart);

  // SQL for the key that is to be tried next.
  [[nodiscard]] std::string other_key(const std::string& key, const Dot& dot, int number) const;

  void make_apart(const JudgedRow& row, const Write& made, const std::string& fresh);

  void add_change(const JudgedRow& row, const Write& entry, Value kept, Value sums, bool unseen);

  // With its values beside the row, which include `totals` of the counters. Large ones are put in their places by the
  // database.
  void add_change(const JudgedRow& row, const Write& entry, bool unseen, const Sums& totals);

  // Where the database finds a value that is too large to be here.
  struct Source {
    std::string value;
    std::string from;  // "tables WHERE condition" in two halves: `from` ends where more conditions may follow
  };
  [[nodiscard]] Source source_of(const JudgedRow& row, ColumnNumber number, const std::string& stand_in) const;

  [[nodiscard]] std::size_t index_of(ColumnNumber number) const;

  void write(const JudgedRow& row, const RowState& state, const Outcome& outcome, const Sums& totals);

  [[nodiscard]] std::string column_name(ColumnNumber number) const;

  // A value in the record of a conflict. A large one is put in the place of its stand-in by the database.
  nlohmann::json value_of(const JudgedRow& row, ColumnNumber column, const Value& value, const std::string& signature);

  void add(const ConflictRecord& record);

  [[nodiscard]] ConflictRecord new_record(std::string kind, const JudgedRow& row) const;

  // Everything that the row's writes do not agree on is one conflict.
  void add_conflicts(const JudgedRow& row, const RowState& state, const Outcome& outcome, const ApartKeys& apart);

  // `fleet` is the row that lies below the own one.
  void add_base_conflict(const JudgedRow& row, const std::optional<Values>& fleet, const BaseOutcome& base,
                         const ApartKeys& apart);

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

}  // namespace mbsync
