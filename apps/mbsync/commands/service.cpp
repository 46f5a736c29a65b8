#include "commands/service.h"

#include <fmt/format.h>

#include "service_manager.h"

namespace mbsync {
namespace {

using Act = Result<void> (ServiceManager::*)();

nlohmann::ordered_json as_json(const ServiceState& state) {
  return {{"installed", state.installed},
          {"enabled", state.enabled},
          {"runs", to_string(state.runs)},
          {"since", state.since},
          {"pid", state.pid}};
}

Result<void> run_act(Act act, Output& output) {
  const auto manager = make_service_manager();
  MBSYNC_TRY(manager);
  MBSYNC_TRY(((*manager).get()->*act)());
  const auto state = (*manager)->state();
  MBSYNC_TRY(state);
  return output.result(
      fmt::format("The service is {}{}.", to_string(state->runs), state->since.empty() ? "" : " since " + state->since),
      as_json(*state));
}

void add_act(CLI::App& app, Invocation& invocation, const std::string& name, const std::string& text, Act act) {
  CLI::App& command = *app.add_subcommand(name, text);
  command.add_flag("--json", invocation.json, "as JSON");
  command.footer(
      "\nExit codes:\n"
      "  0  done\n"
      "  1  failed for a reason without a number of its own\n"
      "  2  configuration: the service is not installed, this is not root, or a setting kept it from starting\n"
      "  3  database: it was the reason why the service has not started\n"
      "  4  port: the same\n"
      "\nExample:\n  sudo mbsync " +
      name + "\n");
  command.callback([act, &invocation] { invocation.action = [act](Output& output) { return run_act(act, output); }; });
}

}  // namespace

void add_service(CLI::App& app, Invocation& invocation) {
  add_act(app, invocation, "start", "Start the installed service, and wait until it is ready", &ServiceManager::start);
  add_act(app, invocation, "stop", "Stop the installed service, and wait until it has ended", &ServiceManager::stop);
  add_act(app, invocation, "restart", "Stop the installed service and start it again", &ServiceManager::restart);
}

}  // namespace mbsync
