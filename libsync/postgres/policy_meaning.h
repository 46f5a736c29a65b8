// What a policy means for a table, in words. Pure. From the same TableRules that rows are judged by, so that nothing is
// promised that does not happen.
#pragma once

#include "policy_desk.h"
#include "schema.h"

namespace mbsync {

TableMeaning meaning_of(const Policy& policy, const Table& table);

}  // namespace mbsync
