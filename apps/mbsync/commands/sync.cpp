#include "commands/sync.h"

#include <fmt/format.h>

#include <memory>
#include <nlohmann/json.hpp>

#include "commands/ask_node.h"

namespace mbsync {
namespace {

using Json = nlohmann::ordered_json;

/// A round gives each peer a minute, and several are asked at a time.
constexpr std::chrono::minutes kPatience{10};

std::string round_text(const Json& document) {
  const auto& peers = document["peers"];
  if (peers.empty()) {
    return "No peer is known yet.";
  }
  std::vector<std::vector<std::string>> rows;
  for (const auto& peer : peers) {
    const auto name = text_at(peer, "name");
    const bool known = !peer["lacks_rows"].is_null();
    const auto lacks = known ? peer["lacks_rows"].get<std::int64_t>() : 0;
    const bool in_step = peer["in_step"].get<bool>();
    rows.push_back({name.empty() ? text_at(peer, "address") : name, std::to_string(peer["rows"].get<std::int64_t>()),
                    in_step && known && lacks == 0 ? "in step"
                    : in_step && !known            ? "what it lacks is not known: the database does not answer"
                    : in_step                      ? fmt::format("has not said yet that it has {} rows of ours", lacks)
                                                   : text_at(peer, "failure")});
  }
  return format_table({"Peer", "Rows that came", "Now"}, rows);
}

}  // namespace

void add_sync(CLI::App& app, Invocation& invocation) {
  auto options = std::make_shared<ConfigOptions>();
  CLI::App& command =
      *app.add_subcommand("sync", "One round with every peer now, by the running node; waits until it is done");
  add_config_options(command, *options);
  command.add_flag("--json", invocation.json, "as JSON");
  command.footer(
      "\nExit codes:\n"
      "  0  in step with all peers: what they had is here, and what is here they have\n"
      "  1  not with all of them, or no node answers on the local port\n"
      "  2  configuration: a setting, a flag or a right has to be changed; the running node has another local port or\n"
      "     token\n"
      "\nExample:\n  mbsync sync --json\n");
  command.callback([options, &invocation] {
    invocation.action = [options, &invocation](Output& output) -> Result<void> {
      bool in_step = true;
      auto result = run_sync(*options, output, in_step);
      if (result && !in_step) {
        invocation.exit_code = ExitCode::kFailure;
      }
      return result;
    };
  });
}

Result<void> run_sync(const ConfigOptions& options, Output& output, bool& in_step) {
  const auto config = load_config(options, ConfigNeeds::kDatabase);
  MBSYNC_TRY(config);
  const auto node = running_node(*config);
  MBSYNC_TRY(node);
  const auto document = ask_node(*node, "/api/sync/service", R"({"action": "sync"})", kPatience);
  MBSYNC_TRY(document);
  try {
    in_step = document->at("in_step").get<bool>();
    return output.result(round_text(*document), *document);
  } catch (const nlohmann::json::exception&) {
    return wrong_answer();
  }
}

}  // namespace mbsync
