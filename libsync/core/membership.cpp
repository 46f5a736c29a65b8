#include "membership.h"

#include <algorithm>

#include "stability.h"

namespace mbsync {
namespace {

std::set<NodeId> nodes_of(const AwayNodes& away) {
  std::set<NodeId> nodes;
  for (const auto& [node, dots] : away) {
    nodes.insert(node);
  }
  return nodes;
}

}  // namespace

std::set<NodeId> agreed_away(const Membership& fleet, const VersionVector& seen,
                             const std::map<NodeId, VersionVector>& reports) {
  if (fleet.away.contains(fleet.self)) {
    return {};  // the others go on without this one
  }
  std::set<NodeId> agreed = nodes_of(fleet.away);
  // Who drops out of these has to be asked about all others.
  for (bool again = true; again;) {
    again = false;
    const auto others = others_of(fleet.self, fleet.members, agreed);
    for (auto node = agreed.begin(); node != agreed.end() && !again; ++node) {
      const auto& dots = fleet.away.at(*node);
      again = std::any_of(others.begin(), others.end(),
                          [&](NodeId other) {
                            const auto& report = report_of(other, reports);
                            return seen.counter(*node) < report.counter(*node) ||
                                   seen.counter(other) < report.counter(other) || !may_forget(dots, report);
                          }) ||
              // Who has said so may take it back until all have heard.
              std::any_of(dots.begin(), dots.end(), [&](const Dot& dot) {
                return dot.origin != fleet.self && !agreed.contains(dot.origin) &&
                       !report_of(dot.origin, reports).covers(dot);
              });
      if (again) {
        agreed.erase(node);
        break;
      }
    }
  }
  return agreed;
}

bool may_be_away(const Membership& fleet, NodeId member) {
  if (member == fleet.self || !fleet.members.contains(member) || fleet.away.contains(member)) {
    return false;
  }
  const auto waited_for = fleet.members.size() - fleet.gone.size();
  const auto stays = [&](NodeId each) {
    return each != member && (!fleet.away.contains(each) || fleet.wishing.contains(each));
  };
  const auto staying = static_cast<std::size_t>(std::count_if(fleet.members.begin(), fleet.members.end(), stays));
  return waited_for == 2 || 2 * staying > waited_for;
}

bool is_alone(const Membership& fleet) {
  return others_of(fleet.self, fleet.members, nodes_of(fleet.away)).empty();
}

std::set<NodeId> staying(const Membership& fleet) {
  return others_of(NodeId{}, fleet.members, nodes_of(fleet.away));
}

bool comes_back_to(const Membership& fleet, NodeId other, const std::set<NodeId>& others) {
  const bool either = fleet.away.contains(other) ||
                      (are_two_fleets(fleet, others) && std::any_of(others.begin(), others.end(), [&](NodeId each) {
                         return fleet.gone.contains(each);
                       }));
  const bool other_is_alone = others.size() == 1 && others.contains(other);
  return !either || (is_alone(fleet) && (!other_is_alone || other < fleet.self));
}

bool are_two_fleets(const Membership& fleet, const std::set<NodeId>& others) {
  const auto stay = staying(fleet);
  return std::none_of(others.begin(), others.end(), [&](NodeId each) { return stay.contains(each); });
}

bool brings_somebody_back(const Membership& fleet, const VersionVector& seen, const VersionVector& theirs) {
  return std::any_of(fleet.gone.begin(), fleet.gone.end(),
                     [&](NodeId node) { return seen.counter(node) < theirs.counter(node); });
}

bool speaks_for(const Membership& fleet, NodeId member) {
  const auto said = fleet.away.find(member);
  return said != fleet.away.end() && std::none_of(said->second.begin(), said->second.end(), [&](const Dot& dot) {
           return dot.origin < fleet.self && !fleet.away.contains(dot.origin);
         });
}

}  // namespace mbsync
