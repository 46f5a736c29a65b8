// Sealing, reading for a peer, applying, forgetting, and saying who is away: one at a time on a database, whichever
// program does it.
#pragma once

namespace mbsync {

/// Arguments of PostgreSQL's advisory locks.
inline constexpr const char* kEngineLock = "hashtext('mbsync'), hashtext('engine')";
/// Held by the process that is the node of its database.
inline constexpr const char* kNodeLock = "hashtext('mbsync'), hashtext('node')";

}  // namespace mbsync
