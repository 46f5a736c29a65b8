// Rows that cannot stand together although each was judged rightly: two with one value of a unique key, or a parent
// deleted on one side and referred to on the other. mbsync then makes writes of its own (CONFLICTS.md C18 to C20): the
// staged rows are changed before they are written, and what was changed is captured and sealed in the same transaction.
#pragma once

#include <map>
#include <optional>
#include <set>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "conflict_record.h"
#include "reference_check.h"
#include "reference_sql.h"
#include "staged_table.h"

namespace mbsync {

class Repair {
 public:
  using Staged = std::map<int, StagedTable>;

  /// In the apply transaction. Every staged row's live writes are in mbsync.change, and every table that is connected
  /// to a staged one by foreign keys has a stage (add_stages()).
  /// With `skip_held` a row that the application holds is not waited for: what depends on it is set aside.
  /// `known`: what this node had heard of before.
  Repair(PgConnection& db, const Schema& schema, Staged& staged, const VersionVector& known, bool skip_held)
      : db_(db), schema_(schema), staged_(staged), known_(known), skip_held_(skip_held) {}

  /// Changes staged rows until all keys are kept. Returned are rows for which there is no rule, or that the application
  /// holds (no reason): they have to be set aside, and the attempt made again.
  Result<ReferenceCheck::Keys> run();
  /// Of the rows that have to be set aside, those that cannot stand beside another one: conflicts for a person.
  [[nodiscard]] const std::vector<ConflictRecord>& clashes() const { return clashes_; }

  /// Whether a unique key that is checked at the end of a transaction, or never where constraints are bypassed, would
  /// be broken by the staged rows.
  Result<bool> breaks_deferred_key();

  /// A row of `table` that was made of another one's writes while rows were judged (CONFLICTS.md C15).
  void made(const Table& table, const std::string& key, const std::string& of);

  /// What has to be set aside so that this row, which may have been brought in, is not touched: the staged rows because
  /// of which it was, or itself.
  [[nodiscard]] ReferenceCheck::Keys causes_of(const ReferenceCheck::Held& row) const;

  /// After the rows are written: what was made here becomes captures, to be sealed. How many rows.
  Result<std::int64_t> capture();

 private:
  using Edge = ReferenceEdge;
  struct Deletion {
    std::string node;
    std::int64_t counter = 0;
    WriteTime at = kTimeUnknown;
    std::string key;
    std::string image;  ///< record text over the parent's column numbers
  };
  struct Unchecked {
    Deletion cause;
    bool by_deletions;  ///< nothing but deletions says what the row refers to
  };
  struct Claim {
    std::string key;
    ConflictVersion version;
    Dot dot;
    bool operator<(const Claim& other) const;
  };
  Result<bool> round();
  Result<bool> separate(const Table& table, const UniqueKey& unique);
  Result<std::vector<std::pair<std::string, std::string>>> clashes(const Table& table, const UniqueKey& unique);
  Result<Claim> claim_of(const Table& table, const UniqueKey& unique, const std::string& key);
  using RowKey = std::pair<int, std::string>;  // table and key
  Result<void> bring_in(const Table& table, const std::string& which, int because_tab, const std::string& because);
  Result<bool> stage_row(const Table& table, const std::string& key, const RowKey& because);
  void set_aside(const RowKey& row, const std::string& reason);
  Result<bool> waits_here(const Table& table, const std::string& key);
  Result<void> wait_for(const Table& table, const UniqueKey& unique, std::set<std::string> waiting);
  Result<const TableRules*> rules_for(const Table& table, const Claim& one, const Claim& other);
  Result<bool> must_have(const Table& table, const std::string& key, const std::string& column);
  Result<bool> give_way(const Table& table, const UniqueKey& unique, Claim& loser, Claim& winner);
  Result<std::string> park(const Table& table, const UniqueKey& unique, const Claim& loser, const Claim& winner,
                           const std::string& reason);
  void record_clash(const Table& table, const UniqueKey& unique, const Claim& loser, const Claim& winner);
  Result<void> unite(const Table& table, const Claim& loser, const Claim& winner, const TableRules* rules);
  Result<void> take_counters(const Table& table, const std::string& from, const std::string& to);
  Result<std::optional<std::string>> united_with(const Table& table, const Deletion& deletion, const RowKey& because);
  Result<bool> move_children(const Edge& edge, const std::string& from, const std::string& to, const Deletion& cause);
  Result<void> refer_to(const Edge& edge, const std::string& child_key, const std::string& parent_key,
                        const Deletion& cause, bool on_record = true);
  static bool can_be_set(const Edge& edge, bool to_default);
  static bool refuses_deletion(const Edge& edge);
  Result<bool> mend(const Edge& edge);
  [[nodiscard]] std::string has_parent(const Edge& edge, const NameColumn& child) const;
  Result<std::vector<std::string>> dangling(const Edge& edge, const std::string* only = nullptr);
  Result<void> stage_children(const Edge& edge);
  Result<std::optional<Deletion>> find_deletion(const Edge& edge, const std::string& child_key);
  Result<std::string> image_now(const Table& table, const std::string& key, const std::string& image,
                                const std::string& included);
  Result<void> go_along(const Edge& edge, const std::string& child_key, const std::string& parent_key,
                        WriteTime moved_at);
  Result<bool> follow(const Edge& edge, const std::string& child_key);
  Result<void> apply_action(const Edge& edge, const std::string& child_key, const Deletion& deletion);
  Result<bool> follow_moves(const Edge& edge);
  [[nodiscard]] std::string assignments_from(const Edge& edge) const;
  Result<std::vector<std::pair<Edge, std::string>>> refer_to_arrived(const Table& parent, const std::string& key,
                                                                     const std::string& column);
  Result<bool> is_refused_otherwise(const Edge& edge, const std::string& child_key, const Deletion& deletion);
  Result<void> take_back_cascades(const RowKey& cause);
  Result<bool> take_back(const RowKey& row);
  Result<void> note_need(const Edge& edge, const std::string& child_key);
  Result<void> revive(const Edge& edge, const std::string& child_key, const Deletion& deletion);
  Result<std::optional<Unchecked>> find_unchecked(const Edge& edge, const std::string& child_key);
  Result<void> remove(const Edge& edge, const std::string& child_key, const Deletion& deletion,
                      const std::string& rule);
  Result<void> set_columns(const Edge& edge, const std::string& child_key, const Deletion& deletion, bool to_default,
                           const std::string& rule);
  /// `op` as in mbsync.capture, and T: the row is touched, and its row mark written, with `cols` or without.
  Result<void> note(const Table& table, const std::string& key, char op, const std::string& cols,
                    const Deletion& cause);
  void record(ConflictRecord entry);
  Result<void> store_records();
  Result<nlohmann::json> staged_values(const Table& table, const std::string& key);
  Result<ConflictVersion> latest_version(const Table& table, const std::string& key);
  [[nodiscard]] const StagedTable& stage(const Table& table) const { return staged_.at(table.id); }
  [[nodiscard]] std::vector<Edge> edges() const;

  PgConnection& db_;
  const Schema& schema_;
  Staged& staged_;
  const VersionVector& known_;
  bool skip_held_;
  ReferenceCheck::Keys unsolved_;
  std::vector<ConflictRecord> clashes_;
  std::map<std::string, ConflictRecord> records_;                      ///< by signature
  std::map<std::tuple<int, std::string, std::string>, int> suffixes_;  ///< how often a row's column was given one
  std::map<RowKey, std::set<RowKey>> brought_in_;  ///< rows that were not staged, and because of which
  std::set<RowKey> pinned_;                        ///< rows that came back
  std::multimap<RowKey, RowKey> cascades_;         ///< rows that went, by the deleted row because of which
};

/// From microseconds since 1970 UTC (micros_of()).
WriteTime time_of(const pqxx::field& micros);

/// With nothing in it yet but what it is about.
ConflictRecord new_record(std::string kind, const Table& table, std::string key);

/// "t" or "f" per column number, as captures have it.
std::string changed_flags(const Table& table, const std::vector<std::string>& columns);

/// Makes the session's temporary tables of repairing. Once a session, outside a transaction.
Result<void> prepare_repair(PgConnection& db);

/// Makes empty stages for the tables that are connected to staged ones by foreign keys. Outside a transaction.
Result<void> add_stages(PgConnection& db, const Schema& schema, Repair::Staged& staged);

}  // namespace mbsync
