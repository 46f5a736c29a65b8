// Whom this process runs as.
#pragma once

namespace mbsync {

/// The effective user is root.
bool is_root();

}  // namespace mbsync
