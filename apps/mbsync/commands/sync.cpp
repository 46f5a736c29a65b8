#include "commands/sync.h"

#include <fmt/format.h>

#include <memory>
#include <nlohmann/json.hpp>

#include "commands/version.h"
#include "local_status.h"

namespace mbsync {
namespace {

using Json = nlohmann::ordered_json;

/// A round gives each peer a minute, and several are asked at a time.
constexpr std::chrono::minutes kPatience{10};
constexpr int kOkStatus = 200;

std::string text_at(const Json& object, const char* name) {
  const auto place = object.find(name);
  return place != object.end() && place->is_string() ? place->get<std::string>() : "";
}

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

Error wrong_answer() {
  return Error{ErrorKind::kInternal, "the node's answer cannot be understood",
               "are the node and this program of the same version? 'mbsync status' says which the node has"};
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
  // Only the node of this database is asked.
  const auto status = find_status(*config, program_version());
  auto target = local_target(*config);
  target.port = status.settings.local_port;
  if (target.port == 0) {
    return Error{ErrorKind::kConfig, "this node has no local port, by which it could be asked",
                 "set SYNC_STATUS_PORT to a free port and restart the node"};
  }
  if (!status.process) {
    return Error{status.runs() ? ErrorKind::kConfig : ErrorKind::kNotFound,
                 status.runs() || !status.local_trouble.empty()
                     ? status.local_trouble
                     : fmt::format("no node answers on local port {}", target.port),
                 "'mbsync status' says whether a node runs, and where it can be asked"};
  }
  const auto reply = ask_local(target, "/api/sync/service", R"({"action": "sync"})", kPatience);
  if (!reply) {
    return Error{ErrorKind::kNotFound, fmt::format("the node on local port {} did not answer", target.port),
                 "'mbsync status' says whether it still runs"};
  }
  const auto document = Json::parse(reply->body, nullptr, false);
  if (!document.is_object()) {
    return wrong_answer();
  }
  if (reply->status != kOkStatus) {
    const auto error = document.find("error");
    return error == document.end() || !error->is_object()
               ? wrong_answer()
               : Error{ErrorKind::kNotFound, text_at(*error, "message"), text_at(*error, "hint")};
  }
  try {
    in_step = document.at("in_step").get<bool>();
    return output.result(round_text(document), document);
  } catch (const nlohmann::json::exception&) {
    return wrong_answer();
  }
}

}  // namespace mbsync
