// The versions of the fleet's policy that this database has, and what each means for its tables.
#pragma once

#include <map>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "connection.h"
#include "table_rules.h"

namespace mbsync {

struct Column;
struct Table;
struct StagedTable;

/// Belongs to one Schema, since rules name columns by their numbers. A version never changes, so what was read once is
/// good for ever, whatever became of the transaction that brought it. Any thread.
class RuleBook {
 public:
  /// Reads the versions that it does not know yet: those in mbsync.policy and, if given, those that an answer brings.
  /// Returns the highest of all these. `corrupt` for a document that cannot be read.
  Result<PolicyVersion> read(PgConnection& db, const StagedTable* staged = nullptr);

  /// What `version` says of `table`; good as long as this object is. nullptr if the version is not known here.
  const TableRules* find(PolicyVersion version, const Table& table);
  /// `corrupt` if there is no such policy.
  Result<void> require(PolicyVersion version, const Table& table);
  /// md5 of the definition that `function` ("schema.name", quoted) had where `version` was published; empty if unknown.
  std::string function_md5(PolicyVersion version, const std::string& function);
  /// The labels of the enum type of `column` where `version` was published, if they are in another order here and some
  /// rule takes the greatest or least of the column; else empty.
  std::vector<std::string> other_order(PolicyVersion version, const Table& table, const Column& column);
  /// What the policy in force decides by and this database lacks, or has otherwise than where the policy was published:
  /// "public.pick(jsonb) is missing", labels in another order. Rows that are to be decided by it wait (CONFLICTS.md
  /// C13). Reads the versions first.
  Result<std::vector<std::string>> trouble(PgConnection& db, const std::vector<Table>& tables);
  /// Columns of `table` for which some version has a rule that computes with values.
  ColumnSet computed_columns(const Table& table);
  /// Of these, those of an enum type that some version compares by the order of their labels.
  ColumnSet ordered_enums(const Table& table);
  /// Whether some version keeps both of two rows that were made under one key of `table` (CONFLICTS.md C15).
  bool keeps_both(const Table& table);
  /// What some known version decides otherwise in the table that it is now than in the one that it was.
  RuleDifference changed(const TableShape& before, const TableShape& now);
  /// Whether any version but the built-in one is known.
  [[nodiscard]] bool empty() const;

 private:
  const TableRules* find_locked(PolicyVersion version, const Table& table);

  mutable std::mutex mutex_;
  std::map<PolicyVersion, Policy> policies_;
  std::map<std::pair<PolicyVersion, int>, TableRules> resolved_;
};

/// The highest version in mbsync.policy: what writes that are sealed now are made under.
Result<PolicyVersion> policy_in_force(PgConnection& db);

}  // namespace mbsync
