// Foreign keys while rows are applied: constraints may be bypassed, and some rows cannot be written yet.
#pragma once

#include <map>
#include <string>
#include <utility>
#include <vector>

#include "reference_sql.h"
#include "staged_table.h"

namespace mbsync {

class ReferenceCheck {
 public:
  /// A staged row that cannot be written now. Where `reason` is empty it only waits for others.
  struct Held {
    int tab = 0;
    std::string key;
    std::string reason;
    bool by_others = false;  ///< refused for what other rows are: a unique or foreign key. A rule may mend it
  };
  using Keys = std::vector<Held>;
  using Staged = std::map<int, StagedTable>;

  /// In the apply transaction, with the staged rows merged. `known`: what this node had heard of before.
  ReferenceCheck(PgConnection& db, const Schema& schema, const Staged& staged, const VersionVector& known)
      : db_(db), schema_(schema), staged_(staged), known_(known) {}

  /// Before rows are written: the staged rows that cannot stand while others are set aside (CONFLICTS.md C10), and
  /// therefore have to be set aside as well: rows that refer to one that has not come yet, deletions of rows that one
  /// which cannot be written refers to still, and whatever depends on these.
  Result<Keys> find_dependents();

  /// Before rows are written: the staged deletions of rows that a row here refers to which neither goes nor changes
  /// itself. Rows to be deleted are locked, so nobody can refer to them any more. Without `skip_held`, `conflict`.
  Result<Keys> check_deletions(bool skip_held);

  /// The same for tables that do not take part, whose foreign keys nobody enforces while constraints are bypassed: what
  /// they say for ON DELETE is done to their rows; where they say that the row must stay, its deletion is returned.
  Result<Keys> check_outsiders(bool skip_held);

  /// After rows are written: locks what they refer to against deletion, as the constraint would. `conflict` if it does
  /// not exist. With `skip_held` nothing is waited for and nothing fails: the rows are returned that refer to what the
  /// application is about to delete, or to what does not exist.
  Result<Keys> lock_referenced(bool skip_held);

 private:
  [[nodiscard]] const StagedTable* stage_of(const Table* table) const;
  Result<void> follow_deletions(const RefusedTable& child, const ForeignKey& reference, const Table& parent);
  Result<bool> hold(const StagedTable& staged, const std::string& condition, Keys& held);

  PgConnection& db_;
  const Schema& schema_;
  const Staged& staged_;
  const VersionVector& known_;
};

}  // namespace mbsync
