#include "commands/peers.h"

#include <fmt/format.h>

#include <algorithm>
#include <memory>

#include "commands/members_view.h"
#include "commands/peers_say.h"
#include "commands/peers_view.h"
#include "peer_probe.h"
#include "pg_store.h"

namespace mbsync {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

/// From here on a clock is worth a word: a tie between two writes may go to the wrong one by so much.
constexpr seconds kClockTolerated{5};

/// What is not a step of the way, and still keeps the two apart, or may mislead.
struct Finding {
  std::string what;
  std::string next;
  bool serious = true;
};

std::vector<Finding> findings_of(const Config& config, const StoreStatus& status, const ProbeReport& report) {
  std::vector<Finding> findings;
  if (!report.node) {
    return findings;
  }
  const auto& allowed = config.allowed_nodes;
  if (!allowed.empty() && std::find(allowed.begin(), allowed.end(), report.node->id) == allowed.end()) {
    findings.push_back({fmt::format("{} is not among SYNC_ALLOWED_NODES here", to_string(report.node->id)),
                        "add it there, and restart mbsync here"});
  }
  const auto ahead = report.clock_ahead.value_or(milliseconds{0});
  if (ahead > kClockTolerated || ahead < -kClockTolerated) {
    findings.push_back(
        {fmt::format("its clock is {} s {} of this one's",
                     std::chrono::duration_cast<seconds>(ahead < milliseconds{0} ? -ahead : ahead).count(),
                     ahead < milliseconds{0} ? "behind" : "ahead"),
         "set both by the network (NTP): of two writes at once the later one stands", false});
  }
  const auto& peers = status.peers.peers;
  const auto known =
      std::find_if(peers.begin(), peers.end(), [&](const PeerStatus& peer) { return peer.peer.id == report.node->id; });
  if (known == peers.end()) {
    findings.push_back({"the node of this machine has not exchanged anything with it yet",
                        "is 'mbsync run' or the service running here? If the two do not find each other by themselves, "
                        "name it: --peer or SYNC_PEERS",
                        false});
  } else if (known->failing) {
    findings.push_back(
        {fmt::format("the node of this machine could not exchange with it at {}: {}", known->failed_at, known->failure),
         "see to what it says; it is tried again by itself"});
  }
  return findings;
}

std::string as_text(const PeerAddress& peer, const ProbeReport& report, const std::vector<Finding>& findings) {
  std::vector<std::vector<std::string>> rows;
  for (const auto& step : report.steps) {
    rows.push_back({std::string(to_string(step.step)), step.passed ? "ok" : "FAILED", step.detail});
  }
  std::string text = fmt::format("The way to {}\n\n{}", to_string(peer), format_table({"Step", "", "What"}, rows));
  for (const auto& step : report.steps) {
    text += step.next.empty() ? std::string() : fmt::format("\n\nNext: {}", step.next);
  }
  for (const auto& finding : findings) {
    text += fmt::format("\n\n{}: {}.\nNext: {}", finding.serious ? "But" : "Note", finding.what, finding.next);
  }
  return text;
}

nlohmann::ordered_json as_json(const PeerAddress& peer, const ProbeReport& report,
                               const std::vector<Finding>& findings) {
  nlohmann::ordered_json document{{"address", to_string(peer)},
                                  {"reached", report.passed()},
                                  {"node", nullptr},
                                  {"key", nullptr},
                                  {"clock_ahead_ms", nullptr},
                                  {"steps", nlohmann::ordered_json::array()},
                                  {"findings", nlohmann::ordered_json::array()}};
  if (report.node) {
    document["node"] = {{"id", to_string(report.node->id)}, {"name", report.node->name}};
    document["clock_ahead_ms"] = report.clock_ahead->count();
  }
  if (report.key) {
    document["key"] = to_string(*report.key);
  }
  for (const auto& step : report.steps) {
    document["steps"].push_back(
        {{"step", to_string(step.step)}, {"passed", step.passed}, {"detail", step.detail}, {"next", step.next}});
  }
  for (const auto& finding : findings) {
    document["findings"].push_back({{"what", finding.what}, {"next", finding.next}, {"serious", finding.serious}});
  }
  return document;
}

Result<void> diagnose(const PeersOptions& options, Output& output, bool& unreachable) {
  const auto peer = parse_peer_address(options.diagnose);
  MBSYNC_TRY(peer);
  const auto config = load_config(options.config, ConfigNeeds::kNode);
  MBSYNC_TRY(config);
  const auto status = PgStore::read_status(config->database_url);
  if (!status) {
    return status.error().about(ErrorArea::kDatabase);
  }
  const auto keys = FleetKeys::derive(config->registration_key.reveal(), config->next_key.reveal());
  MBSYNC_TRY(keys);
  PullRequest request;
  request.sender = status->self;
  request.seen = status->seen;
  for (const auto& entry : status->members) {
    request.members.push_back(entry.member);
  }
  request.sent_at_us =
      std::chrono::duration_cast<std::chrono::microseconds>(std::chrono::system_clock::now().time_since_epoch())
          .count();
  const auto report = probe_peer(*peer, *keys, std::move(request));
  const auto findings = findings_of(*config, *status, report);
  unreachable = !report.passed() ||
                std::any_of(findings.begin(), findings.end(), [](const Finding& finding) { return finding.serious; });
  return output.result(as_text(*peer, report, findings), as_json(*peer, report, findings));
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
  command.add_option("--diagnose", options->diagnose, "try the way to this machine, step by step: HOST or HOST:PORT")
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
