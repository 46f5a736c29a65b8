// Members that are away: whom the fleet no longer waits for, when that may be said, and who comes back to whom
// (CONFLICTS.md C22). Pure.
#pragma once

#include <limits>
#include <map>
#include <set>
#include <vector>

#include "version_vector.h"

namespace mbsync {

/// Members that the fleet no longer waits for, each with the live writes that say so; none: everybody has them.
using AwayNodes = std::map<NodeId, std::vector<Dot>>;

/// Stands in AwayNodes for a write of the node's own that has no number yet: nobody else can have it.
constexpr Dot unsealed_write(NodeId self) {
  return Dot{self, std::numeric_limits<std::int64_t>::max()};
}

/// What a database knows of the fleet. Nobody is in `away` or `gone` who is not in `members`.
struct Membership {
  NodeId self;
  std::set<NodeId> members;       ///< this node among them
  AwayNodes away;                 ///< this node perhaps among them
  std::set<NodeId> gone;          ///< of those, of whom it was agreed here once that they are away
  std::set<NodeId> wishing = {};  ///< of those that are away, who ask to be taken back: they are there
};

/// Those of `away` that nobody has to wait for any more: every other member has heard that they are away, and this
/// database holds all that any of these has of theirs. Until then one of them might still bring a sibling along.
/// None, if this node is away itself. `gone` is not looked at.
std::set<NodeId> agreed_away(const Membership& fleet, const VersionVector& seen,
                             const std::map<NodeId, VersionVector>& reports);

/// Whether it may be said of the member that it is away: more than half of those whom the fleet still waits for have to
/// stay, except of two. Else each half might leave out the other. Who asks to be taken back stays: else a member could
/// keep out another by dying just after it has said that it is away.
bool may_be_away(const Membership& fleet, NodeId member);

/// Whether this node takes all others for away.
bool is_alone(const Membership& fleet);

/// Those who are not away, this node among them.
std::set<NodeId> staying(const Membership& fleet);

/// Whether this node, of whom it was agreed that it is away, comes back to `other`, with whom `others` stay. It does,
/// unless it takes that one for away itself, or these are another fleet (are_two_fleets()) with somebody in it without
/// whom this node has gone on. Then the one that is alone yields, and of two such the one with the higher id. Where
/// neither is alone, nobody does: either side may have forgotten writes that the other has never had.
bool comes_back_to(const Membership& fleet, NodeId other, const std::set<NodeId>& others);

/// Whether nobody stays on both sides, who could tell either of the other.
bool are_two_fleets(const Membership& fleet, const std::set<NodeId>& others);

/// Whether somebody who has `theirs` would bring a sibling along of one that is gone. Of members it is not so; but a
/// node may have joined by one that did not know yet that the others had gone on without it.
bool brings_somebody_back(const Membership& fleet, const VersionVector& seen, const VersionVector& theirs);

/// Whether this node is the one that may take it back that `member` is away. Of several that have said so at the same
/// time it is the one with the lowest id; each would wait for the other's report for ever.
bool speaks_for(const Membership& fleet, NodeId member);

}  // namespace mbsync
