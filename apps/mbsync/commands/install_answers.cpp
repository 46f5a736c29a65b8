#include "commands/install_answers.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <iostream>
#include <set>

#include "commands/keygen.h"
#include "database_facts.h"
#include "database_look.h"
#include "dns_sd_source.h"
#include "files.h"
#include "firewall.h"
#include "firewall_rules.h"
#include "fleet_key.h"
#include "install_plan.h"
#include "look_around.h"
#include "settings.h"
#include "terminal.h"
#include "utf8.h"

namespace mbsync {
namespace {

constexpr int kTries = 3;
constexpr const char* kAnswered = "answered";
constexpr std::chrono::milliseconds kLookAround{1'500};
constexpr const char* kWhereKeyIs = "on one of them: sudo grep ^SYNC_REGISTRATION_KEY= /etc/mbsync/service.env";

/// KEY=value lines take the place of environment variables that are not set.
Result<void> read_env_file(const std::string& path, InstallInput& input) {
  const auto text = read_file(path);
  MBSYNC_TRY(text);
  if (!*text) {
    return Error{ErrorKind::kConfig, fmt::format("there is no file '{}'", path),
                 "--env-file names a file that is there"};
  }
  const auto entries = parse_env_file(**text, path);
  MBSYNC_TRY(entries);
  ConfigSources alone;
  for (const auto& entry : *entries) {
    alone.environment[entry.name] = entry.values.front();
  }
  if (const auto good = load_config(alone, ConfigNeeds::kNothing); !good) {
    return good.error().in(path);
  }
  for (const auto& [name, value] : alone.environment) {
    auto& place = input.environment[name];
    if (place.empty() && !value.empty()) {
      place = value;
      if (const auto key = find_setting(name, &Setting::env)) {
        input.told_by[*key] = path;
      }
    }
  }
  return {};
}

bool is_missing(const std::vector<ConfigKey>& missing, ConfigKey key) {
  return std::find(missing.begin(), missing.end(), key) != missing.end();
}

Error no_answer(const std::vector<ConfigKey>& missing) {
  std::vector<std::string> names;
  std::vector<std::string> ways;
  if (is_missing(missing, ConfigKey::kDatabaseUrl)) {
    names.emplace_back("DATABASE_URL");
    ways.emplace_back("set DATABASE_URL in the environment or in a file that --env-file names");
  }
  if (is_missing(missing, ConfigKey::kRegistrationKey)) {
    names.emplace_back("SYNC_REGISTRATION_KEY");
    ways.push_back(
        fmt::format("set SYNC_REGISTRATION_KEY in {}, or say --new-key on the first machine of a fleet",
                    ways.empty() ? "the environment or in a file that --env-file names" : "one of these two"));
  }
  return Error{
      ErrorKind::kConfig,
      fmt::format("{} missing, and there is no terminal to ask at; nothing was done", fmt::join(names, " and ")),
      fmt::format("{}", fmt::join(ways, "; "))};
}

/// Asks until the answer is good, which `take` says, or it has been wrong too often.
Result<void> ask_until(const std::function<Result<std::string>()>& put_question,
                       const std::function<Result<void>(const std::string&)>& take) {
  for (int tried = 1;; ++tried) {
    const auto answer = put_question();
    MBSYNC_TRY(answer);
    auto taken = take(*answer);
    if (taken || tried == kTries) {
      return taken;
    }
    std::cerr << taken.error().text() << '\n' << std::flush;
  }
}

/// One that does not let the service in is found out while the person who knows its password still thinks of it. Where
/// the service comes in as its own user, that is for the steps.
Result<void> try_database(const DatabaseUrl& url) {
  if (goes_by_account(url)) {
    return {};
  }
  const auto facts = read_database_facts(url, {}, kDatabasePatience);
  return facts ? Result<void>{} : facts.error().about(ErrorArea::kDatabase);
}

Result<void> take_database_url(const std::string& answer, InstallInput& input) {
  const auto url = parse_database_url(answer);
  MBSYNC_TRY(url);
  MBSYNC_TRY(try_database(*url));
  input.environment[std::string(setting(ConfigKey::kDatabaseUrl).env)] = answer;
  input.told_by[ConfigKey::kDatabaseUrl] = kAnswered;
  return {};
}

/// The nodes that announce themselves, by name.
std::set<std::string> nodes_around() {
  DnsSdSource source(DnsSdSource::Options{});
  std::set<std::string> names;
  for (const auto& sighting : look_around(source, kLookAround, [](const auto&) { return false; }).seen) {
    if (!sighting.name.empty()) {
      names.insert(printable(sighting.name));
    }
  }
  return names;
}

/// Whoever has others around and makes a new key most likely wanted theirs.
Result<void> confirm_new_fleet() {
  constexpr std::size_t kNamesMax = 5;
  const auto names = nodes_around();
  if (names.empty()) {
    return {};
  }
  std::vector<std::string> some(names.begin(), names.end());
  some.resize(std::min(some.size(), kNamesMax));
  if (names.size() > kNamesMax) {
    some.push_back(fmt::format("{} more", names.size() - kNamesMax));
  }
  const auto yes =
      ask_yes(fmt::format("On this network {} already: {}. With a new key this machine does not belong to "
                          "them. Make a new key?",
                          names.size() == 1 ? "there is a node" : "there are nodes", fmt::join(some, ", ")),
              false);
  MBSYNC_TRY(yes);
  if (*yes) {
    return {};
  }
  return Error{ErrorKind::kConfig, "no new key was made", fmt::format("give theirs; {}", kWhereKeyIs)};
}

Result<void> take_key(const std::string& answer, InstallInput& input) {
  auto key = answer;
  input.told_by[ConfigKey::kRegistrationKey] = kAnswered;
  if (answer.empty()) {
    auto made = generate_registration_key();
    MBSYNC_TRY(made);
    key = std::move(*made);
    input.told_by[ConfigKey::kRegistrationKey] = "a new one";
  }
  MBSYNC_TRY(check_registration_key(key));
  input.environment[std::string(setting(ConfigKey::kRegistrationKey).env)] = std::move(key);
  return {};
}

/// An empty answer leaves the default.
Result<void> take_setting(ConfigKey key, const std::string& answer, InstallInput& input) {
  if (answer.empty()) {
    return {};
  }
  Config scratch;
  if (const auto good = setting(key).apply({answer}, scratch); !good) {
    return good.error().in(setting(key).toml);
  }
  input.flags.emplace_back(key, answer);
  input.told_by[key] = kAnswered;
  return {};
}

Result<void> ask_for(const std::vector<ConfigKey>& missing, InstallInput& input) {
  if (is_missing(missing, ConfigKey::kDatabaseUrl)) {
    MBSYNC_TRY(ask_until(
        [] {
          return ask_secret(
              "DATABASE_URL of this machine, postgresql://USER:PASSWORD@localhost:5432/DATABASE (is not shown): ");
        },
        [&](const std::string& answer) { return take_database_url(answer, input); }));
  }
  if (is_missing(missing, ConfigKey::kRegistrationKey)) {
    MBSYNC_TRY(ask_until(
        [] {
          return ask_secret(
              "Registration key of the fleet, the same on every machine (is not shown; Enter alone on the first "
              "machine: a new one is made): ");
        },
        [&](const std::string& answer) -> Result<void> {
          if (answer.empty()) {
            MBSYNC_TRY(confirm_new_fleet());
          }
          return take_key(answer, input);
        }));
  }
  if (is_missing(missing, ConfigKey::kNodeName)) {
    MBSYNC_TRY(ask_until([&] { return ask(fmt::format("Name of this machine [{}]: ", input.host_name)); },
                         [&](const std::string& answer) { return take_setting(ConfigKey::kNodeName, answer, input); }));
  }
  if (is_missing(missing, ConfigKey::kPort)) {
    MBSYNC_TRY(ask_until([] { return ask(fmt::format("Port for the other machines [{}]: ", kDefaultSyncPort)); },
                         [&](const std::string& answer) { return take_setting(ConfigKey::kPort, answer, input); }));
  }
  return {};
}

Result<InstallInput> gather(const InstallOptions& options, const std::filesystem::path& directory) {
  auto sources = gather_config_sources_in(directory, options.config.flags);
  MBSYNC_TRY(sources);
  InstallInput input{.toml = std::move(sources->toml),
                     .service_env = std::move(sources->service_env),
                     .environment = std::move(sources->environment),
                     .flags = std::move(sources->flags),
                     .told_by = {},
                     .host_name = std::move(sources->host_name),
                     .data_dir = kServiceDataDir};
  if (options.env_file) {
    MBSYNC_TRY(read_env_file(*options.env_file, input));
  }
  return input;
}

}  // namespace

Result<SettledSettings> gather_answers(const InstallOptions& options, const std::filesystem::path& directory,
                                       bool at_terminal) {
  auto input = gather(options, directory);
  MBSYNC_TRY(input);
  auto missing = unanswered(
      *input, {ConfigKey::kDatabaseUrl, ConfigKey::kRegistrationKey, ConfigKey::kNodeName, ConfigKey::kPort});
  MBSYNC_TRY(missing);
  if (options.new_key && is_missing(*missing, ConfigKey::kRegistrationKey)) {
    MBSYNC_TRY(take_key("", *input));
    missing->erase(std::find(missing->begin(), missing->end(), ConfigKey::kRegistrationKey));
  }
  if (at_terminal) {
    MBSYNC_TRY(ask_for(*missing, *input));
  } else if (is_missing(*missing, ConfigKey::kDatabaseUrl) || is_missing(*missing, ConfigKey::kRegistrationKey)) {
    return no_answer(*missing);
  }
  auto differing = options.change ? Differing::kChange : options.keep ? Differing::kKeep : Differing::kRefuse;
  if (differing == Differing::kRefuse && at_terminal) {
    const auto kept = settle_settings(*input, Differing::kKeep);
    MBSYNC_TRY(kept);
    if (!kept->kept.empty()) {
      std::cerr << fmt::format("The configuration says something else already:\n  {}\n", fmt::join(kept->kept, "\n  "));
      const auto change = ask_yes("Write the new values?", false);
      MBSYNC_TRY(change);
      differing = *change ? Differing::kChange : Differing::kKeep;
    }
  }
  return settle_settings(*input, differing);
}

Result<bool> shall_open_firewall(const InstallOptions& options, std::uint16_t port, bool at_terminal) {
  const auto look = look_at_firewall(port);
  const bool off = look.state == FirewallLook::State::kOff && look.firewall != Firewall::kNftables;
  if (options.firewall || options.no_firewall || !at_terminal || off) {
    return options.firewall;
  }
  const auto name = to_string(look.firewall);
  const auto rules = firewall_rules(name, port);
  if (!rules || std::all_of(rules->begin(), rules->end(), [](const FirewallRule& rule) { return rule.present; })) {
    return false;
  }
  return ask_yes(fmt::format("{} is on. Let the other machines in (TCP {}), and mDNS, by which they find each other "
                             "(UDP 5353)?",
                             name, port),
                 false);
}

}  // namespace mbsync
