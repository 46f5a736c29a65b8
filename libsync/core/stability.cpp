#include "stability.h"

#include <algorithm>

namespace mbsync {

std::set<NodeId> others_of(NodeId self, const std::set<NodeId>& members, const std::set<NodeId>& left_out) {
  std::set<NodeId> others;
  for (const NodeId member : members) {
    if (member != self && !left_out.contains(member)) {
      others.insert(member);
    }
  }
  return others;
}

const VersionVector& report_of(NodeId node, const std::map<NodeId, VersionVector>& reports) {
  static const VersionVector nothing;
  const auto report = reports.find(node);
  return report == reports.end() ? nothing : report->second;
}

VersionVector stable_vector(NodeId self, const VersionVector& seen, const std::set<NodeId>& members,
                            const std::map<NodeId, VersionVector>& reports, const std::set<NodeId>& gone) {
  const auto others = others_of(self, members, gone);
  VersionVector stable = seen;
  for (const NodeId member : others) {
    const auto& report = report_of(member, reports);
    if (report.empty() || seen.counter(member) < report.counter(member)) {
      return {};
    }
    stable = common(stable, report);
  }
  return others.empty() ? VersionVector{} : stable;
}

bool may_forget(const std::vector<Dot>& writes, const VersionVector& stable) {
  return std::all_of(writes.begin(), writes.end(), [&stable](const Dot& dot) { return stable.covers(dot); });
}

}  // namespace mbsync
