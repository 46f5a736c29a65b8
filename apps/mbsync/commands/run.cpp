#include "commands/run.h"

#include <fmt/ranges.h>

#include <memory>

#include "run_loop.h"

namespace mbsync {
namespace {
constexpr LogDomain kDomain{"start"};

/// Whoever looks for the reason in the log finds it there, as far as it is known where that is. It goes to stderr
/// anyway.
void note_in_file(const ConfigOptions& options, const Error& error) {
  const auto known = load_config(options, ConfigNeeds::kNothing);
  if (!known) {
    return;
  }
  auto file_alone = known->log_options();
  file_alone.to_stderr = false;
  if (start_log(file_alone)) {
    log_error(kDomain, "mbsync ends reason={}", log_value(error.log_text()));
  }
}
}  // namespace

void add_run_options(CLI::App& app, Invocation& invocation, Supervisor& supervisor) {
  auto options = std::make_shared<RunOptions>();
  options->supervisor = &supervisor;
  add_config_options(app, options->config);
  add_skip_db(app, options->config);
  app.callback([options, &invocation] { invocation.action = [options](Output&) { return run_run(*options); }; });
}

void add_run(CLI::App& app, Invocation& invocation) {
  CLI::App& command = *app.add_subcommand("run", "Run this node in the foreground until SIGINT or SIGTERM");
  command.footer(
      "DATABASE_URL and SYNC_REGISTRATION_KEY come from the environment, service.env or mbsync.toml.\n"
      "\nExample:\n"
      "  DATABASE_URL=postgresql://shop:...@localhost/shop SYNC_REGISTRATION_KEY=... mbsync run --peer till-2:8765\n");
  add_run_options(command, invocation);
}

void add_daemon(CLI::App& app, Invocation& invocation, Supervisor& supervisor) {
  add_run_options(app, invocation, supervisor);
  app.footer("\nExample:\n  mbsyncd --config /etc/mbsync/mbsync.toml\n");
}

Result<void> run_run(const RunOptions& options) {
  const auto config = load_config(options.config, ConfigNeeds::kNode);
  if (!config) {
    note_in_file(options.config, config.error());
    return config.error();
  }
  MBSYNC_TRY(start_log(config->log_options()));
  for (const std::string& warning : config->warnings) {
    log_warning(kDomain, "{}", warning);
  }
  if (const auto& ignored = config->database_url.ignored; !ignored.empty()) {
    log_debug(kDomain, "parameters of DATABASE_URL without a meaning here ignored={}", fmt::join(ignored, ","));
  }
  auto ended = run_node(
      *config, [&] { return load_config(options.config, ConfigNeeds::kNode); }, *options.supervisor);
  if (!ended) {
    log_error(kDomain, "mbsync ends reason={}", log_value(ended.error().log_text()));
  }
  tell_repeated_lines(true);
  return ended;
}

}  // namespace mbsync
