#include "commands/status.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <iterator>
#include <memory>

#include "commands/members_view.h"
#include "commands/peers_view.h"
#include "pg_store.h"

namespace mbsync {
namespace {

/// Which of this node's keys the other members come with, while it takes two.
struct KeysInUse {
  std::vector<std::string> current;
  std::vector<std::string> next;
  std::vector<std::string> unknown;  ///< not heard of since the node was started
};

KeysInUse keys_in_use(const StoreStatus& status) {
  KeysInUse keys;
  for (const auto& entry : status.members) {
    if (entry.self || (entry.standing.away && entry.standing.agreed)) {
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

nlohmann::ordered_json clocks_as_json(const PeersStatus& peers) {
  auto document = nlohmann::ordered_json::array();
  for (const auto& peer : peers.peers) {
    if (peer.clock_ahead) {
      document.push_back(
          {{"id", to_string(peer.peer.id)}, {"name", peer.peer.name}, {"ahead_ms", peer.clock_ahead->count()}});
    }
  }
  return document;
}

nlohmann::ordered_json as_json(const StoreStatus& status) {
  nlohmann::ordered_json document{
      {"node", {{"id", to_string(status.self.id)}, {"name", status.self.name}}},
      {"schema_version", status.schema_version},
      {"pending_captures", status.captures},
      {"live_writes", status.live_writes},
      {"conflicts", status.conflicts},
      {"open_conflicts", status.open_conflicts},
      {"resolved_conflicts", status.resolved_conflicts},
      {"held_rows", status.unseen_rows},
      {"parked_rows", status.parked_rows},
      {"parked", nlohmann::ordered_json::array()},
      {"policy_trouble", status.policy_trouble},
      {"members", nlohmann::ordered_json::array()},
      {"peers", nlohmann::ordered_json::array()},
      {"addresses_without_answer", nlohmann::ordered_json::array()},
      {"discovery_failure", nullptr},
      {"registration_keys", nlohmann::ordered_json::object()},
      {"clocks", clocks_as_json(status.peers)},
      {"tables", status.tables},
      {"not_synchronised", nlohmann::ordered_json::array()},
  };
  for (const auto& entry : status.members) {
    document["members"].push_back(member_json(entry));
  }
  for (const auto& peer : status.peers.peers) {
    document["peers"].push_back(peer_json(peer));
  }
  for (const auto& address : status.peers.without_owner) {
    document["addresses_without_answer"].push_back(address_json(address));
  }
  if (!status.peers.discovery_failure.empty()) {
    document["discovery_failure"] = status.peers.discovery_failure;
  }
  const auto keys = keys_in_use(status);
  document["registration_keys"] = {
      {"two", status.peers.two_keys}, {"current", keys.current}, {"next", keys.next}, {"unknown", keys.unknown}};
  for (const auto& row : status.parked) {
    document["parked"].push_back(
        {{"table", row.table}, {"key", row.key}, {"reason", row.reason}, {"since", row.since}});
  }
  for (const auto& [table, reason] : status.refused) {
    document["not_synchronised"].push_back({{"table", table}, {"reason", reason}});
  }
  return document;
}

std::string as_text(const StoreStatus& status) {
  std::string text = fmt::format("Node {} ({})\n\n", status.self.name, to_string(status.self.id));
  text += fmt::format("Tables synchronised:     {}\n", status.tables.size());
  text += fmt::format("Writes not yet sealed:   {}\n", status.captures);
  text += fmt::format("Writes kept for peers:   {}\n", status.live_writes);
  text += fmt::format("Conflicts on record:     {}\n", status.conflicts);
  text += fmt::format("  decided by rules:      {}\n",
                      status.conflicts - status.open_conflicts - status.resolved_conflicts);
  text += fmt::format("  resolved by people:    {}\n", status.resolved_conflicts);
  text += fmt::format("  open, to be decided:   {}{}\n", status.open_conflicts,
                      status.open_conflicts > 0 ? " ('mbsync resolve')" : "");
  if (status.unseen_rows > 0) {
    text += fmt::format("Rows held by the application, to be brought up to date when they are free: {}\n",
                        status.unseen_rows);
  }
  if (status.parked_rows > 0) {
    text += fmt::format(
        "\nRows that this database refuses: {}. They are tried again by themselves; make room for them here, or change "
        "them on the machine they come from:\n",
        status.parked_rows);
    for (const auto& row : status.parked) {
      text += fmt::format("  {} {}: {} (since {})\n", row.table, row.key, row.reason, row.since);
    }
  }
  if (!status.policy_trouble.empty()) {
    text += "\nThe policy cannot be carried out here, and rows wait until this is as it is on the other nodes:\n";
    for (const auto& trouble : status.policy_trouble) {
      text += fmt::format("  {}\n", trouble);
    }
  }
  std::vector<std::vector<std::string>> members;
  for (const auto& entry : status.members) {
    if (!entry.self && !(entry.standing.away && entry.standing.agreed)) {
      members.push_back({entry.member.name, to_string(entry.member.id), std::to_string(entry.behind_writes),
                         entry.last_seen.empty() ? "never" : entry.last_seen,
                         answers_as_text(status.peers, entry.member.id)});
    }
  }
  if (members.empty()) {
    text += "\nNo other member is known yet.";
  } else {
    text += "\n" + format_table({"Member", "Id", "Writes behind", "Last asked", "Answers"}, members);
  }
  text += standings_as_text(status);
  text += peers_as_text(status.peers);
  for (const auto& address : status.peers.without_owner) {
    text +=
        fmt::format("\n  nobody has answered yet at {}: {} ({})", address.address, address.failure, address.failed_at);
  }
  if (!status.peers.discovery_failure.empty()) {
    text += fmt::format("\n\nPeers are not found by themselves here, only where they are named or have been met: {}",
                        status.peers.discovery_failure);
  }
  text += clocks_as_text(status.peers);
  if (status.peers.two_keys) {
    text += keys_as_text(keys_in_use(status));
  }
  if (!status.refused.empty()) {
    text += "\n\nNot synchronised:";
    for (const auto& [table, reason] : status.refused) {
      text += fmt::format("\n  {} {}", table, reason);
    }
  }
  return text;
}

}  // namespace

void add_status(CLI::App& app, Invocation& invocation) {
  auto options = std::make_shared<ConfigOptions>();
  CLI::App& command = *app.add_subcommand("status", "Show this node, its fleet, and the tables that do not take part");
  add_config_options(command, *options);
  command.add_flag("--json", invocation.json, "as JSON");
  command.footer("\nExample:\n  DATABASE_URL=postgresql://shop:...@localhost/shop mbsync status --json\n");
  command.callback([options, &invocation] {
    invocation.action = [options](Output& output) { return run_status(*options, output); };
  });
}

Result<void> run_status(const ConfigOptions& options, Output& output) {
  const auto config = load_config(options, ConfigNeeds::kDatabase);
  MBSYNC_TRY(config);
  const auto status = PgStore::read_status(config->database_url);
  if (!status) {
    return status.error().about(ErrorArea::kDatabase);
  }
  return output.result(as_text(*status), as_json(*status));
}

}  // namespace mbsync
