#include "static_source.h"

#include <algorithm>
#include <optional>

namespace mbsync {
namespace {

std::vector<PeerAddress> each_once(std::vector<PeerAddress> peers) {
  std::vector<PeerAddress> unique;
  for (auto& peer : peers) {
    if (std::find(unique.begin(), unique.end(), peer) == unique.end()) {
      unique.push_back(std::move(peer));
    }
  }
  return unique;
}

void found(PeerListener& listener, const PeerAddress& peer) {
  listener.peer_found(StaticSource::kName, Sighting{to_string(peer), {peer}, std::nullopt});
}

}  // namespace

StaticSource::StaticSource(std::vector<PeerAddress> peers) : peers_(each_once(std::move(peers))) {}

void StaticSource::start(PeerListener& listener) {
  const std::lock_guard lock(mutex_);
  listener_ = &listener;
  for (const auto& peer : peers_) {
    found(listener, peer);
  }
  listener.source_works(kName);
}

void StaticSource::stop() {
  const std::lock_guard lock(mutex_);
  listener_ = nullptr;
}

void StaticSource::replace(std::vector<PeerAddress> peers) {
  auto next = each_once(std::move(peers));
  const std::lock_guard lock(mutex_);
  const auto has = [](const std::vector<PeerAddress>& list, const PeerAddress& peer) {
    return std::find(list.begin(), list.end(), peer) != list.end();
  };
  if (listener_ != nullptr) {
    for (const auto& peer : peers_) {
      if (!has(next, peer)) {
        listener_->peer_lost(kName, to_string(peer));
      }
    }
    for (const auto& peer : next) {
      if (!has(peers_, peer)) {
        found(*listener_, peer);
      }
    }
  }
  peers_ = std::move(next);
}

}  // namespace mbsync
