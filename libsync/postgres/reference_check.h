// Foreign keys while rows are applied: constraints may be bypassed, and some rows cannot be written yet.
#pragma once

#include <map>
#include <string>
#include <utility>
#include <vector>

#include "staged_table.h"

namespace mbsync {

class ReferenceCheck {
 public:
  using Keys = std::vector<std::pair<int, std::string>>;  ///< table, key
  using Staged = std::map<int, StagedTable>;

  /// In the apply transaction, with the staged rows merged.
  ReferenceCheck(PgConnection& db, const Schema& schema, const Staged& staged)
      : db_(db), schema_(schema), staged_(staged) {}

  /// Before rows are written: the staged rows that cannot stand while others are set aside (CONFLICTS.md C10), and
  /// therefore have to be set aside as well: rows that refer to one that has not come yet, deletions of rows that one
  /// which cannot be written refers to still, and whatever depends on these.
  Result<Keys> find_dependents();

  /// Before rows are written: `conflict` if a row here refers to one that is to be deleted, and neither goes nor
  /// changes itself. Rows to be deleted are locked, so nobody can refer to them any more.
  Result<void> check_deletions();

  /// After rows are written: locks what they refer to against deletion, as the constraint would. `conflict` if it does
  /// not exist. With `skip_held` a referenced row that the application is about to delete is not waited for; then the
  /// rows that refer to it are returned, since they cannot stand yet.
  Result<Keys> lock_referenced(bool skip_held);

 private:
  struct Edge {
    const Table* child;
    const ForeignKey* reference;
    const Table* parent;  ///< nullptr if the parent does not take part
  };
  [[nodiscard]] std::vector<Edge> edges() const;
  [[nodiscard]] const StagedTable* stage_of(const Table* table) const;
  Result<bool> hold(const StagedTable& staged, const std::string& condition, Keys& held);

  PgConnection& db_;
  const Schema& schema_;
  const Staged& staged_;
};

}  // namespace mbsync
