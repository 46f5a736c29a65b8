// What is said of members, as text: for status and peers.
#pragma once

#include <string>

#include "pg_store.h"

namespace mbsync {

/// Those that the fleet does not wait for any more or is about not to, and those that are silent for long; "" if there
/// are none. Begins with an empty line.
std::string standings_as_text(const StoreStatus& status);

}  // namespace mbsync
