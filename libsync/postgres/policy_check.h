// Whether a policy document fits this database: tables, columns, unique keys, functions and nodes that it names, and
// rules for the types they are given to. Reads only; in the caller's transaction, if there is one.
#pragma once

#include <string_view>

#include "connection.h"
#include "policy_desk.h"

namespace mbsync {

Result<PolicyCheck> check_policy(PgConnection& db, std::string_view document);

}  // namespace mbsync
