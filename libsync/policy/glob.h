// Patterns for names of tables, columns and constraints: `*` is any run of characters, `?` is one (UTF-8) character,
// everything else is itself. Case counts, as it does in PostgreSQL's catalog. Pure.
#pragma once

#include <string_view>

namespace mbsync {

bool glob_matches(std::string_view pattern, std::string_view name);

/// "schema.table" in one pattern, cut at its first dot; without a dot it is the table's, of any schema.
bool table_glob_matches(std::string_view pattern, std::string_view schema, std::string_view table);

}  // namespace mbsync
