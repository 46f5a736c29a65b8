// A table of the database as the policy library sees it.
#pragma once

#include "schema.h"
#include "table_rules.h"

namespace mbsync {

/// Columns have the numbers that `table` has for them, so the table must be a registered one for its rules to be used.
TableShape shape_of(const Table& table);

}  // namespace mbsync
