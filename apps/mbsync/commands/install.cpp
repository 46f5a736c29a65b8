#include "commands/install.h"

#include <fmt/format.h>

#include <memory>

#include "command.h"
#include "commands/plan_view.h"
#include "install_plan.h"
#include "terminal.h"

namespace mbsync {
namespace {

/// Beside this one, or where a package puts what nobody calls by hand.
std::filesystem::path service_program() {
  const auto directory = own_program().parent_path();
  std::error_code error;
  for (const auto& place : {directory / "mbsyncd", directory.parent_path() / "sbin" / "mbsyncd"}) {
    if (std::filesystem::exists(place, error)) {
      return place;
    }
  }
  return directory / "mbsyncd";
}

bool key_is_in_service_env(const Installation& installation) {
  return installation.config().source(ConfigKey::kRegistrationKey).starts_with("service.env");
}

std::string summary(const Installation& installation, const InstallOptions& options) {
  const auto& config = installation.config();
  if (options.dry_run) {
    return "\nNothing has been changed.";
  }
  auto text = fmt::format(
      "\nThis machine is node '{}'.\n"
      "  settings   {}\n"
      "  secrets    {}\n"
      "  data       {}\n"
      "  log        {}, and 'journalctl -u mbsync'\n"
      "  service    {}\n"
      "  port       {}\n"
      "Next:\n"
      "  sudo mbsync status                 how it goes\n"
      "  sudo mbsync peers                  the other machines\n",
      config.node_name, installation.toml().string(), installation.secrets().string(), config.data_dir.string(),
      config.log_file().string(), installation.manager->definition(installation.service()).path.string(), config.port);
  text += key_is_in_service_env(installation)
              ? fmt::format(
                    "  the next machine needs the same key. Put it into a file that only you can read, take that "
                    "there,\n"
                    "  install with it, and remove the file on both:\n"
                    "    umask 077; sudo grep ^SYNC_REGISTRATION_KEY= {} > fleet.env\n"
                    "    sudo mbsync install --env-file fleet.env\n",
                    installation.secrets().string())
              : fmt::format("  the next machine needs the same key, which is in {}\n", installation.toml().string());
  text.pop_back();
  if (options.show_key) {
    text += fmt::format("\nRegistration key: {}", config.registration_key.reveal());
  }
  return text;
}

nlohmann::ordered_json facts(const Installation& installation, const InstallOptions& options) {
  const auto& config = installation.config();
  nlohmann::ordered_json document{{"node_name", config.node_name},
                                  {"port", config.port},
                                  {"settings", installation.toml().string()},
                                  {"secrets", installation.secrets().string()},
                                  {"data_dir", config.data_dir.string()},
                                  {"log", config.log_file().string()},
                                  {"unit", installation.manager->definition(installation.service()).path.string()},
                                  {"tables", nullptr},
                                  {"tables_out", nullptr}};
  if (installation.database && installation.database->answers) {
    document["tables"] = installation.database->tables;
    document["tables_out"] = nlohmann::ordered_json::array();
    for (const auto& [table, reason] : installation.database->refused) {
      document["tables_out"].push_back({{"table", table}, {"reason", reason}});
    }
  }
  if (options.show_key) {
    document["registration_key"] = config.registration_key.reveal();
  }
  return document;
}

}  // namespace

void add_install(CLI::App& app, Invocation& invocation) {
  auto options = std::make_shared<InstallOptions>();
  CLI::App& command =
      *app.add_subcommand("install", "Make a synchronising node of this machine, with a service; again: repair it");
  command.add_option("--env-file", options->env_file, "file with lines KEY=value, such as the application's .env")
      ->type_name("FILE");
  command.add_flag("--new-key", options->new_key, "make a registration key, if there is none: on the first machine");
  auto* change = command.add_flag("--change", options->change, "write values that differ from the configuration");
  command.add_flag("--keep", options->keep, "leave the configuration as it is where it differs")->excludes(change);
  auto* firewall = command.add_flag("--firewall", options->firewall, "let the other machines through the firewall");
  command.add_flag("--no-firewall", options->no_firewall, "leave the firewall alone")->excludes(firewall);
  command.add_flag("--dry-run", options->dry_run, "show what would be done, and do nothing");
  command.add_flag("--show-key", options->show_key, "print the registration key at the end");
  add_setting_flags(command, options->config);
  command.get_option("--data-dir")
      ->description(fmt::format("log and scratch space of this node [SYNC_DATA_DIR, {}]", kServiceDataDir));
  command.add_flag("--json", invocation.json, "as JSON, one document at the end");
  command.footer(
      "As root. DATABASE_URL and SYNC_REGISTRATION_KEY come from the environment, --env-file, or a question at a\n"
      "terminal, never from the command line. Settings go to /etc/mbsync: what stands there already stays, and is\n"
      "completed. Data go to /var/lib/mbsync, or where --data-dir says. Without a terminal nothing is asked.\n"
      "\nA line for each step: ok (as it should be), done, would (with --dry-run), left (yours to do), failed. What\n"
      "fails ends it; say it again when it is mended.\n"
      "\nExit codes:\n"
      "  0  the node runs\n"
      "  1  failed for a reason without a number of its own, or an answer was not given\n"
      "  2  configuration: an answer is missing or wrong, the key is weak, this is not root, or the service has not "
      "started\n"
      "  3  database: not reachable, it refuses, or a right is missing (with the statement that gives it)\n"
      "  4  port: another program has it\n"
      "\nExamples:\n"
      "  sudo mbsync install\n"
      "  sudo mbsync install --env-file /srv/shop/.env --new-key --node-name office\n"
      "  sudo mbsync install --dry-run --json\n");
  command.callback([options, &invocation] {
    invocation.action = [options, &invocation](Output& output) { return run_install(*options, output, invocation); };
  });
}

Result<void> run_install(const InstallOptions& options, Output& output, Invocation& invocation) {
  if (!is_root()) {
    return Error{ErrorKind::kConfig, "installing takes the rights of root", "sudo mbsync install"};
  }
  const auto turn = take_turn_at_machine();
  MBSYNC_TRY(turn);
  const auto manager = make_service_manager();
  MBSYNC_TRY(manager);
  const bool at_terminal = is_at_terminal();
  auto settings = gather_answers(options, kSystemDirectory, at_terminal);
  MBSYNC_TRY(settings);
  const auto open_firewall = shall_open_firewall(options, settings->config.port, at_terminal);
  MBSYNC_TRY(open_firewall);
  Installation installation{.directory = kSystemDirectory,
                            .program = service_program(),
                            .settings = std::move(*settings),
                            .open_firewall = *open_firewall,
                            .manager = manager->get(),
                            .database = {}};
  return show_plan(
      make_install_plan(installation), options.dry_run, output, invocation,
      [&] { return facts(installation, options); }, [&] { return summary(installation, options); });
}

}  // namespace mbsync
