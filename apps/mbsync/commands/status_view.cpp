#include "commands/status_view.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <chrono>
#include <cmath>

#include "commands/members_view.h"
#include "commands/peers_view.h"
#include "output.h"
#include "peer_trouble.h"

namespace mbsync {
namespace {

constexpr int kServerVersionParts = 10'000;

/// What an administrator who changes the fleet's key wants to know.
std::string keys_as_text(const KeysInUse& keys) {
  const auto all = keys.current.size() + keys.next.size() + keys.unknown.size();
  std::string text =
      "\n\nRegistration keys: this node takes two, SYNC_REGISTRATION_KEY and SYNC_REGISTRATION_KEY_NEXT.";
  if (all > 0 && keys.current.size() == all) {
    return text +
           "\n  All other members come with the current one. If the next one is the old key, it can be removed here.";
  }
  if (all > 0 && keys.next.size() == all) {
    return text +
           "\n  All other members come with the next one. If that is the new key, make it the current one here, and "
           "the "
           "old one can go.";
  }
  const auto line = [&](std::string_view what, const std::vector<std::string>& names) {
    if (!names.empty()) {
      text += fmt::format("\n  {:<39}{}", what, fmt::join(names, ", "));
    }
  };
  line("come with the current one:", keys.current);
  line("come with the next one:", keys.next);
  line("have not asked since the node started:", keys.unknown);
  return text + "\n  Both have to stay as long as there are members that come with the old one.";
}

/// Peers whose clocks are off far enough for a word.
std::string clocks_as_text(const PeersStatus& peers) {
  std::string text;
  for (const auto& peer : peers.peers) {
    const auto ahead = peer.clock_ahead.value_or(std::chrono::milliseconds{0});
    if (std::chrono::abs(ahead) > kSkewTolerated) {
      text += fmt::format("\n  {}: its clock is {} s {} this one's", peer.peer.name,
                          std::chrono::round<std::chrono::seconds>(std::chrono::abs(ahead)).count(),
                          ahead < std::chrono::milliseconds{0} ? "behind" : "ahead of");
    }
  }
  return text.empty() ? text
                      : "\n\nClocks differ. Of two writes at once the later one stands, so set all machines by the "
                        "network (NTP):" +
                            text;
}

std::string coloured(std::string_view text, Health verdict, bool colour) {
  constexpr std::string_view kCodes[] = {"32", "33", "31"};
  return colour ? fmt::format("\x1b[1;{}m{}\x1b[0m", kCodes[static_cast<std::size_t>(verdict)], text)
                : std::string(text);
}

std::string service_text(const NodeStatus& status) {
  std::string text;
  if (const auto& service = status.service; service) {
    text = !service->installed ? "not installed, "
           : service->enabled  ? "installed, starts with the machine, "
                               : "installed, does not start with the machine, ";
  }
  if (status.process) {
    const auto& process = *status.process;
    text += fmt::format("{} since {} ({}), process {}", process.phase, process.started_at,
                        duration_text(process.uptime_s), process.pid);
  } else if (status.runs()) {
    const auto& since = status.store->node_connected_since;
    text += since.empty() ? "running" : fmt::format("running, with its database since {}", since);
  } else {
    text += status.store ? "not running" : "not running, as far as can be seen";
  }
  if (status.process && status.service && status.service->installed && status.service->pid != status.process->pid) {
    text += fmt::format("\n  this is not the installed service, which is {}", status.service->state);
  } else if (status.service && status.service->restarts > 0) {
    text += fmt::format("\n  started again {} after failures",
                        status.service->restarts == 1 ? "once" : fmt::format("{} times", status.service->restarts));
  }
  return text;
}

std::string network_text(const NodeStatus& status) {
  const auto& settings = status.settings;
  const auto port = status.process && status.process->port != 0 ? status.process->port : settings.port;
  auto text = fmt::format("port {} on {}, discovery {}", port, settings.bind, settings.discovery);
  text += settings.local_port == 0
              ? "; no local port"
              : fmt::format("; local port {} on {}", settings.local_port, fmt::join(settings.local_bind, ", "));
  return status.local_trouble.empty() ? text : text + "\n  " + status.local_trouble;
}

std::string lag_text(std::int64_t rows, const std::optional<double>& seconds, bool at_least) {
  if (rows == 0) {
    return at_least && !seconds ? "?" : seconds.value_or(0) < 1 ? "-" : fmt::format("? ({})", duration_text(*seconds));
  }
  return fmt::format("{}{}{}", at_least ? ">= " : "", rows,
                     seconds ? fmt::format(" ({})", duration_text(*seconds)) : std::string());
}

std::string state_text(const PeerView& peer) {
  const auto why = peer.state == PeerState::kUnreachable ? in_short(trouble_of(peer.why)) : std::string_view();
  return fmt::format("{}{}{}", to_string(peer.state), why.empty() ? "" : ", ", why);
}

std::string fleet_text(const NodeStatus& status) {
  const auto peers = status.peers();
  auto text = fmt::format("\n\nPeers Connected: {}", status.connected());
  if (peers.empty()) {
    return text + "\nNo other member is known yet.";
  }
  std::vector<std::vector<std::string>> rows;
  for (const auto& peer : peers) {
    const std::string name = peer.peer.name.empty() ? to_string(peer.peer.id) : peer.peer.name;
    rows.push_back({name, to_string(peer.peer.id), state_text(peer), peer.address.empty() ? "-" : peer.address,
                    lag_text(peer.outgoing_rows, peer.outgoing_s, false),
                    lag_text(peer.incoming_rows, peer.incoming_s, true),
                    peer.last_exchange.empty() ? "never" : peer.last_exchange});
  }
  text += fmt::format("\n{}",
                      format_table({"Peer", "Id", "State", "Address", "It lacks", "We lack", "Last exchange"}, rows));
  return text;
}

std::string data_text(const StoreStatus& store) {
  std::string text = fmt::format("\nTables synchronised:     {}", store.tables.size());
  text += fmt::format("\nWrites not yet sealed:   {}", store.captures);
  text += fmt::format("\nWrites kept for peers:   {}", store.live_writes);
  text += fmt::format("\nConflicts on record:     {}", store.conflicts);
  text +=
      fmt::format("\n  decided by rules:      {}", store.conflicts - store.open_conflicts - store.resolved_conflicts);
  text += fmt::format("\n  resolved by people:    {}", store.resolved_conflicts);
  text += fmt::format("\n  open, to be decided:   {}{}", store.open_conflicts,
                      store.open_conflicts > 0 ? " ('mbsync resolve')" : "");
  if (store.unseen_rows > 0) {
    text += fmt::format("\nRows held by the application, to be brought up to date when they are free: {}",
                        store.unseen_rows);
  }
  if (store.parked_rows > 0) {
    text += fmt::format(
        "\n\nRows that this database refuses: {}. They are tried again by themselves; make room for them here, or "
        "change "
        "them on the machine they come from:",
        store.parked_rows);
    for (const auto& row : store.parked) {
      text += fmt::format("\n  {} {}: {} (since {})", row.table, row.key, row.reason, row.since);
    }
  }
  if (!store.policy_trouble.empty()) {
    text += "\n\nThe policy cannot be carried out here, and rows wait until this is as it is on the other nodes:";
    for (const auto& trouble : store.policy_trouble) {
      text += fmt::format("\n  {}", trouble);
    }
  }
  return text;
}

// When rows were compared, and what came of it; what differs is among the causes above.
std::string verified_as_text(const std::vector<VerifyNote>& notes) {
  if (notes.empty()) {
    return "";
  }
  std::string text = "\n\nRows compared ('mbsync verify'):";
  for (const auto& note : notes) {
    const auto sums = note.sums();
    text += fmt::format(
        "\n  with {}{}: {} rows, {}", note.peer.name,
        note.finished_at.empty() ? ", some tables" : fmt::format(", all tables {} ago", duration_text(note.age_s)),
        sums.rows, sums.different == 0 ? "none differs" : fmt::format("{} differ", sums.different));
    if (sums.undecided > 0) {
      text += fmt::format("; {} could not be compared", sums.undecided);
    }
    if (sums.tables_left > 0) {
      text += fmt::format("; tables not compared, or not to the end: {}", sums.tables_left);
    }
  }
  return text;
}

std::string rest_text(const StoreStatus& store) {
  std::string text = verified_as_text(store.verified) + standings_as_text(store) + peers_as_text(store.peers);
  for (const auto& address : store.peers.without_owner) {
    text +=
        fmt::format("\n  nobody has answered yet at {}: {} ({})", address.address, address.failure, address.failed_at);
  }
  if (!store.peers.discovery_failure.empty()) {
    text += fmt::format("\n\nPeers are not found by themselves here, only where they are named or have been met: {}",
                        store.peers.discovery_failure);
  }
  text += clocks_as_text(store.peers);
  if (store.peers.two_keys) {
    text += keys_as_text(keys_in_use(store));
  }
  if (!store.refused.empty()) {
    text += "\n\nNot synchronised:";
    for (const auto& [table, reason] : store.refused) {
      text += fmt::format("\n  {} {}", table, reason);
    }
  }
  return text;
}

}  // namespace

std::string duration_text(double seconds) {
  constexpr std::int64_t kMinute = 60;
  constexpr std::int64_t kHour = 60 * kMinute;
  constexpr std::int64_t kDay = 24 * kHour;
  const auto whole = std::llround(std::max(0.0, seconds));
  if (whole < 2 * kMinute) {
    return fmt::format("{} s", whole);
  }
  if (whole < kHour) {
    return fmt::format("{} min", whole / kMinute);
  }
  if (whole < kDay) {
    return fmt::format("{} h {} min", whole / kHour, whole % kHour / kMinute);
  }
  return fmt::format("{} d {} h", whole / kDay, whole % kDay / kHour);
}

std::string status_text(const NodeStatus& status, bool colour) {
  const auto judged = status.judge();
  const auto self = status.self();
  auto text = fmt::format("Node {} ({})\n\n", self.name, self.id.valid() ? to_string(self.id) : "no id yet");
  text += fmt::format("Status:    {}", coloured(to_string(judged.verdict), judged.verdict, colour));
  for (const auto& cause : judged.causes) {
    text += "\n  " + cause.text;
  }
  text += fmt::format("\nService:   {}", service_text(status));
  text += fmt::format("\nVersion:   {}, configured by {}", status.settings.version, status.settings.configuration);
  text +=
      fmt::format("\nDatabase:  {}{}", status.settings.database,
                  status.store ? fmt::format(", PostgreSQL {}.{}", status.store->server_version / kServerVersionParts,
                                             status.store->server_version % kServerVersionParts)
                               : ", not reachable");
  text += fmt::format("\nNetwork:   {}", network_text(status));
  if (status.process) {
    text += fmt::format("\nRows:      {:.1f} in and {:.1f} out a second lately; {} in and {} out since the start",
                        status.process->rows_in_per_s, status.process->rows_out_per_s, status.process->rows_in,
                        status.process->rows_out);
  }
  text += "\n";
  if (status.store) {
    text += data_text(*status.store);
  }
  text += fleet_text(status);
  if (status.store) {
    text += rest_text(*status.store);
  }
  return text;
}

}  // namespace mbsync
