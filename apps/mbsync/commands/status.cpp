#include "commands/status.h"

#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <iostream>
#include <memory>
#include <string_view>
#include <thread>

#include "commands/status_view.h"
#include "commands/version.h"
#include "local_status.h"
#include "service_manager.h"

namespace mbsync {
namespace {

constexpr std::chrono::seconds kWatchEvery{2};

constexpr const char* kFooter =
    "\nExit codes of this command alone:\n"
    "  0  healthy\n"
    "  1  degraded: the node does its work, and something wants a person: a peer is away or lags, conflicts are open,\n"
    "     rows are refused, clocks differ\n"
    "  2  down: no node runs, its database does not answer, or it stands still; or the configuration is wrong\n"
    "\nLag: 'It lacks' are row writes that the peer is not known to have, and the age of the oldest; 'We lack' is what "
    "it\n"
    "is known to have and this node has not, at least, and the time since this node last had all of it.\n"
    "\nExample:\n  DATABASE_URL=postgresql://shop:...@localhost/shop mbsync status --json\n";

/// Nothing where the machine has no service manager that mbsync knows.
std::optional<ServiceFacts> service_facts() {
  const auto manager = make_service_manager();
  if (!manager) {
    return std::nullopt;
  }
  const auto state = (*manager)->state();
  if (!state) {
    return std::nullopt;
  }
  return ServiceFacts{state->installed, state->enabled, std::string(to_string(state->runs)),
                      state->since,     state->pid,     state->restarts};
}

/// https://no-color.org: any value that is not empty.
bool has_colour() {
  const char* no_colour = std::getenv("NO_COLOR");
  const char* terminal = std::getenv("TERM");
  return ::isatty(STDOUT_FILENO) == 1 && (no_colour == nullptr || *no_colour == '\0') && terminal != nullptr &&
         std::string_view(terminal) != "dumb";
}

}  // namespace

void add_status(CLI::App& app, Invocation& invocation) {
  auto options = std::make_shared<StatusOptions>();
  CLI::App& command = *app.add_subcommand("status", "Show this node, its fleet, and the tables that do not take part");
  add_config_options(command, options->config);
  command.add_flag("--json", invocation.json, "as JSON");
  command.add_flag("--watch", options->watch, "again every two seconds, until Ctrl-C");
  command.footer(kFooter);
  command.callback([options, &invocation] {
    invocation.action = [options, &invocation](Output& output) -> Result<void> {
      auto verdict = Health::kHealthy;
      MBSYNC_TRY(run_status(*options, output, verdict));
      invocation.exit_code = static_cast<ExitCode>(verdict);
      return {};
    };
  });
}

Result<void> run_status(const StatusOptions& options, Output& output, Health& verdict) {
  const auto config = load_config(options.config, ConfigNeeds::kDatabase);
  MBSYNC_TRY(config);
  const bool terminal = ::isatty(STDOUT_FILENO) == 1;
  for (;;) {
    auto status = find_status(*config, program_version());
    status.service = service_facts();
    verdict = status.judge().verdict;
    if (options.watch && terminal && !output.json()) {
      std::cout << "\x1b[H\x1b[2J";
    }
    MBSYNC_TRY(output.result(status_text(status, has_colour()), to_json(status)));
    if (!options.watch) {
      return {};
    }
    std::this_thread::sleep_for(kWatchEvery);
  }
}

}  // namespace mbsync
