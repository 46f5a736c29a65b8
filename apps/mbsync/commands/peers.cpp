#include "commands/peers.h"

#include <fmt/format.h>

#include <algorithm>
#include <memory>
#include <thread>
#include <utility>

#include "commands/members_view.h"
#include "commands/peers_diagnosis.h"
#include "commands/peers_say.h"
#include "commands/peers_view.h"
#include "dns_sd_source.h"
#include "node_status.h"
#include "peer_probe.h"
#include "pg_store.h"
#include "socket.h"
#include "utf8.h"

namespace mbsync {
namespace {

using std::chrono::milliseconds;

/// A machine that is there is heard of within one second, mostly; an mDNS daemon asks again after one and after three.
constexpr milliseconds kLookFor{4'000};
constexpr milliseconds kLookUpFor{5'000};
/// Each costs the other machine up to two handshakes, of which it lets ten fail before it closes its door for a while.
constexpr std::size_t kWaysMax = 5;

void look_up(WantedPeer& wanted) {
  if (!wanted.place) {
    return;
  }
  Resolver resolver;
  const auto endpoints = resolver.resolve(wanted.place->host, wanted.place->port,
                                          std::chrono::steady_clock::now() + kLookUpFor, [] { return false; });
  if (endpoints) {
    for (const auto& endpoint : *endpoints) {
      wanted.hosts.insert(numeric_host(endpoint));
    }
  }
}

void look_on_network(DiagnosisFacts& facts) {
  DnsSdSource source(DnsSdSource::Options{});
  const auto has_it = [&](const std::vector<Sighting>& seen) {
    return std::any_of(seen.begin(), seen.end(), [&](const auto& sighting) {
      return is_wanted(facts.wanted, sighting) && !sighting.addresses.empty();
    });
  };
  auto around = look_around(source, kLookFor, has_it);
  facts.looked = true;
  facts.not_seen_why = around.failure;
  for (auto& sighting : around.seen) {
    facts.self_announced = facts.self_announced || (sighting.said && sighting.said->node == facts.self);
    if (is_wanted(facts.wanted, sighting)) {
      facts.of_it.push_back(std::move(sighting));
    } else {
      ++facts.others;
    }
  }
}

/// Whether a socket of this machine can have the address.
bool is_of_this_machine(const std::string& host) {
  return static_cast<bool>(listen_on(host, 0));
}

/// The node that is at work in this database is not asked in its own name: it would take that for a copy. With no other
/// way left there is nothing to diagnose.
Result<void> leave_out_own(DiagnosisFacts& facts, const StoreStatus& status, const Config& config) {
  if (!status.node_runs) {
    return {};
  }
  const auto own = [&](const WayTo& way) {
    return way.address.port == config.port && is_of_this_machine(way.address.host);
  };
  const auto first = std::find_if(facts.ways.begin(), facts.ways.end(), own);
  if (first == facts.ways.end()) {
    return {};
  }
  const auto address = to_string(first->address);
  std::erase_if(facts.ways, own);
  if (!facts.ways.empty()) {
    return {};
  }
  return Error{ErrorKind::kConfig,
               fmt::format("'{}' is this machine itself: at {} listens its own node, {} ({})", facts.wanted.text,
                           address, status.self.name, to_string(status.self.id)),
               "give the other machine's name; 'mbsync smoke-check' looks at this one"};
}

/// All at a time, since an address that does not answer takes seconds.
void try_ways(DiagnosisFacts& facts, const FleetKeys& keys, const PullRequest& request) {
  for (; facts.ways.size() > kWaysMax; facts.ways.pop_back()) {
    facts.not_tried.push_back(facts.ways.back().address);
  }
  std::vector<std::thread> threads;
  threads.reserve(facts.ways.size());
  for (auto& way : facts.ways) {
    threads.emplace_back([&] { way.report = probe_peer(way.address, keys, request); });
  }
  for (auto& thread : threads) {
    thread.join();
  }
}

std::vector<std::string> known_from(const WayTo& way) {
  std::vector<std::string> all;
  for (const auto& [is, word] :
       {std::pair{way.given, "given"}, {way.advertised, "advertised"}, {way.remembered, "remembered"}}) {
    if (is) {
      all.emplace_back(word);
    }
  }
  return all;
}

std::string announcements_as_text(const DiagnosisFacts& facts) {
  if (!facts.looked) {
    return "not looked for, since discovery is switched off here";
  }
  if (facts.not_seen_why) {
    return "nobody knows: this machine cannot look on its network";
  }
  if (facts.of_it.empty()) {
    return fmt::format("no, {} other {}", facts.others,
                       facts.others == 1 ? "announcement is seen" : "announcements are seen");
  }
  std::string text;
  for (const auto& sighting : facts.of_it) {
    text += fmt::format("{}as '{}'", text.empty() ? "yes, " : "\n            and ", printable(sighting.name));
    if (sighting.said) {
      text += fmt::format(" ({}), protocol {}", to_string(sighting.said->node), sighting.said->protocol);
    }
    std::string addresses;
    for (const auto& address : sighting.addresses) {
      addresses += fmt::format("{}{}", addresses.empty() ? ", by " : ", ", to_string(address));
    }
    text += addresses.empty() ? ", without an address" : addresses;
  }
  return text;
}

std::string as_text(const DiagnosisFacts& facts, const std::vector<PeerFinding>& findings) {
  std::string text = fmt::format("Advertised: {}", announcements_as_text(facts));
  for (const auto& way : facts.ways) {
    std::vector<std::vector<std::string>> rows;
    for (const auto& step : way.report.steps) {
      rows.push_back({std::string(to_string(step.step)), step.passed ? "ok" : "FAILED", step.detail});
    }
    text += fmt::format("\n\nThe way to {} ({})\n\n{}", to_string(way.address), fmt::join(known_from(way), ", "),
                        format_table({"Step", "", "What"}, rows));
  }
  for (const auto& address : facts.not_tried) {
    text += fmt::format("\n\nNot tried: {}", to_string(address));
  }
  for (const auto& finding : findings) {
    text += fmt::format("\n\n{}{}{}: {}.\nNext: {}", finding.serious ? "But" : "Note",
                        in_short(finding.trouble).empty() ? "" : ", ", in_short(finding.trouble), finding.what,
                        finding.next);
  }
  return text;
}

nlohmann::ordered_json steps_json(const ProbeReport& report) {
  auto steps = nlohmann::ordered_json::array();
  for (const auto& step : report.steps) {
    steps.push_back(
        {{"step", to_string(step.step)}, {"passed", step.passed}, {"detail", step.detail}, {"next", step.next}});
  }
  return steps;
}

nlohmann::ordered_json announcements_json(const DiagnosisFacts& facts, const FleetTags& ours) {
  nlohmann::ordered_json document{{"looked", facts.looked},
                                  {"failure", nullptr},
                                  {"seen", !facts.of_it.empty()},
                                  {"others", facts.others},
                                  {"announcements", nlohmann::ordered_json::array()}};
  if (facts.not_seen_why) {
    document["failure"] = facts.not_seen_why->text();
  }
  for (const auto& sighting : facts.of_it) {
    nlohmann::ordered_json entry{{"name", printable(sighting.name)},
                                 {"node", nullptr},
                                 {"protocol", nullptr},
                                 {"our_fleet", nullptr},
                                 {"addresses", nlohmann::ordered_json::array()}};
    if (sighting.said) {
      entry["node"] = to_string(sighting.said->node);
      entry["protocol"] = sighting.said->protocol;
      if (!sighting.said->fleet.empty()) {
        entry["our_fleet"] = ours.has(sighting.said->fleet);
      }
    }
    for (const auto& address : sighting.addresses) {
      entry["addresses"].push_back(to_string(address));
    }
    document["announcements"].push_back(std::move(entry));
  }
  return document;
}

nlohmann::ordered_json as_json(const DiagnosisFacts& facts, const std::vector<PeerFinding>& findings,
                               const FleetTags& ours) {
  nlohmann::ordered_json document{{"target", facts.wanted.text},
                                  {"advertised", announcements_json(facts, ours)},
                                  {"address", nullptr},
                                  {"reached", facts.reached()},
                                  {"node", nullptr},
                                  {"key", nullptr},
                                  {"clock_ahead_ms", nullptr},
                                  {"steps", nlohmann::ordered_json::array()},
                                  {"ways", nlohmann::ordered_json::array()},
                                  {"not_tried", nlohmann::ordered_json::array()},
                                  {"findings", nlohmann::ordered_json::array()}};
  if (const auto* best = facts.best(); best != nullptr) {
    const auto& report = best->report;
    document["address"] = to_string(best->address);
    document["steps"] = steps_json(report);
    if (report.node) {
      document["node"] = {{"id", to_string(report.node->id)}, {"name", report.node->name}};
      document["clock_ahead_ms"] = report.clock_ahead->count();
    }
    if (report.key) {
      document["key"] = to_string(*report.key);
    }
  }
  for (const auto& way : facts.ways) {
    const auto& trouble = way.report.trouble;
    document["ways"].push_back(
        {{"address", to_string(way.address)},
         {"known_from", known_from(way)},
         {"reached", way.report.passed()},
         {"reason", trouble ? nlohmann::ordered_json(to_string(*trouble)) : nlohmann::ordered_json()},
         {"steps", steps_json(way.report)}});
  }
  for (const auto& address : facts.not_tried) {
    document["not_tried"].push_back(to_string(address));
  }
  for (const auto& finding : findings) {
    document["findings"].push_back({{"reason", to_string(finding.trouble)},
                                    {"what", finding.what},
                                    {"next", finding.next},
                                    {"serious", finding.serious}});
  }
  return document;
}

/// What this node would ask.
PullRequest request_of(const StoreStatus& status) {
  PullRequest request;
  request.sender = status.self;
  request.seen = status.seen;
  for (const auto& entry : status.members) {
    request.members.push_back(entry.member);
  }
  request.sent_at_us =
      std::chrono::duration_cast<std::chrono::microseconds>(std::chrono::system_clock::now().time_since_epoch())
          .count();
  return request;
}

FleetTags tags_of(const FleetKeys& keys, const TagsByKey& known) {
  const auto tag = [&](const FleetKey& key) {
    const auto place = known.find(key.identity());
    return place == known.end() ? std::string() : place->second;
  };
  return FleetTags(tag(keys.current), keys.next ? tag(*keys.next) : "");
}

Result<void> diagnose(const PeersOptions& options, Output& output, bool& unreachable) {
  const auto config = load_config(options.config, ConfigNeeds::kNode);
  MBSYNC_TRY(config);
  const auto status = PgStore::read_status(config->database_url);
  if (!status) {
    return status.error().about(ErrorArea::kDatabase);
  }
  DiagnosisFacts facts;
  facts.wanted = wanted_peer(options.diagnose, *status);
  facts.self = status->self.id;
  facts.allowed = config->allowed_nodes;
  facts.peers = status->peers;
  for (const auto& entry : status->members) {
    if (entry.standing.banned) {
      facts.banned.push_back(entry.member);
    }
  }
  const auto keys = FleetKeys::derive(config->registration_key.reveal(), config->next_key.reveal());
  MBSYNC_TRY(keys);
  look_up(facts.wanted);
  if (config->discovers()) {
    look_on_network(facts);
  }
  // What is no host may be a node's name all the same, with a space in it.
  if (!facts.wanted.place && facts.wanted.nodes.empty() && facts.of_it.empty()) {
    MBSYNC_TRY(parse_peer_address(options.diagnose));
  }
  facts.ways = ways_to(facts.wanted, facts.of_it, facts.peers);
  MBSYNC_TRY(leave_out_own(facts, *status, *config));
  try_ways(facts, *keys, request_of(*status));
  const auto ours = tags_of(*keys, status->peers.fleet_tags);
  const auto findings = findings_of(facts, ours);
  unreachable = !facts.reached() ||
                std::any_of(findings.begin(), findings.end(), [](const auto& finding) { return finding.serious; });
  return output.result(as_text(facts, findings), as_json(facts, findings, ours));
}

Result<void> list(const PeersOptions& options, Output& output) {
  const auto config = load_config(options.config, ConfigNeeds::kDatabase);
  MBSYNC_TRY(config);
  const auto status = PgStore::read_status(config->database_url);
  if (!status) {
    return status.error().about(ErrorArea::kDatabase);
  }
  nlohmann::ordered_json document{{"members", nlohmann::ordered_json::array()},
                                  {"peers", nlohmann::ordered_json::array()},
                                  {"addresses_without_answer", nlohmann::ordered_json::array()}};
  std::string text = peers_as_text(status->peers);
  text.erase(0, text.find_first_not_of('\n'));
  if (status->peers.peers.empty()) {
    text = "This node has not exchanged anything with another one yet.";
  }
  for (const auto& peer : status->peers.peers) {
    document["peers"].push_back(peer_json(peer));
  }
  for (const auto& address : status->peers.without_owner) {
    document["addresses_without_answer"].push_back(address_json(address));
    text +=
        fmt::format("\n  nobody has answered yet at {}: {} ({})", address.address, address.failure, address.failed_at);
  }
  text += standings_as_text(*status);
  for (const auto& entry : status->members) {
    document["members"].push_back(member_json(entry));
  }
  return output.result(text, document);
}

}  // namespace

void add_peers(CLI::App& app, Invocation& invocation) {
  auto options = std::make_shared<PeersOptions>();
  CLI::App& command = *app.add_subcommand("peers", "Show who this node exchanges with, or why one is not reached");
  add_database_options(command, options->config);
  command
      .add_option(
          "--diagnose", options->diagnose,
          "look for this machine on the network, and try the ways to it: HOST, HOST:PORT, or a node's name or id")
      ->type_name("HOST");
  command.add_flag("--json", invocation.json, "as JSON");
  command.footer(
      "\nExit codes of --diagnose:\n"
      "  0  it answers, and nothing keeps the two apart\n"
      "  1  it is not reached, or something has to be seen to\n"
      "  2  configuration\n"
      "  3  database: not reachable, or it refused\n"
      "\nExample:\n  mbsync peers --diagnose till-2\n");
  add_peers_say(command, options, invocation);
  command.callback([options, &command, &invocation] {
    if (!command.get_subcommands().empty()) {
      return;  // it has set its own action
    }
    invocation.action = [options, &invocation](Output& output) -> Result<void> {
      bool unreachable = false;
      MBSYNC_TRY(run_peers(*options, output, unreachable));
      invocation.exit_code = unreachable ? ExitCode::kFailure : ExitCode::kOk;
      return {};
    };
  });
}

Result<void> run_peers(const PeersOptions& options, Output& output, bool& unreachable) {
  return options.diagnose.empty() ? list(options, output) : diagnose(options, output, unreachable);
}

}  // namespace mbsync
