// From staging tables to the application's tables: rows deleted, updated and inserted set by set.
#pragma once

#include "schema.h"
#include "staged_table.h"

namespace mbsync {

/// How apply keeps the application's constraints and triggers out of its way.
struct ApplyRole {
  bool replica =
      false;  ///< may set session_replication_role: constraints and triggers are bypassed, keys checked after
};
Result<ApplyRole> find_apply_role(PgConnection& db);

/// In the apply transaction, on merged staging tables. Every statement may wait for a lock up to lock_timeout and then
/// fails with `transient`. `only` is a condition on the staged row `s` that narrows a statement to part of them.
class RowWriter {
 public:
  /// `full`: most staged rows are the same here already. `last_resort`: nothing else is left to try where rows clash.
  RowWriter(PgConnection& db, ApplyRole role, bool full, bool last_resort)
      : db_(db), role_(role), full_(full), last_resort_(last_resort) {}

  /// Part of the staged rows may be the same here already: those are not written again.
  void some_are_written(bool some) { full_ = full_ || some; }

  /// Deletes the rows that are to go.
  Result<void> remove(const StagedTable& staged, const std::string& only = "true");
  /// Updates and inserts those that are to stand. `conflict` where a unique key stands in the way; `transient` if
  /// somebody else writes the same row at this moment.
  Result<void> write(const StagedTable& staged, const std::string& only = "true");

 private:
  Result<std::int64_t> count(const StagedTable& staged, const std::string& from, const std::string& only);
  Result<bool> may_replace(const Table& table);
  [[nodiscard]] Error refused(Error error) const;

  PgConnection& db_;
  ApplyRole role_;
  bool full_;
  bool last_resort_;
};

}  // namespace mbsync
