// One row's set of live writes, and the join of two such sets: the heart of mbsync (DESIGN: CONFLICTS.md C1 to C4).
//
// A write is live while it is the latest known write of at least one column. Two or more live writes of one column are
// siblings: they were made without knowledge of each other.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "column_set.h"
#include "ids.h"
#include "policy.h"
#include "version_vector.h"

namespace mbsync {

/// A column's value in PostgreSQL's text form; nothing is NULL.
using Value = std::optional<std::string>;
/// Values by column number.
using Values = std::map<ColumnNumber, Value>;

struct Write {
  Dot dot;
  WriteTime at;
  ColumnSet columns;  ///< what it is still the latest write of; kRowMark included while it says whether the row exists
  bool deleted = false;  ///< it deleted the row; `values` is then the row as it was
  /// The value it gave to each of `columns` but the row mark. Always complete in this type; what is stored in the
  /// database may leave out the values that stand in the row itself (see settle.h).
  Values values;
  PolicyVersion policy = kBuiltInPolicy;  ///< what its origin had; a set is judged by the highest in it

  bool operator==(const Write&) const = default;
};

/// The live writes of one row, sorted by dot, one write a dot, none without columns.
struct RowState {
  std::vector<Write> writes;
  bool operator==(const RowState&) const = default;

  /// Removes what breaks the order or is empty; for states built by hand or read from outside.
  void normalise();
  [[nodiscard]] const Write* find(const Dot& dot) const;
};

/// Joins two states of one row. Commutative, associative, idempotent; never fails.
///
///     E = (E1 ∩ E2, columns intersected) ∪ {e ∈ E1 : dot(e) ∉ V2} ∪ {e ∈ E2 : dot(e) ∉ V1}
///
/// A dot that `theirs_seen` covers and `theirs` lacks was overwritten there, and is dropped; and the other way round.
/// Source: CONFLICTS.md C1 (optimised observed-remove, Bieniusa et al. 2012; delta-state CRDTs, Almeida et al. 2018).
RowState join(const RowState& mine, const VersionVector& mine_seen, const RowState& theirs,
              const VersionVector& theirs_seen);

/// Puts a new write of this database on top: every older write loses the new write's columns, and is gone when none is
/// left. The new write has seen all of them, so they are no siblings (CONFLICTS.md C2).
void overwrite(RowState& state, Write write);

}  // namespace mbsync
