// A table's rows as one of its unique keys sees them: relations (k, e0, e1, ...), the row's key and the values that are
// compared, of those rows alone that the key is for. Pure.
#pragma once

#include <string>
#include <string_view>

#include "schema.h"
#include "staged_table.h"

namespace mbsync {

/// The staged rows that are to stand and can be written.
std::string staged_entries(const StagedTable& staged, const UniqueKey& unique);

/// The rows `t` that stand in the table and fulfil the condition.
std::string standing_entries(const Table& table, const UniqueKey& unique, std::string_view which);

/// " AND ...": whether the entries `a` and `b` have one value.
std::string equal_entries(const UniqueKey& unique);

}  // namespace mbsync
