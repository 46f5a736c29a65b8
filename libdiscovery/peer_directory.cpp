#include "peer_directory.h"

#include <algorithm>
#include <iterator>
#include <set>
#include <tuple>

namespace mbsync {
namespace {

/// An address that led to this node itself is tried again after this.
constexpr std::chrono::minutes kOwnFor{10};
/// Peers that no source sees any more are listed for so long, so that a person can look what was there.
constexpr std::chrono::hours kLostFor{24};
/// What strangers on the network announce is kept up to here.
constexpr std::size_t kViewsMax = 4'000;

}  // namespace

PeerDirectory::PeerDirectory(NodeId self, std::string start, Clock clock)
    : self_(self), start_(std::move(start)), clock_(clock) {}

void PeerDirectory::peer_found(std::string_view source, const Sighting& sighting) {
  const std::lock_guard lock(mutex_);
  const auto now = clock_();
  drop_old(now);
  const Place place{std::string(source), sighting.handle};
  const auto known = views_.find(place);
  if (known == views_.end() && views_.size() >= kViewsMax) {
    return;
  }
  if (known != views_.end() && known->second.present && known->second.addresses == sighting.addresses &&
      known->second.said == sighting.said) {
    known->second.last_seen = now;  // no news: who asks is found again with each question
    return;
  }
  View view{place.first, sighting.handle, sighting.addresses, sighting.said, true, now, now};
  if (known != views_.end()) {
    view.first_seen = known->second.first_seen;
    if (known->second.said == sighting.said) {
      view.refused = known->second.refused;
    }
  }
  views_[place] = std::move(view);
  ++version_;
}

void PeerDirectory::peer_lost(std::string_view source, const std::string& handle) {
  const std::lock_guard lock(mutex_);
  if (const auto place = views_.find({std::string(source), handle}); place != views_.end()) {
    place->second.present = false;
    place->second.last_seen = clock_();
    ++version_;
  }
}

void PeerDirectory::source_works(std::string_view source) {
  const std::lock_guard lock(mutex_);
  sources_[std::string(source)] = SourceState{true, std::nullopt};
  ++version_;
}

void PeerDirectory::source_fails(std::string_view source, const Error& why) {
  const std::lock_guard lock(mutex_);
  sources_[std::string(source)] = SourceState{false, why};
  ++version_;
}

void PeerDirectory::answered(const PeerAddress& address, NodeId node) {
  const std::lock_guard lock(mutex_);
  auto& answer = answers_[address];
  const bool known = answer.node == node && answer.order == answers_given_;
  answer = Answer{node, known ? answers_given_ : ++answers_given_};
  own_.erase(address);
  version_ += known ? 0 : 1;
  for (auto& [place, view] : views_) {
    if (view.refused && view.said && view.said->node == node) {
      view.refused.reset();
      ++version_;
    }
  }
}

void PeerDirectory::refused(NodeId node) {
  const std::lock_guard lock(mutex_);
  for (auto& [place, view] : views_) {
    if (view.present && view.said && view.said->node == node) {
      view.refused = clock_();
      ++version_;
    }
  }
}

void PeerDirectory::is_own(const PeerAddress& address) {
  const std::lock_guard lock(mutex_);
  own_[address] = clock_();
  answers_.erase(address);
  ++version_;
}

bool PeerDirectory::left_out(const PeerAddress& address, Time now) const {
  const auto place = own_.find(address);
  return place != own_.end() && now - place->second < kOwnFor;
}

std::optional<NodeId> PeerDirectory::node_of(const View& view) const {
  if (view.said && view.said->node.valid()) {
    return view.said->node;
  }
  const Answer* latest = nullptr;
  for (const auto& address : view.addresses) {
    const auto place = answers_.find(address);
    if (place != answers_.end() && (latest == nullptr || place->second.order > latest->order)) {
      latest = &place->second;
    }
  }
  return latest == nullptr ? std::nullopt : std::optional(latest->node);
}

// The lowest of the numbers that the node or one of the addresses has had, so that a peer keeps the one by which it has
// been known longest.
int PeerDirectory::number_of(const std::optional<NodeId>& node, const std::vector<PeerAddress>& addresses) const {
  std::optional<int> number;
  const auto consider = [&](const auto& numbers, const auto& key) {
    if (const auto place = numbers.find(key); place != numbers.end()) {
      number = number ? std::min(*number, place->second) : place->second;
    }
  };
  if (node) {
    consider(node_numbers_, *node);
  }
  if (!node || !number) {
    for (const auto& address : addresses) {
      consider(address_numbers_, address);
    }
  }
  if (!number) {
    number = ++numbers_given_;
  }
  if (node) {
    node_numbers_[*node] = *number;
  }
  for (const auto& address : addresses) {
    address_numbers_.emplace(address, *number);
  }
  return *number;
}

std::vector<PeerDirectory::Peer> PeerDirectory::peers() const {
  const std::lock_guard lock(mutex_);
  const auto now = clock_();
  // Whose addresses they are, for views that do not say who it is.
  std::map<PeerAddress, NodeId> owner;
  for (const auto& [place, view] : views_) {
    if (const auto node = node_of(view); node && view.present) {
      for (const auto& address : view.addresses) {
        owner.emplace(address, *node);
      }
    }
  }
  std::map<NodeId, std::vector<const View*>> of_nodes;
  std::map<PeerAddress, std::vector<const View*>> of_addresses;
  for (const auto& [place, view] : views_) {
    auto node = node_of(view);
    for (const auto& address : view.addresses) {
      if (const auto known = owner.find(address); !node && known != owner.end()) {
        node = known->second;
      }
    }
    if (node == self_) {
      continue;  // a copy, or this node under an address of its own
    }
    if (node) {
      of_nodes[*node].push_back(&view);
    } else if (!view.addresses.empty()) {
      of_addresses[view.addresses.front()].push_back(&view);
    }
  }

  std::vector<Peer> all;
  const auto add = [&](const std::optional<NodeId>& node, const std::vector<const View*>& views) {
    Peer peer;
    peer.node = node;
    std::vector<std::tuple<std::uint64_t, PeerAddress>> ranked;
    std::set<PeerAddress> seen;
    for (const auto* view : views) {
      peer.views.push_back(*view);
      for (const auto& address : view->addresses) {
        const auto answer = answers_.find(address);
        const bool by_it = answer != answers_.end() && answer->second.node == node;
        // Whether a peer is there is for an exchange to say: daemons come and go, and so do their announcements.
        if (!(view->present || by_it) || left_out(address, now) || !seen.insert(address).second) {
          continue;
        }
        peer.answered = peer.answered || by_it;
        ranked.emplace_back(by_it ? answer->second.order : 0, address);
      }
    }
    std::stable_sort(ranked.begin(), ranked.end(),
                     [](const auto& a, const auto& b) { return std::get<0>(a) > std::get<0>(b); });
    std::transform(ranked.begin(), ranked.end(), std::back_inserter(peer.addresses),
                   [](const auto& entry) { return std::get<1>(entry); });
    peer.number = number_of(node, peer.addresses);
    all.push_back(std::move(peer));
  };
  for (const auto& [node, views] : of_nodes) {
    add(node, views);
  }
  for (const auto& [address, views] : of_addresses) {
    add(std::nullopt, views);
  }
  std::sort(all.begin(), all.end(), [](const Peer& a, const Peer& b) { return a.number < b.number; });
  return all;
}

std::vector<PeerDirectory::View> PeerDirectory::copies() const {
  const std::lock_guard lock(mutex_);
  std::vector<View> all;
  for (const auto& [place, view] : views_) {
    if (view.present && view.said && view.said->node == self_ && view.said->start != start_) {
      all.push_back(view);
    }
  }
  return all;
}

std::map<std::string, PeerDirectory::SourceState> PeerDirectory::sources() const {
  const std::lock_guard lock(mutex_);
  return sources_;
}

std::uint64_t PeerDirectory::version() const {
  const std::lock_guard lock(mutex_);
  return version_;
}

void PeerDirectory::drop_old(Time now) {
  std::erase_if(views_,
                [&](const auto& entry) { return !entry.second.present && now - entry.second.last_seen > kLostFor; });
}

}  // namespace mbsync
