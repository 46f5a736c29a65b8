#include "settle_settings.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

#include "setting_values.h"
#include "settings.h"
#include "settings_file.h"

namespace mbsync {
namespace {

constexpr const char* kTomlHead =
    "# Settings of mbsync. 'mbsync config --example' prints all there are, explained; 'mbsync config' shows what "
    "holds.\n";
constexpr const char* kEnvHead = "# Secrets of mbsync: the database with its password, and the fleet's key.\n";

ConfigSources files_of(const InstallInput& input) {
  ConfigSources sources;
  sources.toml = input.toml;
  sources.service_env = input.service_env;
  sources.host_name = input.host_name;
  return sources;
}

ConfigSources all_of(const InstallInput& input) {
  auto sources = files_of(input);
  sources.environment = input.environment;
  sources.flags = input.flags;
  return sources;
}

bool is_told(const Config& config, ConfigKey key) {
  const auto& source = config.source(key);
  return source.starts_with("environment") || source.starts_with("--");
}

/// Who tells it: "--port", "environment SYNC_PORT", or what the caller says.
std::string teller_of(const InstallInput& input, const Config& told, ConfigKey key) {
  const auto found = input.told_by.find(key);
  return found != input.told_by.end() ? found->second : told.source(key);
}

/// As it was told: for secrets and lists, whose checked form is another one.
SettingValues told_values(const InstallInput& input, const Setting& entry) {
  SettingValues values;
  for (const auto& [key, value] : input.flags) {
    if (key == entry.key) {
      values.push_back(value);
    }
  }
  if (values.empty()) {
    values.push_back(input.environment.at(std::string(entry.env)));
  }
  return values;
}

SettingValues values_to_write(const InstallInput& input, const Setting& entry, const Config& config) {
  if (entry.secret) {
    return {told_values(input, entry).back()};
  }
  return entry.type == FileEntry::Type::kList ? list_of(told_values(input, entry))
                                              : SettingValues{entry.reveal(config)};
}

class Files {
 public:
  explicit Files(const InstallInput& input) : input_(input) {
    out_.toml = input.toml ? input.toml->text : kTomlHead;
    out_.service_env = input.service_env ? input.service_env->text : kEnvHead;
  }

  /// `stands_in`: the source of what stands there, for what is to be replaced.
  Result<void> set(const Setting& entry, const SettingValues& values, const std::string& stands_in) {
    const bool in_env = stands_in == "default" ? entry.secret : stands_in.starts_with("service.env:");
    if (in_env) {
      auto text = set_in_env(out_.service_env, entry.env, fmt::format("{}", fmt::join(values, ",")));
      MBSYNC_TRY(text);
      out_.service_env = std::move(*text);
    } else {
      auto text = set_in_toml(out_.toml, entry.toml, entry.type, values);
      MBSYNC_TRY(text);
      out_.toml = std::move(*text);
    }
    out_.changes.push_back({entry.key, "", in_env, stands_in != "default"});
    return {};
  }

  Result<SettledSettings> finish(const Config& wanted) {
    auto sources = files_of(input_);
    sources.toml = ConfigFile{"mbsync.toml", out_.toml, {}};
    sources.service_env = ConfigFile{"service.env", out_.service_env, {}};
    auto config = load_config(sources, ConfigNeeds::kNothing);
    MBSYNC_TRY(config);
    for (auto& change : out_.changes) {
      const auto& entry = setting(change.key);
      MBSYNC_CHECK(entry.reveal(*config) == entry.reveal(wanted), "a setting is not what was written");
      const auto source = teller_of(input_, wanted, change.key);
      change.text = fmt::format("{} = {}{}", change.in_service_env ? entry.env : entry.toml, shown(entry, *config),
                                source == "default" ? "" : fmt::format(" ({})", source));
    }
    // A slip in the name of a variable would go unnoticed.
    for (const auto& warning : wanted.warnings) {
      auto& all = config->warnings;
      if (std::find(all.begin(), all.end(), warning) == all.end()) {
        all.push_back(warning);
      }
    }
    out_.config = std::move(*config);
    return std::move(out_);
  }

  std::vector<std::string>& kept() { return out_.kept; }

 private:
  const InstallInput& input_;
  SettledSettings out_;
};

Error differs_error(const std::vector<std::string>& differing) {
  return Error{ErrorKind::kConfig,
               fmt::format("the configuration says something else already: {}", fmt::join(differing, "; ")),
               "--change writes the new values, --keep leaves those that stand there"};
}

}  // namespace

Result<SettledSettings> settle_settings(const InstallInput& input, Differing differing) {
  const auto stands = load_config(files_of(input), ConfigNeeds::kNothing);
  MBSYNC_TRY(stands);
  auto told = load_config(all_of(input), ConfigNeeds::kNothing);
  MBSYNC_TRY(told);
  if (told->source(ConfigKey::kDataDir) == "default") {
    told->data_dir = input.data_dir;
  }
  Files files(input);
  std::vector<std::string> others;
  for (const Setting& entry : all_settings()) {
    const auto& where = stands->source(entry.key);
    const bool always =
        entry.key == ConfigKey::kNodeName || entry.key == ConfigKey::kPort || entry.key == ConfigKey::kDataDir;
    if (!is_told(*told, entry.key)) {
      if (always && where == "default") {
        MBSYNC_TRY(files.set(entry, {entry.reveal(*told)}, where));
      }
      continue;
    }
    if (where == "default") {
      MBSYNC_TRY(files.set(entry, values_to_write(input, entry, *told), where));
    } else if (entry.reveal(*stands) != entry.reveal(*told)) {
      if (differing == Differing::kChange) {
        MBSYNC_TRY(files.set(entry, values_to_write(input, entry, *told), where));
        continue;
      }
      others.push_back(entry.secret ? fmt::format("{} ({}) is another one than that of {}", entry.env, where,
                                                  teller_of(input, *told, entry.key))
                                    : fmt::format("{} is {} ({}), and not {} ({})", entry.toml, shown(entry, *stands),
                                                  where, shown(entry, *told), teller_of(input, *told, entry.key)));
      if (differing == Differing::kKeep) {
        files.kept().push_back(others.back());
      }
    }
  }
  if (!others.empty() && differing == Differing::kRefuse) {
    return differs_error(others);
  }
  return files.finish(*told);
}

Result<std::vector<ConfigKey>> unanswered(const InstallInput& input, const std::vector<ConfigKey>& keys) {
  const auto told = load_config(all_of(input), ConfigNeeds::kNothing);
  MBSYNC_TRY(told);
  std::vector<ConfigKey> missing;
  std::copy_if(keys.begin(), keys.end(), std::back_inserter(missing),
               [&](ConfigKey key) { return told->source(key) == "default"; });
  return missing;
}

}  // namespace mbsync
