// The database as the service will meet it: looked at, and prepared, by a process that is the service's user.
#pragma once

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "account.h"
#include "config.h"
#include "pg_store.h"
#include "purge.h"
#include "readiness.h"

namespace mbsync {

struct DatabaseLook {
  std::vector<Check> checks;  ///< of the database
  std::vector<Check> ports;   ///< of the ports of this node, which a look at the database helps to understand
  bool answers = false;       ///< what follows is known
  bool prepared = false;      ///< schema mbsync is there and of this version, and its triggers are in place
  bool older_schema = false;  ///< of an earlier version, which a start brings up to date
  bool node_at_work = false;
  std::string node;  ///< "office (05f3...)", once there is one
  std::vector<std::string> tables;
  std::vector<std::pair<std::string, std::string>> refused;  ///< with the reason
};

/// Both, as `account`. An error only if it could not be tried at all.
Result<DatabaseLook> look_as(const Account& account, const Config& config);

/// What a start of the node does with its database: schema, triggers, rows that are there.
Result<PrepareReport> prepare_as(const Account& account, const Config& config);

/// What would be lost with schema mbsync.
struct Unsent {
  bool known = false;
  std::int64_t writes = 0;  ///< that some other node has not got
  std::int64_t open_conflicts = 0;
  std::int64_t waiting_rows = 0;  ///< of others, which are not in the tables yet
  int others = 0;                 ///< members that will wait for this one
};
struct PurgeView {
  PurgeLook look;
  Unsent unsent;
  bool database_there = true;  ///< false: the server answers, and has no such database
};
Result<PurgeView> look_at_purge_as(const Account& account, const Config& config);
Result<PurgeLook> purge_as(const Account& account, const Config& config);

/// Whether the service would come to the database by who it is on this system alone: a Unix socket and no password.
bool goes_by_account(const DatabaseUrl& url);

}  // namespace mbsync
