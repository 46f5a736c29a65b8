// What status and peers show of the nodes that this one exchanges with.
#pragma once

#include <string>

#include "peer_note.h"

namespace mbsync {

/// Why it does not answer, in a few words; empty if only the failure itself says.
std::string reason_in_short(const PeerStatus& peer);
/// A table, and who does not answer; begins with an empty line, and is empty without peers.
std::string peers_as_text(const PeersStatus& peers);

}  // namespace mbsync
