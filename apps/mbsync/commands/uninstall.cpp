#include "commands/uninstall.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <iostream>
#include <memory>

#include "account.h"
#include "commands/plan_view.h"
#include "install_plan.h"
#include "terminal.h"
#include "uninstall_plan.h"

namespace mbsync {
namespace {

/// As it stands there; the environment says nothing about which database is to be purged.
Result<std::optional<Config>> read_config() {
  auto sources = gather_config_sources_in(kSystemDirectory, {});
  MBSYNC_TRY(sources);
  if (!sources->toml && !sources->service_env) {
    return std::optional<Config>{};
  }
  sources->environment.clear();
  auto config = load_config(*sources, ConfigNeeds::kNothing);
  MBSYNC_TRY(config);
  return std::optional<Config>{std::move(*config)};
}

/// What would be lost, as far as the database says; what it does not say now, its step will.
Unsent look_at_unsent(const Uninstallation& out) {
  if (!out.purge || out.leave_database || !out.config || out.config->database_url.conninfo.empty()) {
    return {};
  }
  const auto account = who_looks();
  const auto view = account ? look_at_purge_as(*account, *out.config) : Result<PurgeView>(account.error());
  return view ? view->unsent : Unsent{};
}

Result<void> confirm(const UninstallOptions& options, const std::vector<std::string>& lost) {
  if (options.dry_run) {
    return {};
  }
  for (const auto& sentence : lost) {
    std::cerr << "Beware: " << sentence << '\n';
  }
  if (options.yes) {
    return {};
  }
  if (!is_at_terminal()) {
    return Error{ErrorKind::kConfig, "there is no terminal to ask at whether that is meant; nothing was done",
                 "--yes says that it is"};
  }
  const auto meant =
      ask_yes(options.purge ? fmt::format("Remove the service, {}configuration, data and user of mbsync?",
                                          options.skip_db ? "" : "schema mbsync with its triggers, ")
                            : "Stop and remove the service? Configuration, data and schema stay.",
              false);
  MBSYNC_TRY(meant);
  if (!*meant) {
    return Error{ErrorKind::kCancelled, "nothing has been removed", ""};
  }
  return {};
}

std::string ending(const UninstallOptions& options, const Uninstallation& out, const Unsent& unsent) {
  if (options.dry_run) {
    return "\nNothing has been changed.";
  }
  if (!options.purge) {
    return "\nThe service is gone. Configuration, data and schema mbsync stay, and its triggers go on noting what is\n"
           "written: 'sudo mbsync install' takes that up again, 'sudo mbsync uninstall --purge' removes it all.";
  }
  const bool whole = !options.skip_db && out.config && !out.config->database_url.conninfo.empty();
  std::string text =
      fmt::format("\nmbsync is gone from this machine{}",
                  whole ? "; the application's data are as they were." : ", but for what is left above.");
  if (unsent.others > 0 && out.config) {
    text += fmt::format("\nThe other machines wait for this one, until on one of them is said: mbsync peers forget {}",
                        out.config->node_name);
  }
  return text;
}

}  // namespace

void add_uninstall(CLI::App& app, Invocation& invocation) {
  auto options = std::make_shared<UninstallOptions>();
  CLI::App& command =
      *app.add_subcommand("uninstall", "Remove the service and, with --purge, all that mbsync has made");
  command.add_flag("--purge", options->purge,
                   "also schema mbsync with its triggers, configuration, data and user; the application's data stay");
  command.add_flag("--skip-db", options->skip_db, "with --purge: leave the database as it is");
  command.add_flag("--yes", options->yes, "do not ask");
  command.add_flag("--dry-run", options->dry_run, "show what would be done, and do nothing");
  command.add_flag("--json", invocation.json, "as JSON, one document at the end");
  command.footer(
      "As root. Asks at a terminal; without one it takes --yes.\n"
      "\nExit codes:\n"
      "  0  done, or there was nothing to do\n"
      "  1  failed for a reason without a number of its own, or the answer was no\n"
      "  2  configuration: --yes is missing, the configuration cannot be read, or this is not root\n"
      "  3  database: not reachable, a right is missing, or something is built upon schema mbsync\n"
      "\nExamples:\n"
      "  sudo mbsync uninstall\n"
      "  sudo mbsync uninstall --purge --dry-run\n"
      "  sudo mbsync uninstall --purge --yes\n");
  command.callback([options, &invocation] {
    invocation.action = [options, &invocation](Output& output) { return run_uninstall(*options, output, invocation); };
  });
}

Result<void> run_uninstall(const UninstallOptions& options, Output& output, Invocation& invocation) {
  if (!is_root()) {
    return Error{ErrorKind::kConfig, "uninstalling takes the rights of root", "sudo mbsync uninstall"};
  }
  const auto turn = take_turn_at_machine();
  MBSYNC_TRY(turn);
  const auto manager = make_service_manager();
  MBSYNC_TRY(manager);
  Uninstallation out{.directory = kSystemDirectory,
                     .config = {},
                     .purge = options.purge,
                     .leave_database = options.skip_db,
                     .manager = manager->get()};
  if (options.purge) {
    auto config = read_config();
    if (!config && !options.skip_db) {
      auto error = config.error();
      error.hint +=
          fmt::format("{}mend it, or say --skip-db to leave the database as it is", error.hint.empty() ? "" : "; ");
      return error;
    }
    if (config) {
      out.config = std::move(*config);
    }
  }
  const auto unsent = look_at_unsent(out);
  const auto lost = what_is_lost(unsent);
  MBSYNC_TRY(confirm(options, lost));
  if (!options.dry_run) {
    MBSYNC_TRY(look_at_database_first(out));
  }
  return show_plan(
      make_uninstall_plan(out), options.dry_run, output, invocation,
      [&] {
        return nlohmann::ordered_json{{"purge", options.purge}, {"lost", lost}};
      },
      [&] { return ending(options, out, unsent); });
}

}  // namespace mbsync
