// Sealing, reading for a peer, applying, forgetting, and saying who is away: one at a time on a database, whichever
// program does it.
#pragma once

namespace mbsync {

/// Arguments of PostgreSQL's advisory locks.
inline constexpr const char* kEngineLock = "hashtext('mbsync'), hashtext('engine')";
/// Held by the process that is the node of its database.
inline constexpr const char* kNodeLock = "hashtext('mbsync'), hashtext('node')";
/// The first argument of a lock that the same session holds, shared; the second is its local port. So whoever looks at
/// the database knows where to ask the node, for as long as it is there.
inline constexpr const char* kLocalPortLock = "hashtext('mbsync local port')";

}  // namespace mbsync
