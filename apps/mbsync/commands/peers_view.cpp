#include "commands/peers_view.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>

#include "output.h"
#include "peer_trouble.h"

namespace mbsync {
namespace {

std::string clock_in_short(const PeerStatus& peer) {
  if (!peer.clock_ahead) {
    return "-";
  }
  const auto off = std::chrono::abs(*peer.clock_ahead);
  return off <= kSkewTolerated ? "right"
                               : fmt::format("{} s {}", std::chrono::round<std::chrono::seconds>(off).count(),
                                             *peer.clock_ahead < std::chrono::milliseconds{0} ? "behind" : "ahead");
}

}  // namespace

std::string reason_in_short(const PeerStatus& peer) {
  return std::string(in_short(trouble_of(peer.failure)));
}

std::string peers_as_text(const PeersStatus& peers) {
  if (peers.peers.empty()) {
    return "";
  }
  const auto when = [](const std::string& time) { return time.empty() ? std::string("never") : time; };
  const auto key = [](const std::string& name) { return name.empty() ? std::string("-") : name; };
  std::vector<std::string> headings{"Peer", "Id", "Has asked", "Has answered", "At", "Clock"};
  if (peers.two_keys) {
    headings.insert(headings.end(), {"Key asked with", "Key answered with"});
  }
  std::vector<std::vector<std::string>> rows;
  std::string troubles;
  for (const auto& peer : peers.peers) {
    const std::string name = peer.peer.name.empty() ? to_string(peer.peer.id) : peer.peer.name;
    rows.push_back({name, to_string(peer.peer.id), when(peer.asked_at), when(peer.answered_at),
                    peer.addresses.empty() ? "-" : peer.addresses.front().address, clock_in_short(peer)});
    if (peers.two_keys) {
      rows.back().insert(rows.back().end(), {key(peer.asked_key), key(peer.answered_key)});
    }
    if (peer.failing) {
      const auto reason = reason_in_short(peer);
      troubles += fmt::format("\n  {} does not answer{}: {} ({})", name, reason.empty() ? "" : ", " + reason,
                              peer.failure, peer.failed_at);
    }
  }
  return "\n\n" + format_table(headings, rows) + troubles;
}

}  // namespace mbsync
