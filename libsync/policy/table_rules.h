// What a policy means for one table: globs and names turned into column numbers. Pure, and the same on every node that
// has a table of this form; nothing here depends on what else a node knows.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "policy_text.h"

namespace mbsync {

/// A table as far as its rules are concerned.
struct TableShape {
  struct Column {
    ColumnNumber number = 0;
    std::string name;
    ColumnType type;
    bool key = false;
  };
  std::string schema;
  std::string name;
  std::vector<Column> columns;
  std::vector<std::vector<std::string>> references;  ///< the columns of each foreign key that has several, by name
};

struct TableRules {
  RowRules row;
  /// Patterns for names of constraints and indexes, the last that matches holds; see unique_rule().
  std::vector<std::pair<std::string, UniqueRule>> unique;
  bool operator==(const TableRules&) const = default;

  [[nodiscard]] UniqueRule unique_rule(std::string_view constraint) const;
  /// The columns whose changes add up (CONFLICTS.md C16): numbers, whatever the policy says of others.
  [[nodiscard]] ColumnSet sums() const;
};

/// Entries of the policy apply in their order, a later one overrides an earlier one setting by setting; what is said of
/// a column goes before what is said of its table. Columns of the key have no rule, and are in no group. A group is
/// what is left of it in this table; columns whose rule looks at values are in none (CONFLICTS.md C12). The columns of
/// a reference that has several are a group by themselves and have no such rule; groups with a column in common are
/// one. Node names that are no ids are passed over.
TableRules resolve(const Policy& policy, const TableShape& table);

/// Whether a rule takes the greatest or least value.
bool is_by_order(Rule rule);

/// Whether those of `labels` that are in `order` come in that order.
bool are_in_order(const std::vector<std::string>& labels, const std::vector<std::string>& order);

/// What two sets of rules for one table do not decide alike.
struct RuleDifference {
  ColumnSet columns;  ///< whose siblings may come to another value
  bool rows = false;  ///< whether a row exists, or two that were made under one key are both kept
};

/// Goes through the columns of `table`, which are those of `after`. Their types are not looked at.
RuleDifference difference(const TableRules& before, const TableRules& after, const TableShape& table);

}  // namespace mbsync
