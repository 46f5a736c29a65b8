// What status and peers show of the nodes that this one exchanges with.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

#include "peer_note.h"

namespace mbsync {

nlohmann::ordered_json address_json(const PeerStatus::Address& address);
nlohmann::ordered_json peer_json(const PeerStatus& peer);
/// Why it does not answer, in a few words; empty if only the failure itself says.
std::string reason_in_short(const PeerStatus& peer);
/// Whether a member answers this node: "yes", "no, port closed", "not asked" (it has only asked), or "not met": it
/// comes over others, if at all.
std::string answers_as_text(const PeersStatus& peers, NodeId node);
/// A table, and who does not answer; begins with an empty line, and is empty without peers.
std::string peers_as_text(const PeersStatus& peers);

}  // namespace mbsync
