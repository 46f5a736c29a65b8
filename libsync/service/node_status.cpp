#include "node_status.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <ctime>
#include <map>
#include <utility>

#include "config.h"
#include "peer_trouble.h"
#include "tuning.h"
#include "words.h"

namespace mbsync {
namespace {

/// Seconds since an ISO time in UTC; nothing for what is none.
std::optional<double> seconds_since(const std::string& iso) {
  std::tm parts{};
  if (iso.empty() || ::strptime(iso.c_str(), "%Y-%m-%dT%H:%M:%SZ", &parts) == nullptr) {
    return std::nullopt;
  }
  const auto then = std::chrono::system_clock::from_time_t(::timegm(&parts));
  return std::max(0.0, std::chrono::duration<double>(std::chrono::system_clock::now() - then).count());
}

std::string name_of(const Member& member) {
  return member.name.empty() ? to_string(member.id) : member.name;
}

void say_of_peer(const PeerView& peer, std::uint16_t port, std::vector<Cause>& causes) {
  const auto name = name_of(peer.peer);
  if (peer.state == PeerState::kUnreachable || peer.state == PeerState::kSilent) {
    const auto trouble = peer.why.empty() ? PeerTrouble::kOther : trouble_of(peer.why);
    causes.push_back(
        {.kind = peer.state == PeerState::kSilent ? "peer_silent" : "peer_unreachable",
         .text = fmt::format("{} is not connected: {}", name, peer.why.empty() ? "it is silent" : peer.why),
         .next = next_step(trouble, port),
         .peer = name,
         .reason = peer.why_word});
  }
  if (peer.state == PeerState::kNotMet) {
    causes.push_back({.kind = "peer_not_met",
                      .text = fmt::format("{} has not been met by this node", name),
                      .next = next_step(PeerTrouble::kNotMet, port),
                      .peer = name});
  }
  if (peer.state == PeerState::kConnected && peer.outgoing_s.value_or(0) > kLagTolerableS) {
    causes.push_back({.kind = "peer_lacks_rows",
                      .text = fmt::format("{} is connected, and lacks {}, the oldest of {:.0f} s ago", name,
                                          amount(peer.outgoing_rows, "row", "rows"), *peer.outgoing_s),
                      .next = "'mbsync status' there says whether it refuses rows, or is busy",
                      .peer = name,
                      .count = peer.outgoing_rows,
                      .seconds = *peer.outgoing_s});
  }
}

void say_of_store(const StoreStatus& store, std::vector<Cause>& causes) {
  if (!store.policy_trouble.empty()) {
    causes.push_back({.kind = "policy_trouble",
                      .text = "the policy cannot be carried out here",
                      .next = "'mbsync status' says what is missing in this database"});
  }
  if (store.parked_rows > 0) {
    causes.push_back({.kind = "rows_refused",
                      .text = fmt::format("this database refuses {}", amount(store.parked_rows, "row", "rows")),
                      .next = "'mbsync status' names them, and why; they are tried again by themselves",
                      .count = store.parked_rows});
  }
  if (store.open_conflicts > 0) {
    causes.push_back({.kind = "conflicts_open",
                      .text = store.open_conflicts == 1
                                  ? "1 conflict waits for a person"
                                  : fmt::format("{} conflicts wait for a person", store.open_conflicts),
                      .next = "'mbsync resolve', or the page at the local port",
                      .count = store.open_conflicts});
  }
  if (store.captures_oldest_s.value_or(0) > kBacklogTolerableS) {
    causes.push_back(
        {.kind = "writes_wait",
         .text = fmt::format("{} for {:.0f} s",
                             store.captures == 1 ? "1 write has waited to be sealed"
                                                 : fmt::format("{} writes have waited to be sealed", store.captures),
                             *store.captures_oldest_s),
         .count = store.captures,
         .seconds = *store.captures_oldest_s});
  }
  for (const auto& note : store.verified) {
    std::vector<std::string> tables;
    std::int64_t rows = 0;
    for (const auto& table : note.tables) {
      if (table.differing > 0) {
        tables.push_back(table.table);
        rows += table.differing;
      }
    }
    if (rows > 0) {
      causes.push_back({.kind = "rows_differ",
                        .text = fmt::format("{} of {} differ{} from {}'s although both have the same writes",
                                            amount(rows, "row", "rows"), fmt::join(tables, ", "), rows == 1 ? "s" : "",
                                            name_of(note.peer)),
                        .next = fmt::format("'mbsync verify {}' shows which, and with --repair gives them to the rules",
                                            name_of(note.peer)),
                        .peer = name_of(note.peer),
                        .count = rows});
    }
  }
  for (const auto& peer : store.peers.peers) {
    const auto ahead = peer.clock_ahead.value_or(std::chrono::milliseconds{0});
    if (std::chrono::abs(ahead) > kSkewTolerated) {
      const auto off = std::chrono::round<std::chrono::seconds>(std::chrono::abs(ahead)).count();
      const bool behind = ahead < std::chrono::milliseconds{0};
      causes.push_back({.kind = "clock_off",
                        .text = fmt::format("the clock of {} is {} s {} this one's", name_of(peer.peer), off,
                                            behind ? "behind" : "ahead of"),
                        .next = next_step(PeerTrouble::kClock, 0),
                        .peer = name_of(peer.peer),
                        .seconds = static_cast<double>(behind ? -off : off)});
    }
  }
  for (const auto& entry : store.members) {
    if (entry.self && entry.standing.away) {
      causes.push_back({.kind = entry.standing.banned ? "self_banned" : "self_left_out",
                        .text = entry.standing.banned ? "this node is banned" : "the fleet goes on without this node"});
    }
  }
}

PeerView view_of(const StoreStatus::MemberStatus& entry) {
  PeerView view;
  view.peer = entry.member;
  view.outgoing_rows = entry.behind_writes;
  view.outgoing_s = entry.behind_oldest_s;
  view.incoming_rows = entry.ahead_seals;
  if (entry.standing.banned) {
    view.state = PeerState::kBanned;
    view.why = fmt::format("banned on {}", entry.standing.said_by);
  } else if (entry.standing.away) {
    view.state = PeerState::kAway;
    view.why = entry.standing.reason;
  }
  return view;
}

}  // namespace

std::string_view to_string(Health verdict) {
  switch (verdict) {
    case Health::kHealthy:
      return "healthy";
    case Health::kDegraded:
      return "degraded";
    case Health::kDown:
      return "down";
  }
  return "";
}

std::string_view to_string(PeerState state) {
  switch (state) {
    case PeerState::kConnected:
      return "connected";
    case PeerState::kUnreachable:
      return "unreachable";
    case PeerState::kSilent:
      return "silent";
    case PeerState::kNotMet:
      return "not met";
    case PeerState::kAway:
      return "away";
    case PeerState::kBanned:
      return "banned";
  }
  return "";
}

NodeSettings settings_of(const Config& config) {
  NodeSettings settings;
  settings.configuration = config.config_file.empty() ? "" : config.config_file.string();
  // Every place that a setting has come from, the file without its lines.
  std::vector<std::string> places;
  for (const auto& source : config.sources) {
    auto place = source.substr(0, source.find(':'));
    place = place.starts_with("environment") ? "environment" : place.starts_with("--") ? "command line" : place;
    if (!place.empty() && place != "default" && std::find(places.begin(), places.end(), place) == places.end()) {
      places.push_back(std::move(place));
    }
  }
  settings.configuration = places.empty() ? "built-in defaults" : fmt::format("{}", fmt::join(places, ", "));
  settings.node_name = config.node_name;
  settings.database = config.database_url.display;
  settings.port = config.port;
  settings.bind = config.bind_address;
  settings.local_port = config.local_port();
  settings.local_bind = config.status_bind;
  settings.discovery = config.discovers() ? "on" : "off";
  settings.named_peers = config.peers;
  settings.interval_s = std::chrono::duration<double>(config.interval).count();
  return settings;
}

bool NodeStatus::runs() const {
  return process || (store && store->node_runs);
}

Member NodeStatus::self() const {
  if (store && store->self.id.valid()) {
    return store->self;
  }
  if (process && process->node.id.valid()) {
    return process->node;
  }
  return Member{NodeId{}, settings.node_name};
}

bool is_gone(const StoreStatus::MemberStatus& entry) {
  return entry.standing.away && entry.standing.agreed;
}

std::vector<PeerView> NodeStatus::peers() const {
  std::vector<PeerView> views;
  if (store) {
    for (const auto& entry : store->members) {
      if (!entry.self && !is_gone(entry)) {
        views.push_back(view_of(entry));
        views.back().member = true;
      }
    }
  }
  const auto place_of = [&](const Member& peer) -> PeerView& {
    const auto place =
        std::find_if(views.begin(), views.end(), [&](const PeerView& view) { return view.peer.id == peer.id; });
    if (place != views.end()) {
      return *place;
    }
    PeerView fresh;
    fresh.peer = peer;
    return views.emplace_back(std::move(fresh));
  };
  struct Heard {
    std::optional<double> ago;
    bool failing = false;
    std::string failure;
  };
  std::map<NodeId, Heard> heard;
  if (store) {
    for (const auto& peer : store->peers.peers) {
      auto& view = place_of(peer.peer);
      auto& entry = heard[peer.peer.id];
      view.last_exchange = std::max(peer.asked_at, peer.answered_at);
      view.address = peer.addresses.empty() ? peer.asked_from : peer.addresses.front().address;
      entry = {seconds_since(view.last_exchange), peer.failing, peer.failure};
      view.incoming_s = seconds_since(peer.answered_at);
    }
  }
  if (process) {
    for (const auto& facts : process->peers) {
      // Somebody else's id that it had before, or one that is not waited for any more.
      const bool known = !store || std::any_of(views.begin(), views.end(),
                                               [&](const PeerView& view) { return view.peer.id == facts.peer.id; });
      if (!known) {
        continue;
      }
      auto& view = place_of(facts.peer);
      view.rows_in = facts.rows_in;
      view.rows_out = facts.rows_out;
      view.address = facts.address.empty() ? view.address : facts.address;
      view.last_exchange = std::max(view.last_exchange, facts.heard_at);
      auto& entry = heard[facts.peer.id];
      entry.failing = !facts.up && !facts.failure.empty();
      entry.failure = facts.failure.empty() ? entry.failure : facts.failure;
      if (facts.heard_ago_s) {
        entry.ago = std::min(*facts.heard_ago_s, entry.ago.value_or(*facts.heard_ago_s));
      }
    }
  }
  const auto turns = static_cast<double>(views.size()) / kVisitsEachInterval + 1;
  const double patience = std::max(kConnectedForS, 2 * settings.interval_s * turns);
  for (auto& view : views) {
    const auto entry = heard.find(view.peer.id);
    if (view.state == PeerState::kAway || view.state == PeerState::kBanned) {
      continue;
    }
    if (!runs()) {
      view.state = entry == heard.end() ? PeerState::kNotMet : PeerState::kSilent;
      view.why = "this node does not run";
      continue;
    }
    if (entry == heard.end()) {
      continue;
    }
    if (entry->second.failing) {
      view.state = PeerState::kUnreachable;
      view.why = entry->second.failure;
      view.why_word = std::string(to_string(trouble_of(entry->second.failure)));
    } else if (entry->second.ago && *entry->second.ago <= patience) {
      view.state = PeerState::kConnected;
    } else {
      view.state = entry->second.ago ? PeerState::kSilent : PeerState::kNotMet;
      view.why = entry->second.ago ? fmt::format("not heard of for {:.0f} s", *entry->second.ago) : "";
    }
    if (view.state == PeerState::kConnected && view.incoming_rows == 0) {
      view.incoming_s = 0;
    }
  }
  std::sort(views.begin(), views.end(), [](const PeerView& a, const PeerView& b) {
    return std::pair(name_of(a.peer), a.peer.id) < std::pair(name_of(b.peer), b.peer.id);
  });
  return views;
}

std::int64_t NodeStatus::connected() const {
  const auto all = peers();
  return std::count_if(all.begin(), all.end(),
                       [](const PeerView& peer) { return peer.state == PeerState::kConnected; });
}

NodeStatus::Judgement NodeStatus::judge() const {
  Judgement judgement;
  auto& causes = judgement.causes;
  if (!store) {
    causes.push_back({.kind = "database_away", .text = fmt::format("the database cannot be read: {}", store_error)});
  }
  if (!runs()) {
    causes.push_back({.kind = "not_running",
                      .text = store ? "no node runs on this database"
                                    : "it cannot be seen whether a node runs: nothing answers on the local port"});
    if (service) {
      causes.push_back(service->installed
                           ? Cause{.kind = "service_not_running",
                                   .text = fmt::format(
                                       "the service {}: 'sudo mbsync start' starts it, or says why it does not start",
                                       service->state == "failed" ? "has failed" : "is " + service->state)}
                           : Cause{.kind = "service_not_installed",
                                   .text = "no service is installed: 'sudo mbsync install' makes one"});
    }
  } else if (process && process->beat_age_s > kBeatTolerableS) {
    causes.push_back({.kind = "stands_still",
                      .text = fmt::format("the node has stood still for {:.0f} s", process->beat_age_s),
                      .seconds = process->beat_age_s});
  } else if (process && process->phase != "running") {
    causes.push_back({.kind = process->phase == "stopping" ? "stopping" : "starting",
                      .text = process->phase_reason.empty()
                                  ? fmt::format("the node is {}", process->phase)
                                  : fmt::format("the node is {}: {}", process->phase, process->phase_reason)});
  }
  if (!causes.empty()) {
    judgement.verdict = Health::kDown;
  }
  const auto grave = causes.size();
  if (store && store_age_s > kStoreAgeTolerableS) {
    causes.push_back({.kind = "database_slow",
                      .text = fmt::format(
                          "the database is too busy to say how it is: what it says here is {:.0f} s old", store_age_s),
                      .seconds = store_age_s});
  }
  if (!local_trouble.empty() && runs()) {
    causes.push_back({.kind = "local_port", .text = local_trouble});
  }
  if (store) {
    say_of_store(*store, causes);
  }
  if (runs()) {
    const auto all = peers();
    const bool alone = std::none_of(all.begin(), all.end(), [](const PeerView& peer) { return peer.member; });
    for (const auto& peer : all) {
      // A neighbour's fleet is none of this one's. To a node that has nobody yet it may be its own, with another key.
      if (peer.member || alone || peer.why_word != to_string(PeerTrouble::kOtherFleet)) {
        say_of_peer(peer, settings.port, causes);
      }
    }
  }
  if (grave == 0 && !causes.empty()) {
    judgement.verdict = Health::kDegraded;
  }
  return judgement;
}

KeysInUse keys_in_use(const StoreStatus& status) {
  KeysInUse keys;
  for (const auto& entry : status.members) {
    if (entry.self || is_gone(entry)) {
      continue;
    }
    const auto& peers = status.peers.peers;
    const auto peer = std::find_if(peers.begin(), peers.end(),
                                   [&](const PeerStatus& known) { return known.peer.id == entry.member.id; });
    const std::string key = peer == peers.end() ? "" : peer->asked_key;
    (key.empty()                       ? keys.unknown
     : key == to_string(KeyUse::kNext) ? keys.next
                                       : keys.current)
        .push_back(entry.member.name);
  }
  return keys;
}

}  // namespace mbsync
