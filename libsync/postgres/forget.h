// Forgetting: what every member has, nobody needs to be told again.
#pragma once

#include <vector>

#include "connection.h"
#include "ids.h"
#include "version_vector.h"

namespace mbsync {

/// In a transaction of its own: removes the rows of mbsync.change whose writes are all stable (core: stability.h) and
/// covered by each of `floors`: what the peers were known to hold whose answers are still on their way. An answer that
/// was read before its sender had a write must find that write here. The caller holds the engine's lock. Returns the
/// number of writes removed.
Result<std::int64_t> forget(PgConnection& db, NodeId self, const std::vector<VersionVector>& floors);

}  // namespace mbsync
