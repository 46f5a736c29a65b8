// Whose announcement says that there is no use in asking it: a machine of another fleet, which shares the network.
// Pure.
#pragma once

#include <optional>

#include "fleet_tags.h"
#include "peer_directory.h"

namespace mbsync {

/// When the peer did not take the fleet's key the last time, while it announces another fleet; nothing: it does not.
///
/// A tag alone says little, since the tags of two machines of one fleet become one only when they meet. So a peer is of
/// another fleet only when it was asked, and has refused, and says the same still; one that is started anew, with the
/// right key now, says something else. One that the configuration names is asked as often as any.
std::optional<PeerDirectory::Time> other_fleet_since(const PeerDirectory::Peer& peer, const FleetTags& ours);

}  // namespace mbsync
