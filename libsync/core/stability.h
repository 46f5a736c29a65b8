// What every member of the fleet is known to hold, and may therefore be forgotten (CONFLICTS.md C8).
#pragma once

#include <map>
#include <set>
#include <vector>

#include "version_vector.h"

namespace mbsync {

/// The vector up to which every member holds everything, as far as this database knows: the minimum over all members'
/// reports, where a member without a report counts as holding nothing. The own report is `seen`. `gone`: members of
/// whom it was agreed once that they are away, and who are; they do not count. A member's report is used only once this
/// database holds that member's own writes up to it (`seen` covers what the report says of its author): a report
/// travels faster than the writes it vouches for. Empty while a report may not be used, or while there is no member
/// besides oneself: a lone node keeps its writes for the peer that is yet to come, or to come back to one that has left
/// it out as well.
VersionVector stable_vector(NodeId self, const VersionVector& seen, const std::set<NodeId>& members,
                            const std::map<NodeId, VersionVector>& reports, const std::set<NodeId>& gone = {});

/// `members` without oneself and without `left_out`.
std::set<NodeId> others_of(NodeId self, const std::set<NodeId>& members, const std::set<NodeId>& left_out);
/// What a node has reported; nothing, if it has not.
const VersionVector& report_of(NodeId node, const std::map<NodeId, VersionVector>& reports);

/// Whether all writes of a row are stable; only then may they be forgotten, all at once.
bool may_forget(const std::vector<Dot>& writes, const VersionVector& stable);

}  // namespace mbsync
