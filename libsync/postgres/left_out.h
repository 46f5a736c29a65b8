// Tables that the configuration of this node leaves out. Which these are stands in the database, so that commands
// beside the node say the same as it does; read_schema() counts them among the refused.
#pragma once

#include <map>
#include <string>
#include <utility>
#include <vector>

#include "connection.h"
#include "table_choice.h"

namespace mbsync {

/// Schema and table to the reason. Empty if there is no schema mbsync.
using LeftOut = std::map<std::pair<std::string, std::string>, std::string>;
Result<LeftOut> read_left_out(PgConnection& db);

struct LeftOutReport {
  std::vector<std::string> still_in;   ///< tables that cannot be left out yet, and why: "public.t: 3 writes ..."
  std::vector<std::string> unmatched;  ///< patterns of the choice that match no table
};

/// Brings what stands in the database in line with `choice`. A table that has taken part leaves when every member has
/// everything that was written to it, and not before: else some would get a write of it that others never do. It leaves
/// with its triggers; when it takes part again, its rows are compared anew, as those from before mbsync are. The caller
/// holds the engine's lock; in transactions of its own.
Result<LeftOutReport> update_left_out(PgConnection& db, const TableChoice& choice);

}  // namespace mbsync
