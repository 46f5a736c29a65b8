// What a policy means for a table, in words. Pure. From the same TableRules that rows are judged by, so that nothing is
// promised that does not happen.
#pragma once

#include "policy_desk.h"
#include "schema.h"

namespace mbsync {

TableMeaning meaning_of(const Policy& policy, const Table& table);

/// The column whose text gets a suffix where two rows have one value of `unique`; nullptr if there is none
/// (CONFLICTS.md C19).
const Column* suffix_column(const Table& table, const UniqueKey& unique);

}  // namespace mbsync
