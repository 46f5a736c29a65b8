#include "peers.h"

#include <fmt/format.h>

#include <algorithm>
#include <random>
#include <utility>

#include "log.h"
#include "other_fleet.h"
#include "static_source.h"
#include "tuning.h"

namespace mbsync {
namespace {

constexpr LogDomain kDomain{"peer"};

}  // namespace

Peers::Peers(PeerContext& context, NodeId self, std::size_t live_max)
    : context_(context), self_(self), live_max_(live_max) {
  visitor_ = std::jthread([this](const std::stop_token& stop) { visit_in_turn(stop); });
}

Peers::~Peers() {
  stop();
}

void Peers::add(std::unique_ptr<PeerSource> source) {
  source->start(context_.directory);
  sources_.push_back(std::move(source));
}

void Peers::look_after() {
  const auto now = Clock::now();
  std::erase_if(ending_, [](const Listening& entry) { return entry.loop->ended(); });
  const auto directory = context_.directory.version();
  const auto health = context_.health.version();
  if (directory == directory_seen_ && health == health_seen_ && now - looked_at_ < kPeersEvery) {
    return;
  }
  directory_seen_ = directory;
  health_seen_ = health;
  looked_at_ = now;
  say_what_sources_say();
  choose();
}

void Peers::choose() {
  auto peers = context_.directory.peers();
  std::vector<PeerCandidate> candidates;
  std::vector<PeerDirectory::Peer> rest;
  std::erase_if(peers, [this](const auto& peer) { return is_left_out(peer); });
  std::erase_if(peers, [&](const auto& peer) {
    const bool other = is_of_other_fleet(peer);
    if (other) {
      rest.push_back(peer);
    }
    return other;
  });
  for (const auto& peer : peers) {
    if (peer.node && !peer.addresses.empty()) {
      candidates.push_back({*peer.node, context_.health.of(*peer.node).up()});
      if (!candidates.back().up) {
        look_for(peer);
      }
    }
  }
  const auto live = choose_live(self_, candidates, live_max_);
  std::set<int> wanted;
  std::size_t unknown = 0;
  for (const auto& peer : peers) {
    if (peer.addresses.empty()) {
      continue;
    }
    // Who it is turns out when it answers.
    const bool listen =
        peer.node ? std::find(live.begin(), live.end(), *peer.node) != live.end() : ++unknown <= kUnknownPeersMax;
    if (!listen) {
      rest.push_back(peer);
      continue;
    }
    wanted.insert(peer.number);
    const auto place = listening_.find(peer.number);
    if (place == listening_.end()) {
      listen_to(peer);
      continue;
    }
    if (place->second.addresses != peer.addresses) {
      place->second.addresses = peer.addresses;
      place->second.loop->set_addresses(peer.addresses);
    }
    if (peer.node) {
      const auto state = context_.health.of(*peer.node);
      if (state.failed && state.up()) {  // it has asked meanwhile
        place->second.loop->hurry();
      }
    }
  }
  std::vector<int> gone;
  for (const auto& [number, entry] : listening_) {
    if (!wanted.contains(number) || entry.loop->ended()) {
      gone.push_back(number);
    }
  }
  for (const auto number : gone) {
    end(number);
  }
  const std::lock_guard lock(mutex_);
  to_visit_ = std::move(rest);
}

// One that is not allowed is not even asked.
bool Peers::is_left_out(const PeerDirectory::Peer& peer) {
  if (!peer.node || context_.allowed.allows(*peer.node)) {
    return false;
  }
  if (left_out_told_.insert(*peer.node).second) {
    log_info(kDomain, "a node is left out, as it is not in SYNC_ALLOWED_NODES node={} address={}",
             to_string(*peer.node), peer.addresses.empty() ? "" : to_string(peer.addresses.front()));
  }
  return true;
}

// Whoever asks with the key is none, whatever it announces.
bool Peers::is_of_other_fleet(const PeerDirectory::Peer& peer) const {
  return other_fleet_since(peer, context_.fleet_tags) && (!peer.node || !context_.health.of(*peer.node).up());
}

bool Peers::is_put_off(const PeerDirectory::Peer& peer) const {
  const auto since = other_fleet_since(peer, context_.fleet_tags);
  const auto now = std::chrono::system_clock::now();
  return since && is_of_other_fleet(peer) && now >= *since && now - *since < kOtherFleetEvery;
}

// It may have moved: what announces it is asked for its addresses anew.
void Peers::look_for(const PeerDirectory::Peer& peer) {
  const auto now = Clock::now();
  const auto last = looked_for_.find(peer.number);
  if (last != looked_for_.end() && now - last->second < kPeersEvery) {
    return;
  }
  looked_for_[peer.number] = now;
  for (const auto& view : peer.views) {
    for (const auto& source : sources_) {
      if (view.present && view.source == source->name()) {
        source->look_again(view.handle);
      }
    }
  }
}

void Peers::listen_to(const PeerDirectory::Peer& peer) {
  Listening entry{std::make_unique<PeerLoop>(context_, peer), peer.addresses, {}};
  entry.thread = std::jthread([loop = entry.loop.get()](const std::stop_token& stop) { loop->run(stop); });
  listening_.emplace(peer.number, std::move(entry));
}

void Peers::end(int number) {
  auto entry = std::move(listening_.at(number));
  listening_.erase(number);
  entry.thread.request_stop();
  entry.loop->stop();
  ending_.push_back(std::move(entry));  // it ends within a quarter of a second, or when its rows are applied
}

// What is not listened to is visited, a few in each interval, so that a node in a large fleet has no more to do than in
// a small one.
void Peers::visit_in_turn(const std::stop_token& stop) {
  Pause pause(stop);
  std::mt19937_64 random{std::random_device{}()};
  std::set<int> visited;
  while (!stop.stop_requested()) {
    pause(context_.interval.load() / kVisitsEachInterval);
    ask_suspects(stop);
    std::optional<PeerDirectory::Peer> chosen;
    {
      const std::lock_guard lock(mutex_);
      std::vector<const PeerDirectory::Peer*> open;
      for (const auto& peer : to_visit_) {
        if (!visited.contains(peer.number) && !is_put_off(peer)) {
          open.push_back(&peer);
        }
      }
      if (open.empty()) {
        visited.clear();
        continue;
      }
      chosen = *open[random() % open.size()];
    }
    visited.insert(chosen->number);
    with_visit(stop, *chosen, [&](PeerLoop& loop) { loop.visit(stop, kVisitFor); });
  }
}

// Who announces this node's identity may be a copy of its database at work, or this very node under an address or a
// port of earlier, which a daemon remembers for up to 75 minutes (RFC 6762, section 10). Only who answers tells.
void Peers::ask_suspects(const std::stop_token& stop) {
  const auto suspects = context_.directory.copies();
  std::erase_if(suspects_asked_, [&](const auto& entry) {
    return std::none_of(suspects.begin(), suspects.end(), [&](const auto& view) { return view.handle == entry.first; });
  });
  for (const auto& suspect : suspects) {
    const auto now = Clock::now();
    const auto asked = suspects_asked_.find(suspect.handle);
    if (stop.stop_requested() || suspect.addresses.empty() || copies_told_.contains(suspect.handle) ||
        (asked != suspects_asked_.end() && now - asked->second < kSuspectsEvery)) {
      continue;
    }
    suspects_asked_[suspect.handle] = now;
    PeerDirectory::Peer peer;
    peer.addresses = suspect.addresses;
    bool copy = false;
    with_visit(stop, peer, [&](PeerLoop& loop) { copy = loop.leads_to_copy(stop); });
    if (copy && copies_told_.insert(suspect.handle).second) {
      log_warning(kDomain,
                  "another machine says that it is this node: its database is a copy of this one, or the other way "
                  "round; one of the two must join anew what={} address={}",
                  log_value(suspect.handle), to_string(suspect.addresses.front()));
    }
    return;  // those that are visited have their turn as well: anybody may announce anything
  }
}

// One at a time, and where ask_to_stop() finds it.
void Peers::with_visit(const std::stop_token& stop, const PeerDirectory::Peer& peer,
                       const std::function<void(PeerLoop&)>& visit) {
  PeerLoop loop(context_, peer);
  {
    const std::lock_guard lock(mutex_);
    visiting_ = &loop;
  }
  if (!stop.stop_requested()) {
    visit(loop);
  }
  const std::lock_guard lock(mutex_);
  visiting_ = nullptr;
}

void Peers::say_what_sources_say() {
  for (const auto& [source, state] : context_.directory.sources()) {
    const auto text = state.failure ? state.failure->text() : "";
    // In the middle of what a daemon goes away is no news; what to do about it is.
    const bool advised = state.failure && !state.failure->hint.empty();
    if (!announcers_[source].is_news(advised ? state.failure->hint : text)) {
      continue;
    }
    if (source != StaticSource::kName) {
      context_.book.discovery(text);
    }
    if (state.failure) {
      log_warning(kDomain, "peers cannot be found by themselves source={} reason={}", source, log_value(text));
    } else if (source != StaticSource::kName) {
      log_info(kDomain, "peers are looked for source={}", source);
    }
  }
}

void Peers::ask_to_stop() {
  context_.interrupt();
  visitor_.request_stop();
  {
    const std::lock_guard lock(mutex_);
    if (visiting_ != nullptr) {
      visiting_->stop();
    }
  }
  for (auto& [number, entry] : listening_) {
    entry.thread.request_stop();
    entry.loop->stop();
  }
}

void Peers::stop() {
  for (const auto& source : sources_) {
    source->stop();
  }
  ask_to_stop();
  listening_.clear();
  ending_.clear();
  if (visitor_.joinable()) {
    visitor_.join();
  }
}

}  // namespace mbsync
