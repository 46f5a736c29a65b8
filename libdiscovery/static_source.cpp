#include "static_source.h"

#include <algorithm>
#include <optional>

namespace mbsync {

StaticSource::StaticSource(std::vector<PeerAddress> peers) {
  for (auto& peer : peers) {
    if (std::find(peers_.begin(), peers_.end(), peer) == peers_.end()) {
      peers_.push_back(std::move(peer));
    }
  }
}

void StaticSource::start(PeerListener& listener) {
  for (const auto& peer : peers_) {
    listener.peer_found(kName, Sighting{to_string(peer), {peer}, std::nullopt});
  }
  listener.source_works(kName);
}

}  // namespace mbsync
