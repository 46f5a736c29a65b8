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

Result<void> StaticSource::start(PeerListener& listener) {
  for (const auto& peer : peers_) {
    listener.peer_found(SeenPeer{peer, std::nullopt});
  }
  return {};
}

}  // namespace mbsync
