// A node's status as another process of its machine finds it out: from the node's local port what only the node knows,
// from the database the rest, also where one of the two does not answer. For commands.
#pragma once

#include "config.h"
#include "local_client.h"
#include "node_status.h"

namespace mbsync {

/// Where the configuration says that the node's local port is.
LocalTarget local_target(const Config& config);
/// Takes some seconds at most for the local port, and 20 for the database. `version`: of the
/// program.
NodeStatus find_status(const Config& config, std::string version);

}  // namespace mbsync
