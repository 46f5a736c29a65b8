// Why a machine that should be there is not: what the network says of it, how far each way to it leads, and what the
// running node has met last, judged together. Pure; commands/peers.cpp finds these things out.
#pragma once

#include <optional>
#include <set>
#include <string>
#include <vector>

#include "fleet_tags.h"
#include "look_around.h"
#include "peer_probe.h"
#include "pg_store.h"

namespace mbsync {

/// The machine that was asked for: by a host's name or address, with or without a port, or by a node's name or id.
struct WantedPeer {
  std::string text;
  std::set<NodeId> nodes;            ///< those that are known by it, and its own if it is an id
  std::optional<PeerAddress> place;  ///< if it can be one
  bool port_given = false;
  std::set<std::string> hosts;  ///< its addresses in numbers, once they have been looked up
};
WantedPeer wanted_peer(const std::string& text, const StoreStatus& status);
/// Whether an announcement is the machine's.
bool is_wanted(const WantedPeer& wanted, const Sighting& sighting);

/// One address, and from where it is known.
struct WayTo {
  PeerAddress address;
  bool given = false;
  bool advertised = false;
  bool remembered = false;  ///< the running node has tried it, or has been answered there
  ProbeReport report{};
};
/// Likeliest first. `of_it`: the machine's announcements.
std::vector<WayTo> ways_to(const WantedPeer& wanted, const std::vector<Sighting>& of_it, const PeersStatus& peers);

struct DiagnosisFacts {
  WantedPeer wanted;
  NodeId self;
  bool looked = false;  ///< on the network: this node has discovery switched on
  std::optional<Error> not_seen_why;
  std::vector<Sighting> of_it;
  std::size_t others = 0;       ///< announcements of others
  bool self_announced = false;  ///< the node of this machine is among them
  std::vector<WayTo> ways;
  std::vector<PeerAddress> not_tried;
  std::vector<NodeId> allowed;  ///< empty: all
  std::vector<Member> banned;   ///< from the fleet, as far as this node has heard
  PeersStatus peers;

  [[nodiscard]] bool reached() const;
  /// The first that leads there, or the one that leads farthest; nothing if there is none.
  [[nodiscard]] const WayTo* best() const;
};

struct PeerFinding {
  PeerTrouble trouble = PeerTrouble::kOther;
  std::string what;
  std::string next;
  bool serious = true;  ///< it keeps the two apart
};
/// What stands between the two, or may mislead. `ours`: the tags of this node.
std::vector<PeerFinding> findings_of(const DiagnosisFacts& facts, const FleetTags& ours);

}  // namespace mbsync
