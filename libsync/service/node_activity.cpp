#include "node_activity.h"

#include <fmt/format.h>
#include <unistd.h>

#include <utility>

#include "tuning.h"
#include "words.h"

namespace mbsync {
namespace {

WallClockTime now_wall() {
  return std::chrono::system_clock::now();
}

double seconds_of(std::chrono::nanoseconds time) {
  return std::chrono::duration<double>(time).count();
}

std::string name_of(const Member& peer) {
  return peer.name.empty() ? to_string(peer.id) : peer.name;
}

}  // namespace

NodeActivity::NodeActivity(std::string version, WallClockTime now)
    : version_(std::move(version)),
      started_(now),
      started_steady_(Clock::now()),
      events_(now),
      metrics_(version_),
      beat_(Clock::now().time_since_epoch().count()),
      phase_since_(Clock::now()) {}

void NodeActivity::phase(std::string name, const std::string& reason) {
  beat();
  const std::lock_guard lock(mutex_);
  if (phase_ != name) {
    phase_since_ = Clock::now();
  }
  phase_ = std::move(name);
  phase_reason_ = reason;
}

void NodeActivity::is_node(const Member& self, std::uint16_t port) {
  const std::lock_guard lock(mutex_);
  node_ = self;
  port_ = port;
}

void NodeActivity::event(std::string kind, std::string text, const std::string& peer, nlohmann::ordered_json details) {
  events_.add(now_wall(), std::move(kind), peer, std::move(text), std::move(details));
}

void NodeActivity::look_after() {
  const auto now = now_wall();
  const std::lock_guard lock(mutex_);
  for (auto& [id, peer] : peers_) {
    const auto name = name_of(peer.peer);
    if (const auto rows = std::exchange(peer.rows_in_untold, 0); rows > 0) {
      events_.add(now, "rows_arrived", name, fmt::format("{} arrived from {}", rows_of(rows), name), {{"rows", rows}});
    }
    if (const auto rows = std::exchange(peer.rows_out_untold, 0); rows > 0) {
      events_.add(now, "rows_sent", name, fmt::format("{} went to {}", rows_of(rows), name), {{"rows", rows}});
    }
  }
}

void NodeActivity::sealed(std::chrono::microseconds took) {
  metrics_.sealed(seconds_of(took));
}

NodeActivity::Peer* NodeActivity::peer_of(const Member& peer, const std::string& address) {
  auto place = peers_.find(peer.id);
  if (place == peers_.end()) {
    // Whoever has the key can make up ids.
    if (peers_.size() >= kPeersNoted) {
      return nullptr;
    }
    place = peers_.emplace(peer.id, Peer{}).first;
    place->second.since = now_wall();
  }
  place->second.peer.id = peer.id;
  if (!peer.name.empty()) {
    place->second.peer.name = peer.name;
  }
  if (!address.empty()) {
    place->second.address = address;
  }
  return &place->second;
}

void NodeActivity::connected(Peer& peer, WallClockTime now) {
  peer.heard = now;
  if (!peer.up) {
    peer.up = true;
    peer.since = now;
    const auto name = name_of(peer.peer);
    events_.add(now, "peer_connected", name, fmt::format("{} is connected", name), {{"address", peer.address}});
  }
  peer.failure.clear();
}

void NodeActivity::applied(const Member& peer, const std::string& address, const ApplyOutcome& outcome,
                           std::chrono::microseconds took) {
  const auto now = now_wall();
  const auto name = name_of(peer);
  history_.rows_in(now, outcome.rows, outcome.conflicts, outcome.rows > 0 ? seconds_of(took) : 0.0);
  metrics_.applied(name, to_string(peer.id), outcome, seconds_of(took));
  const std::lock_guard lock(mutex_);
  rows_in_ += outcome.rows;
  conflicts_ += outcome.conflicts;
  if (auto* known = peer_of(peer, address)) {
    known->pulled = true;
    strangers_.erase(address);
    connected(*known, now);
    known->rows_in += outcome.rows;
    known->rows_in_untold += outcome.rows;
  }
  if (outcome.conflicts > 0) {
    events_.add(
        now, "conflict", name,
        fmt::format("{} on record since rows of {} arrived",
                    outcome.conflicts == 1 ? "1 conflict is" : fmt::format("{} conflicts are", outcome.conflicts),
                    name),
        {{"conflicts", outcome.conflicts}});
  }
  for (const auto& row : outcome.parked) {
    events_.add(now, "row_parked", name, fmt::format("a row of {} cannot be written here: {}", name, row.text()));
  }
}

void NodeActivity::asked(const Member& peer, const std::string& address) {
  const std::lock_guard lock(mutex_);
  if (auto* known = peer_of(peer, "")) {
    if (known->address.empty()) {
      known->address = address;
    }
    known->heard = now_wall();
    if (!known->pulled) {
      connected(*known, *known->heard);
    }
  }
}

void NodeActivity::answered(const Member& peer, std::int64_t rows, std::int64_t bytes, std::chrono::microseconds took) {
  history_.rows_out(now_wall(), rows);
  metrics_.answered(name_of(peer), to_string(peer.id), rows, bytes, seconds_of(took));
  const std::lock_guard lock(mutex_);
  rows_out_ += rows;
  if (auto* known = peer_of(peer, "")) {
    known->rows_out += rows;
    known->rows_out_untold += rows;
  }
}

void NodeActivity::failed(const std::optional<Member>& peer, const std::string& address, const std::string& reason) {
  const auto now = now_wall();
  metrics_.pull_failed();
  const std::lock_guard lock(mutex_);
  if (!peer) {
    if (!strangers_.contains(address) && strangers_.size() >= kAddressesKept) {
      strangers_.clear();  // whoever announces addresses can make them up; to tell of one again does less harm
    }
    auto& told = strangers_[address];
    if (told != reason) {
      told = reason;
      events_.add(now, "peer_unreachable", "", fmt::format("nobody answers at {}: {}", address, reason),
                  {{"address", address}});
    }
    return;
  }
  auto* known = peer_of(*peer, address);
  if (known == nullptr) {
    return;
  }
  const bool news = known->up || !known->pulled;
  known->pulled = true;
  known->failure = reason;
  if (news) {
    known->up = false;
    known->since = now;
    const auto name = name_of(known->peer);
    events_.add(now, "peer_lost", name, fmt::format("{} cannot be reached: {}", name, reason), {{"address", address}});
  }
}

std::size_t NodeActivity::peers_up() {
  const std::lock_guard lock(mutex_);
  return static_cast<std::size_t>(
      std::count_if(peers_.begin(), peers_.end(), [](const auto& entry) { return entry.second.up; }));
}

ProcessFacts NodeActivity::facts() {
  const auto now = now_wall();
  const auto steady = Clock::now();
  ProcessFacts facts;
  facts.pid = ::getpid();
  facts.version = version_;
  facts.started_at = iso_of(started_);
  facts.uptime_s = seconds_of(steady - started_steady_);
  facts.beat_age_s = seconds_of(steady.time_since_epoch() - Clock::duration(beat_.load()));
  // The minute under way alone would say nothing in its first second.
  const auto recent = history_.latest(now, 2);
  double over = 0;
  for (const auto& sample : recent) {
    facts.rows_in_per_s += static_cast<double>(sample.rows_in);
    facts.rows_out_per_s += static_cast<double>(sample.rows_out);
    over = std::max(over, seconds_of(now - sample.minute));
  }
  over = std::max(1.0, std::min(over, facts.uptime_s));
  facts.rows_in_per_s /= over;
  facts.rows_out_per_s /= over;
  const std::lock_guard lock(mutex_);
  facts.node = node_;
  facts.phase = phase_;
  facts.phase_reason = phase_reason_;
  facts.phase_s = seconds_of(steady - phase_since_);
  facts.port = port_;
  facts.rows_in = rows_in_;
  facts.rows_out = rows_out_;
  facts.conflicts = conflicts_;
  for (const auto& [id, peer] : peers_) {
    facts.peers.push_back({peer.peer, peer.address, peer.up, iso_of(peer.since), peer.heard ? iso_of(*peer.heard) : "",
                           peer.heard ? std::optional(seconds_of(now - *peer.heard)) : std::nullopt, peer.failure,
                           peer.rows_in, peer.rows_out});
  }
  return facts;
}

}  // namespace mbsync
