#include "commands/peers_view.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>

#include "output.h"
#include "peer_trouble.h"

namespace mbsync {
namespace {

nlohmann::ordered_json or_null(const std::string& text) {
  return text.empty() ? nlohmann::ordered_json() : nlohmann::ordered_json(text);
}

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

nlohmann::ordered_json address_json(const PeerStatus::Address& address) {
  return {{"address", address.address},
          {"answered", or_null(address.answered_at)},
          {"failed", or_null(address.failed_at)},
          {"failure", or_null(address.failure)}};
}

nlohmann::ordered_json peer_json(const PeerStatus& peer) {
  nlohmann::ordered_json document{
      {"id", to_string(peer.peer.id)},
      {"name", peer.peer.name},
      {"asked", or_null(peer.asked_at)},
      {"asked_from", or_null(peer.asked_from)},
      {"asked_key", or_null(peer.asked_key)},
      {"answered", or_null(peer.answered_at)},
      {"answered_key", or_null(peer.answered_key)},
      {"failing", peer.failing},
      {"failed", or_null(peer.failed_at)},
      {"failure", or_null(peer.failure)},
      {"reason", peer.failing ? or_null(std::string(to_string(trouble_of(peer.failure)))) : or_null("")},
      {"clock_ahead_ms", peer.clock_ahead ? nlohmann::ordered_json(peer.clock_ahead->count()) : nullptr},
      {"addresses", nlohmann::ordered_json::array()}};
  for (const auto& address : peer.addresses) {
    document["addresses"].push_back(address_json(address));
  }
  return document;
}

std::string reason_in_short(const PeerStatus& peer) {
  return std::string(in_short(trouble_of(peer.failure)));
}

std::string answers_as_text(const PeersStatus& peers, NodeId node) {
  const auto peer = std::find_if(peers.peers.begin(), peers.peers.end(),
                                 [&](const PeerStatus& known) { return known.peer.id == node; });
  if (peer == peers.peers.end()) {
    return "not met";
  }
  if (peer->failing) {
    const auto reason = reason_in_short(*peer);
    return reason.empty() ? "no" : "no, " + reason;
  }
  return peer->answered_at.empty() ? "not asked" : "yes";
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
