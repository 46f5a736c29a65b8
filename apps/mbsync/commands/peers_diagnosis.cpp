#include "commands/peers_diagnosis.h"

#include <fmt/format.h>

#include <algorithm>

#include "message.h"

namespace mbsync {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

/// From here on a clock is worth a word: a tie between two writes may go to the wrong one by so much.
constexpr seconds kClockTolerated{5};

std::string without_local(std::string name) {
  constexpr std::string_view kLocal = ".local";
  if (name.ends_with(kLocal)) {
    name.resize(name.size() - kLocal.size());
  }
  return name;
}

class Findings {
 public:
  Findings(const DiagnosisFacts& facts, const FleetTags& ours) : facts_(facts), ours_(ours) {}

  std::vector<PeerFinding> all() {
    about_announcement();
    about_ways();
    about_membership();
    about_last_exchange();
    about_clock();
    return std::move(found_);
  }

 private:
  void add(PeerTrouble trouble, std::string what, std::string next, bool serious) {
    found_.push_back({trouble, std::move(what), std::move(next), serious});
  }
  [[nodiscard]] std::uint16_t port() const {
    const auto* best = facts_.best();
    return best != nullptr ? best->address.port : facts_.wanted.place.value_or(PeerAddress{}).port;
  }

  // Nothing of it keeps two apart that reach each other all the same.
  void about_announcement() {
    const bool serious = !facts_.reached();
    if (facts_.not_seen_why) {
      add(PeerTrouble::kNoDiscovery, facts_.not_seen_why->message,
          fmt::format("{}, or {}", next_step(PeerTrouble::kNoDiscovery, port()), facts_.not_seen_why->hint), serious);
    } else if (facts_.looked && facts_.of_it.empty()) {
      add(PeerTrouble::kNotAdvertised,
          fmt::format("'{}' is not advertised on this network{}", facts_.wanted.text,
                      facts_.self_announced ? "" : ", and neither is the node of this machine: does it run?"),
          next_step(PeerTrouble::kNotAdvertised, port()), serious);
    } else if (!facts_.looked && facts_.ways.empty()) {
      add(PeerTrouble::kNoDiscovery,
          fmt::format(
              "no address of '{}' is known, and this node does not look for peers on the network (SYNC_DISCOVERY "
              "is off, or SYNC_BIND is a loopback address)",
              facts_.wanted.text),
          next_step(PeerTrouble::kNoDiscovery, port()), serious);
    }
    about_what_is_announced();
  }

  void about_what_is_announced() {
    std::optional<int> other_protocol;
    bool any_address = facts_.of_it.empty();
    for (const auto& sighting : facts_.of_it) {
      any_address = any_address || !sighting.addresses.empty();
      if (sighting.said && sighting.said->protocol != kProtocolVersion) {
        other_protocol = sighting.said->protocol;
      }
    }
    if (!any_address) {
      add(PeerTrouble::kNoAddress, "it is advertised, but nobody knows an address of it",
          next_step(PeerTrouble::kNoAddress, port()), !facts_.reached());
    }
    if (other_protocol) {
      add(PeerTrouble::kOtherProtocol,
          fmt::format("{} {}, and this node speaks {}", kSaysOtherProtocol, *other_protocol, kProtocolVersion),
          next_step(PeerTrouble::kOtherProtocol, port()), !facts_.reached());
    }
  }

  [[nodiscard]] bool advertises_other_fleet() const {
    const auto& all = facts_.of_it;
    const auto says = [&](const Sighting& sighting) { return sighting.said && !sighting.said->fleet.empty(); };
    return std::any_of(all.begin(), all.end(), says) && std::none_of(all.begin(), all.end(), [&](const auto& sighting) {
             return says(sighting) && ours_.has(sighting.said->fleet);
           });
  }

  void about_ways() {
    for (const auto& way : facts_.ways) {
      if (!way.report.trouble) {
        continue;
      }
      const auto& step = way.report.steps.back();
      auto trouble = *way.report.trouble;
      auto what = fmt::format("{}: {}", to_string(way.address), step.detail);
      auto next = step.next;
      // A tag alone proves nothing; with a refusal it says who that is.
      if (trouble == PeerTrouble::kOtherKey && way.advertised && advertises_other_fleet()) {
        trouble = PeerTrouble::kOtherFleet;
        what = fmt::format("{}, and it advertises another fleet", what);
        next = next_step(trouble, way.address.port);
      } else if (trouble == PeerTrouble::kSilent && way.advertised) {
        what = fmt::format("it is advertised by {}, which does not answer ({})", to_string(way.address), step.detail);
      }
      add(trouble, std::move(what), std::move(next), !facts_.reached());
    }
  }

  void about_membership() {
    const auto* best = facts_.best();
    const auto wanted = nodes();
    for (const auto& member : facts_.banned) {
      if (wanted.contains(member.id)) {
        add(PeerTrouble::kBanned, fmt::format("'{}' is banned from the fleet", member.name),
            fmt::format("if it is to take part again: mbsync peers unban {}", to_string(member.id)), true);
      } else if (member.id == facts_.self) {
        add(PeerTrouble::kBanned, "the node of this machine is banned from the fleet",
            fmt::format("if that was a mistake, on another node: mbsync peers unban {}", to_string(member.id)), true);
      }
    }
    if (best == nullptr || !best->report.node || facts_.allowed.empty()) {
      return;
    }
    const auto node = best->report.node->id;
    if (std::find(facts_.allowed.begin(), facts_.allowed.end(), node) == facts_.allowed.end()) {
      add(PeerTrouble::kNotAllowed, fmt::format("{} is not among SYNC_ALLOWED_NODES here", to_string(node)),
          "add it there, and let mbsync read it (kill -HUP, or a restart)", true);
    }
  }

  [[nodiscard]] std::set<NodeId> nodes() const {
    if (const auto* best = facts_.best(); best != nullptr && best->report.node) {
      return {best->report.node->id};
    }
    auto nodes = facts_.wanted.nodes;
    for (const auto& sighting : facts_.of_it) {
      if (sighting.said && sighting.said->node.valid()) {
        nodes.insert(sighting.said->node);
      }
    }
    return nodes;
  }

  [[nodiscard]] bool has(PeerTrouble trouble) const {
    return std::any_of(found_.begin(), found_.end(), [&](const auto& finding) { return finding.trouble == trouble; });
  }

  void about_last_exchange() {
    bool known = false;
    const auto wanted = nodes();
    for (const auto& peer : facts_.peers.peers) {
      if (!wanted.contains(peer.peer.id)) {
        continue;
      }
      known = true;
      if (!peer.failing) {
        continue;
      }
      const auto trouble = trouble_of(peer.failure);
      if (trouble != PeerTrouble::kOther && has(trouble)) {
        continue;
      }
      auto next = next_step(trouble, port());
      add(trouble,
          fmt::format("the node of this machine could not exchange with it at {}: {}", peer.failed_at, peer.failure),
          next.empty() ? "see to what it says; it is tried again by itself" : std::move(next), true);
    }
    if (facts_.reached() && !known && !wanted.contains(facts_.self)) {
      add(PeerTrouble::kNotMet, "the node of this machine has not exchanged anything with it yet",
          next_step(PeerTrouble::kNotMet, port()), false);
    }
  }

  void about_clock() {
    const auto* best = facts_.best();
    const auto ahead = best == nullptr ? milliseconds{0} : best->report.clock_ahead.value_or(milliseconds{0});
    if (ahead > kClockTolerated || ahead < -kClockTolerated) {
      add(PeerTrouble::kClock,
          fmt::format("its clock is {} s {} this one's",
                      std::chrono::duration_cast<seconds>(ahead < milliseconds{0} ? -ahead : ahead).count(),
                      ahead < milliseconds{0} ? "behind" : "ahead of"),
          next_step(PeerTrouble::kClock, port()), false);
    }
  }

  const DiagnosisFacts& facts_;
  const FleetTags& ours_;
  std::vector<PeerFinding> found_;
};

}  // namespace

WantedPeer wanted_peer(const std::string& text, const StoreStatus& status) {
  WantedPeer wanted;
  wanted.text = text;
  const auto consider = [&](const Member& member) {
    if (member.name == text || to_string(member.id) == text) {
      wanted.nodes.insert(member.id);
    }
  };
  for (const auto& entry : status.members) {
    consider(entry.member);
  }
  for (const auto& peer : status.peers.peers) {
    consider(peer.peer);
  }
  if (const auto id = parse_node_id(text)) {
    wanted.nodes.insert(*id);
  } else if (const auto place = parse_peer_address(text)) {
    wanted.place = *place;
    wanted.port_given = text == to_string(*place);
  }
  return wanted;
}

bool is_wanted(const WantedPeer& wanted, const Sighting& sighting) {
  if (sighting.said && wanted.nodes.contains(sighting.said->node)) {
    return true;
  }
  if (!sighting.name.empty() && (sighting.name == wanted.text || sighting.name == without_local(wanted.text))) {
    return true;
  }
  // Several nodes may share one machine.
  return std::any_of(sighting.addresses.begin(), sighting.addresses.end(), [&](const PeerAddress& address) {
    return wanted.hosts.contains(address.host) && (!wanted.port_given || address.port == wanted.place->port);
  });
}

std::vector<WayTo> ways_to(const WantedPeer& wanted, const std::vector<Sighting>& of_it, const PeersStatus& peers) {
  std::vector<WayTo> ways;
  const auto way = [&](const PeerAddress& address) -> WayTo& {
    const auto known =
        std::find_if(ways.begin(), ways.end(), [&](const auto& entry) { return entry.address == address; });
    return known == ways.end() ? ways.emplace_back(WayTo{address}) : *known;
  };
  auto nodes = wanted.nodes;
  for (const auto& sighting : of_it) {
    for (const auto& address : sighting.addresses) {
      way(address).advertised = true;
    }
    if (sighting.said && sighting.said->node.valid()) {
      nodes.insert(sighting.said->node);
    }
  }
  for (const auto& peer : peers.peers) {
    if (nodes.contains(peer.peer.id)) {
      for (const auto& entry : peer.addresses) {
        if (const auto address = parse_peer_address(entry.address)) {
          way(*address).remembered = true;
        }
      }
    }
  }
  // A port that was not given is a guess, which is not needed where one is known.
  for (const auto& host : wanted.hosts) {
    const bool known =
        std::any_of(ways.begin(), ways.end(), [&](const auto& entry) { return entry.address.host == host; });
    if (wanted.port_given || !known) {
      way({host, wanted.place->port}).given = true;
    }
  }
  if (ways.empty() && wanted.place) {
    way(*wanted.place).given = true;  // that its name is not known comes out on the way
  }
  std::stable_partition(ways.begin(), ways.end(), [](const auto& entry) { return entry.given; });
  return ways;
}

bool DiagnosisFacts::reached() const {
  return std::any_of(ways.begin(), ways.end(), [](const auto& way) { return way.report.passed(); });
}

const WayTo* DiagnosisFacts::best() const {
  const WayTo* best = nullptr;
  const auto worth = [](const WayTo& way) { return way.report.steps.size() + (way.report.passed() ? 1 : 0); };
  for (const auto& way : ways) {
    if (best == nullptr || worth(way) > worth(*best)) {
      best = &way;
    }
  }
  return best;
}

std::vector<PeerFinding> findings_of(const DiagnosisFacts& facts, const FleetTags& ours) {
  return Findings(facts, ours).all();
}

}  // namespace mbsync
