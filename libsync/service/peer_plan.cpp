#include "peer_plan.h"

#include <algorithm>
#include <cmath>
#include <iterator>
#include <set>

namespace mbsync {
namespace {

/// How far from a node those stand that it listens to, on one side of a ring of `count`; rising, different, and at most
/// half of the way round.
std::vector<std::size_t> distances(std::size_t count, std::size_t on_each_side) {
  std::vector<std::size_t> all;
  for (std::size_t i = 0; i < on_each_side; ++i) {
    const auto ideal =
        std::pow(static_cast<double>(count) / 2, static_cast<double>(i) / static_cast<double>(on_each_side));
    const auto least = all.empty() ? std::size_t{1} : all.back() + 1;
    const auto distance = std::max(least, static_cast<std::size_t>(std::llround(ideal)));
    if (2 * distance > count) {
      break;
    }
    all.push_back(distance);
  }
  return all;
}

}  // namespace

std::vector<NodeId> choose_live(NodeId self, const std::vector<PeerCandidate>& candidates, std::size_t max) {
  std::set<NodeId> up{self};
  std::set<NodeId> down;
  for (const auto& candidate : candidates) {
    if (candidate.node != self) {
      (candidate.up ? up : down).insert(candidate.node);
    }
  }
  std::set<NodeId> chosen;
  if (up.size() - 1 <= max) {
    chosen = up;
    chosen.erase(self);
    for (const auto node : down) {
      if (chosen.size() < max) {
        chosen.insert(node);
      }
    }
    return {chosen.begin(), chosen.end()};
  }
  const std::vector<NodeId> ring(up.begin(), up.end());
  const auto count = ring.size();
  const auto here = static_cast<std::size_t>(std::distance(ring.begin(), std::find(ring.begin(), ring.end(), self)));
  for (const auto distance : distances(count, max / 2)) {
    chosen.insert(ring[(here + distance) % count]);
    chosen.insert(ring[(here + count - distance) % count]);
  }
  chosen.erase(self);
  // One place is left with an odd maximum, or where two distances met on the far side.
  for (std::size_t distance = 1; chosen.size() < max && distance < count; ++distance) {
    chosen.insert(ring[(here + distance) % count]);
  }
  return {chosen.begin(), chosen.end()};
}

}  // namespace mbsync
