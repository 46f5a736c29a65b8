// Sealing, reading for a peer, applying, forgetting, and saying who is away: one at a time on a database, whichever
// program does it.
#pragma once

namespace mbsync {

/// Arguments of PostgreSQL's advisory locks.
inline constexpr const char* kEngineLock = "hashtext('mbsync'), hashtext('engine')";

}  // namespace mbsync
