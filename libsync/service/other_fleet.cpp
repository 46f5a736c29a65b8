#include "other_fleet.h"

#include <algorithm>

#include "static_source.h"

namespace mbsync {

std::optional<PeerDirectory::Time> other_fleet_since(const PeerDirectory::Peer& peer, const FleetTags& ours) {
  std::optional<PeerDirectory::Time> since;
  for (const auto& view : peer.views) {
    if (!view.present) {
      continue;
    }
    if (view.source == StaticSource::kName) {
      return std::nullopt;
    }
    if (!view.said || view.said->fleet.empty()) {
      continue;  // a source that does not know
    }
    if (ours.has(view.said->fleet) || !view.refused) {
      return std::nullopt;
    }
    since = since ? std::max(*since, *view.refused) : *view.refused;
  }
  return since;
}

}  // namespace mbsync
