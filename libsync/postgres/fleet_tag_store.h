// The fleet's tags in mbsync.settings, one for each registration key that this node was given last. Of this node alone.
#pragma once

#include "connection.h"
#include "peer_note.h"

namespace mbsync {

Result<TagsByKey> read_fleet_tags(PgConnection& db);
/// Those of other keys go. A smaller one that is there already stays.
Result<void> store_fleet_tags(PgConnection& db, const TagsByKey& tags);

}  // namespace mbsync
