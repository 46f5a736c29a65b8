// Which peers a node listens to all the time, and which it visits now and then. Pure; the same rule at every node, so
// that what each chooses for itself makes one connected graph.
//
// All members that are up stand in a ring, in the order of their ids. A node listens to its neighbours on both sides,
// and to some farther away in steps that grow evenly: with n members and k of them on each side at distances n^(i/k), a
// write needs about k/2 times n^(1/k) hops to the farthest. A node that goes leaves its neighbours as each other's; one
// that a node alone believes gone is still heard by all others. (What comes of it: README.md.)
#pragma once

#include <cstddef>
#include <vector>

#include "ids.h"

namespace mbsync {

/// How many peers a node listens to at most, unless the configuration says otherwise.
inline constexpr std::size_t kLivePeersDefault = 8;

struct PeerCandidate {
  NodeId node;
  bool up = true;  ///< has answered, or asked, lately
};

/// Those to listen to, at most `max`, in no order: all if there is room for all, also those that are down; else of
/// those that are up. `self` may be among the candidates, and is not chosen.
std::vector<NodeId> choose_live(NodeId self, const std::vector<PeerCandidate>& candidates, std::size_t max);

}  // namespace mbsync
