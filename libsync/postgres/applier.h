// What was staged becomes rows, in one transaction: locked, sealed, merged, written, checked.
#pragma once

#include <algorithm>
#include <chrono>
#include <map>
#include <optional>
#include <set>
#include <utility>
#include <vector>

#include "conflict_record.h"
#include "merge_rows.h"
#include "parked_row.h"
#include "reference_check.h"
#include "row_writer.h"
#include "staged_table.h"
#include "version_store.h"

namespace mbsync {

struct ApplyReport {
  std::int64_t rows = 0;       ///< rows in the answer
  std::int64_t merged = 0;     ///< of those, rows with writes on both sides
  std::int64_t conflicts = 0;  ///< columns in which siblings differed
  std::int64_t repaired = 0;   ///< writes of mbsync's own, so that all rows can stand (CONFLICTS.md C18)
  /// Rows that the application holds: what came for them waits in mbsync.change (CONFLICTS.md C10).
  std::int64_t set_aside = 0;
  bool may_settle = false;  ///< what waited from before may be writable now: settle_unseen() is worth a try
  /// Of those, rows that the database refuses (mbsync.parked).
  std::vector<ParkedRow> parked;  ///< the first few
  /// Rows whose unsent writes had lost their values: removed here with triggers switched off. The peer's row stands.
  std::int64_t missing = 0;
  /// The answer could not be used: it was out of date by the time it arrived, or the peer has to join first. Nothing
  /// was changed; ask again.
  bool outdated = false;
  /// With `outdated`: labels have come that the order of values depends on. Read the schema anew first.
  bool schema_outdated = false;
  /// With `outdated`: why nothing is taken from this peer, or not yet (CONFLICTS.md C22).
  std::optional<Error> turned_down = {};
};

/// The caller holds the engine's lock; the session has no open transaction. Errors: `transient` (lock, deadlock,
/// connection: try again later), `conflict` (rows of a full answer that the database refuses), `corrupt` (an answer to
/// a node that comes back is not whole), `in_doubt` (ask the vector). After any error nothing has changed, and the
/// staging tables are as they were.
class Applier {
 public:
  using Staged = std::map<int, StagedTable>;  ///< by Table::id

  Applier(PgConnection& db, const Schema& schema, Member self, ApplyRole role)
      : db_(db), schema_(schema), self_(std::move(self)), role_(role) {}

  /// Applies an answer. Waits a moment for rows that an application transaction holds; those that stay held are set
  /// aside and all others go on. `patient` is whether that moment is worth it: not while rows wait anyway. A full
  /// answer cannot leave rows out and fails with `transient` instead. `as`: the answer is to this node as another,
  /// which it is from then on (comeback.h).
  Result<ApplyReport> apply(Staged& staged, const PullHeader& header, const VersionVector& asked_seen, bool patient,
                            const std::optional<Member>& as = {});

  /// Settles rows that were set aside and are not held any more; `set_aside` of the result is how many still wait.
  Result<ApplyReport> settle_unseen();

 private:
  struct Task {
    Staged& staged;
    const PullHeader& header;
    const VersionVector& asked_seen;
    bool skip_held;                         ///< rows that cannot be locked at once are set aside
    bool settling;                          ///< not an answer, but what was set aside before
    std::optional<Member> as = {};          ///< who this node becomes with it
    bool repair = false;                    ///< rows do not stand together as they are (repair.h)
    bool trial = false;                     ///< whether it would work; nothing stays
    std::vector<ConflictRecord> clashes{};  ///< of rows that were set aside in attempts before
  };
  struct KeyRange {
    int tab;
    std::string from;
    Value to;  // the first key behind it; nothing: up to the end
  };
  // Rows that turned out to have to wait, or that the database refuses, so that the attempt has to be made again
  // without them.
  struct Blocked {
    ReferenceCheck::Keys keys;
    std::vector<KeyRange> ranges;
    std::vector<ConflictRecord> clashes;  ///< of those rows, for the record
    [[nodiscard]] bool empty() const { return keys.empty() && ranges.empty(); }
    // Halves of what can only stand together are refused for what the other half has, and so is what refers to a row
    // that waits. While there are rows that wait or are refused by themselves, nobody knows whether the others are to
    // blame at all.
    void spare_innocent() {
      if (!ranges.empty() || std::any_of(keys.begin(), keys.end(), [](const auto& row) { return !row.by_others; })) {
        std::erase_if(keys, [](const auto& row) { return row.by_others; });
      }
    }
    [[nodiscard]] bool refused() const {
      return std::any_of(keys.begin(), keys.end(), [](const auto& row) { return !row.reason.empty(); });
    }
  };

  Result<ApplyReport> attempts(Task task);
  Result<ApplyReport> isolate(Task task, const Error& failure);
  Result<void> list_suspects(const Task& task, std::int64_t& count);
  Result<ApplyReport> attempt_to_the_end(Task& task);
  Result<std::int64_t> count_held(const Task& task);
  Result<void> get_ready_to_repair(const Task& task);
  Result<ApplyReport> attempt(const Task& task, Blocked& blocked);
  Result<ApplyReport> run(const Task& task, Blocked& blocked);
  Result<void> begin(const Task& task);
  Result<bool> labels_have_changed(const Task& task);
  Result<void> lock_out_writers(const Task& task, const StagedTable& staged);
  Result<void> lock_rows(const Task& task, const StagedTable& staged);
  Result<void> store_writes(const StagedTable& staged);
  Result<void> write_all(const Task& task, const std::vector<StagedTable*>& order, Blocked& blocked);
  Result<void> note_kept_whole();
  Result<void> check_nobody_was_faster(const std::vector<StagedTable*>& order);
  template <typename Statement>
  Result<void> guarded(const Task& task, const StagedTable& staged, Blocked& blocked, Statement statement);
  template <typename Work>
  Result<void> find_blocked(const StagedTable& staged, Blocked& blocked, std::chrono::milliseconds patience, Work work);
  Result<bool> hold(Task& task, Blocked& blocked);
  Result<void> note_parked(ApplyReport& report);
  Result<void> note_clashes(const Task& task);
  Result<Staged> stage_unseen();
  Result<ApplyReport> settle(Staged& staged);
  Result<void> look_after_parked(const Task& task, ApplyReport& report);
  Result<void> check_peer(const PullHeader& header);
  static Error is_away(const Member& peer);
  [[nodiscard]] std::optional<Error> objection_to(const Task& task, const Fleet& fleet, const Versions& versions) const;
  [[nodiscard]] std::set<NodeId> outside_of(const Task& task) const;
  Result<std::optional<Error>> come_back(const Task& task, VersionVector& brought);
  Result<std::set<NodeId>> away_as_told(const Task& task, const Fleet& fleet);
  [[nodiscard]] std::vector<Member> heard_of(const Fleet& fleet, const PullHeader& header) const;
  Result<void> store_fleet(const Fleet& fleet, const PullHeader& header);
  static std::vector<StagedTable*> parents_first(Staged& staged);
  static bool is_refused(const PgConnection& db, const Error& error);
  [[nodiscard]] bool is_referenced(const Table& table) const;

  PgConnection& db_;
  const Schema& schema_;
  Member self_;
  ApplyRole role_;
  std::string kept_whole_ = "{}";  ///< where captures lie (tid[]) that this attempt's seal may have left
};

/// Makes the session's temporary tables that applying works with. Once a session, outside a transaction.
Result<void> prepare_apply(PgConnection& db);

}  // namespace mbsync
