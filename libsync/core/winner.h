// Which value a column's siblings come to. Pure functions of the siblings and the rules alone (CONFLICTS.md C5, C11 to
// C15): no local clock, no order of arrival, no local configuration.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "row_state.h"

namespace mbsync {

using Siblings = std::vector<const Write*>;

/// What judging asks about a table. Implementations answer alike on every node.
class Rulebook {
 public:
  Rulebook() = default;
  virtual ~Rulebook() = default;
  Rulebook(const Rulebook&) = delete;
  Rulebook& operator=(const Rulebook&) = delete;

  [[nodiscard]] virtual const RowRules& rules(PolicyVersion version) const = 0;
  /// Whether the text is the value itself. Rules that compute with values leave others alone: the last writer wins.
  [[nodiscard]] virtual bool readable(const Value& value) const = 0;
  /// Calls the application's function; the siblings come in the order of time. Nothing: it failed.
  [[nodiscard]] virtual std::optional<Value> call(const ColumnRule& rule, ColumnNumber column,
                                                  const Siblings& siblings) const = 0;
};

/// What holds where no policy was published: the last writer per column, an update beats a delete.
const Rulebook& built_in_rules();

/// Last writer wins: the latest time, then the higher origin, then the higher counter. `siblings` is not empty; the
/// order in it does not matter.
const Write& last_writer(const Siblings& siblings);

/// The highest policy version among them: the one they are judged by (CONFLICTS.md C11).
PolicyVersion highest_policy(const Siblings& siblings);

/// The value of the write for one of its columns.
const Value& value_of(const Write& write, ColumnNumber column);

struct Verdict {
  Value value;
  Rule rule = Rule::kLastWriterWins;  ///< what was to decide
  std::optional<Dot> winner;          ///< whose value it is; nothing: it was computed of several
  std::string note = {};              ///< why another rule than that one has decided
};

/// Judges siblings of `column`, of which at least two differ.
Verdict judge_siblings(const Siblings& siblings, ColumnNumber column, const Rulebook& book);

}  // namespace mbsync
