#include "stability.h"

#include <algorithm>

namespace mbsync {

VersionVector stable_vector(NodeId self, const VersionVector& seen, const std::set<NodeId>& members,
                            const std::map<NodeId, VersionVector>& reports) {
  VersionVector stable = seen;
  bool alone = true;
  for (const NodeId member : members) {
    if (member == self) {
      continue;
    }
    alone = false;
    const auto report = reports.find(member);
    if (report == reports.end() || seen.counter(member) < report->second.counter(member)) {
      return {};
    }
    stable = common(stable, report->second);
  }
  return alone ? VersionVector{} : stable;
}

bool may_forget(const std::vector<Dot>& writes, const VersionVector& stable) {
  return std::all_of(writes.begin(), writes.end(), [&stable](const Dot& dot) { return stable.covers(dot); });
}

}  // namespace mbsync
