// What policy_check.cpp has to know of the database: tables with what Table leaves out, nodes, functions. Reads only.
#pragma once

#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "connection.h"
#include "ids.h"
#include "schema.h"

namespace mbsync {

struct PolicyFacts {
  struct Column {
    std::uint32_t base_type = 0;  ///< OID; a domain's base type
    std::string type;             ///< its name, without modifiers
    bool generated = false;
  };
  Schema schema;
  std::map<std::uint32_t, std::map<std::string, Column>> columns;  ///< by the table's OID; generated ones too
  std::map<std::uint32_t, std::set<std::string>> unique_names;     ///< all unique indexes, the key's too
  std::vector<std::pair<NodeId, std::string>> nodes;               ///< of the fleet, with their names
};
/// To be called in a REPEATABLE READ transaction, so that tables and columns fit each other.
Result<PolicyFacts> read_policy_facts(PgConnection& db);

/// What the database has under a function's name, as far as the rule "function" can use it: one jsonb in, one value
/// out, IMMUTABLE, and this session may call it.
struct PolicyFunction {
  std::string problem;            ///< why it cannot be used; else empty
  std::string hint;               ///< what to do about that
  std::string hash;               ///< md5 of pg_get_functiondef()
  std::uint32_t result_type = 0;  ///< OID; a domain's base type
};
/// `name` is "schema.name" as the document has it, cut at its first dot.
Result<PolicyFunction> read_policy_function(PgConnection& db, std::string_view name);

/// Whether values of one type can be given to a column of the other (OIDs of base types).
Result<bool> type_casts(PgConnection& db, std::uint32_t from, std::uint32_t to);

}  // namespace mbsync
