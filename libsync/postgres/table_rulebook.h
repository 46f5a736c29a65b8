// One table's rules as the core asks for them, and the application's functions that some of them call.
#pragma once

#include "rule_book.h"
#include "schema.h"
#include "stand_ins.h"
#include "winner.h"

namespace mbsync {

class TableRulebook : public Rulebook {
 public:
  /// All arguments must outlive this. `db` is in the apply transaction.
  TableRulebook(PgConnection& db, const Table& table, RuleBook& book, const StandIns& stand_ins)
      : db_(db), table_(table), book_(book), stand_ins_(stand_ins) {}

  [[nodiscard]] const RowRules& rules(PolicyVersion version) const override;
  [[nodiscard]] bool readable(const Value& value) const override { return !stand_ins_.is_one(value); }
  [[nodiscard]] std::optional<Value> call(const ColumnRule& rule, ColumnNumber column,
                                          const Siblings& siblings) const override;

  /// Every version must have been looked up here before it is judged by: `corrupt` for one that is not known.
  Result<void> require(PolicyVersion version) const;
  /// Whether what was judged since the last look holds. `conflict` if a function is missing here, or is another one
  /// than where the policy was published: other nodes would judge otherwise, so the row has to wait.
  Result<void> trouble();

 private:
  Result<std::optional<Value>> try_call(const ColumnRule& rule, ColumnNumber column, const Siblings& siblings) const;

  PgConnection& db_;
  const Table& table_;
  RuleBook& book_;
  const StandIns& stand_ins_;
  mutable std::optional<Error> trouble_;
};

}  // namespace mbsync
