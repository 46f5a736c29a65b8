// Forgetting: what every member has, nobody needs to be told again.
#pragma once

#include "connection.h"
#include "ids.h"

namespace mbsync {

/// In a transaction of its own: removes the rows of mbsync.change whose writes are all stable (core: stability.h). The
/// caller holds the engine's lock. Returns the number of writes removed.
Result<std::int64_t> forget(PgConnection& db, NodeId self);

}  // namespace mbsync
