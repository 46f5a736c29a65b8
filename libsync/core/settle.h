// What a set of live writes makes of a row: whether it exists, each column's value, who lost. (CONFLICTS.md C3 to C7,
// C11 to C15)
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "row_state.h"
#include "winner.h"

namespace mbsync {

/// Siblings of one column (or of the row mark) that do not agree.
struct ColumnConflict {
  ColumnNumber column = kRowMark;     ///< kRowMark: one deleted the row, another wrote it
  std::optional<Dot> winner;          ///< nothing: the value was computed of several
  std::vector<Dot> losers;            ///< in dot order; their values are those of the writes in the settled state
  Rule rule = Rule::kLastWriterWins;  ///< of a column: what was to decide
  std::string note = {};              ///< why another rule has decided
  bool kept_both = false;             ///< the losers live on, in rows of their own (Outcome::apart)
  bool operator==(const ColumnConflict&) const = default;
};

struct Outcome {
  bool exists = false;
  Values values;  ///< every column of the table when the row exists, else empty
  std::vector<ColumnConflict> conflicts;
  /// Writes that made another row under the same key; each is to be a row of its own (CONFLICTS.md C15).
  std::vector<Dot> apart;
};

/// Judges `state`. `columns` are all of the table's column numbers without the row mark; `mine` is the row as it stands
/// here, `theirs` as the peer has it (nothing: no such row): the value of a column that no live write holds is the same
/// on every node that has the row, so it is taken from whichever has it.
/// A column's siblings are judged by the rules of the highest policy version among them. Values of a deleting write
/// count only where no other write holds the column. Equal values are no conflict.
Outcome settle(const RowState& state, const std::vector<ColumnNumber>& columns, const std::optional<Values>& mine,
               const std::optional<Values>& theirs, const Rulebook& book = built_in_rules());

/// The row's writes once those of `outcome.apart` are rows of their own: they have no part in it any more, but in
/// columns that no other write holds. Else the next write of the row would make them siblings of it again.
RowState without_apart(const RowState& state, const Outcome& outcome);

/// Whether a write's values must be stored beside the row, or can be read from the row whenever they are asked for.
/// They must if the write deleted the row, if the row does not exist, or if one of the values is not what the row
/// shows.
bool must_keep_values(const Write& write, const Outcome& outcome);

}  // namespace mbsync
