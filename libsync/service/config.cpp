#include "config.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <iterator>
#include <limits>

#include "config_file.h"
#include "host_name.h"
#include "settings.h"
#include "utf8.h"

namespace mbsync {
namespace {

constexpr const char* kNameless = "node";  // where the host has no name either

using Values = std::vector<std::string>;

Result<void> apply(ConfigKey key, const Values& values, std::string_view where, std::string source, Config& config) {
  if (auto done = setting(key).apply(values, config); !done) {
    auto error = done.error();
    // By the name of the variable, which `where` has as well.
    constexpr std::string_view kName = "DATABASE_URL: ";
    if (error.message.starts_with(kName)) {
      error.message.erase(0, kName.size());
    }
    return error.in(where);
  }
  config.sources[static_cast<std::size_t>(key)] = std::move(source);
  return {};
}

std::string plain_name(const ConfigFile& file) {
  return file.path.filename().string();
}

Error unknown_setting(std::string_view name, std::string_view place, std::string_view Setting::*spelling) {
  std::vector<std::string_view> names;
  const auto& all = all_settings();
  std::transform(all.begin(), all.end(), std::back_inserter(names), [&](const auto& entry) { return entry.*spelling; });
  const auto nearest = did_you_mean(name, spelling);
  return Error{ErrorKind::kConfig, fmt::format("{}: there is no setting '{}'", place, name),
               fmt::format("{}{}There are {}", nearest, nearest.empty() ? "" : " ", fmt::join(names, ", "))};
}

Result<void> apply_toml(const ConfigFile& file, Config& config) {
  const std::string path = file.path.string();
  const auto entries = parse_toml_file(file.text, path);
  MBSYNC_TRY(entries);
  for (const FileEntry& entry : *entries) {
    const std::string where = fmt::format("{}:{}: {}", path, entry.line, entry.name);
    const auto key = find_setting(entry.name, &Setting::toml);
    if (!key) {
      return unknown_setting(entry.name, fmt::format("{}:{}", path, entry.line), &Setting::toml);
    }
    if (entry.type != setting(*key).type) {
      return Error{ErrorKind::kConfig,
                   fmt::format("{}: must be {}, not {}", where, setting(*key).allowed, entry.type_name), ""};
    }
    MBSYNC_TRY(apply(*key, entry.values, where, fmt::format("{}:{}", plain_name(file), entry.line), config));
  }
  return {};
}

Result<void> apply_service_env(const ConfigFile& file, Config& config) {
  const std::string path = file.path.string();
  const auto entries = parse_env_file(file.text, path);
  MBSYNC_TRY(entries);
  for (const FileEntry& entry : *entries) {
    const std::string place = fmt::format("{}:{}", path, entry.line);
    const auto key = find_setting(entry.name, &Setting::env);
    if (!key) {
      return unknown_setting(entry.name, place, &Setting::env);
    }
    if (!entry.values.front().empty()) {
      MBSYNC_TRY(apply(*key, entry.values, fmt::format("{}: {}", place, entry.name),
                       fmt::format("{}:{}", plain_name(file), entry.line), config));
    }
  }
  return {};
}

/// The environment is shared with other programs, so what is unknown there is no error; but a slip would go unnoticed
/// otherwise.
void warn_of_unknown(std::string_view name, Config& config) {
  if (name.starts_with("SYNC_") || name.starts_with("SKIP_DB_")) {
    const auto nearest = did_you_mean(name, &Setting::env);
    config.warnings.push_back(
        fmt::format("environment: mbsync knows no {}{}{}", name, nearest.empty() ? "" : "; ", nearest));
  }
}

/// An empty variable is one that is not set: that is how composed environments leave something out.
Result<void> apply_environment(const std::map<std::string, std::string>& environment, Config& config) {
  for (const auto& [name, value] : environment) {
    const auto key = find_setting(name, &Setting::env);
    if (!key) {
      warn_of_unknown(name, config);
    } else if (!value.empty()) {
      MBSYNC_TRY(apply(*key, {value}, "environment variable " + name, "environment " + name, config));
    }
  }
  return {};
}

Result<void> apply_flags(const std::vector<std::pair<ConfigKey, std::string>>& flags, Config& config) {
  std::map<ConfigKey, Values> given;
  for (const auto& [key, value] : flags) {
    MBSYNC_CHECK(!setting(key).flag.empty(), "this setting has no flag");
    Values& values = given[key];
    if (setting(key).type != FileEntry::Type::kList) {
      values.clear();
    }
    values.push_back(value);
  }
  for (const auto& [key, values] : given) {
    const std::string flag{setting(key).flag};
    MBSYNC_TRY(apply(key, values, flag, flag, config));
  }
  return {};
}

/// Whoever reaches the local port sees rows of conflicts and can decide them.
Result<void> check_local_port(const Config& config) {
  if (config.local_port() == config.port) {
    return Error{ErrorKind::kConfig,
                 fmt::format("SYNC_STATUS_PORT and SYNC_PORT are both {}: one port cannot be for both", config.port),
                 "set SYNC_STATUS_PORT to another port; without it, it is the one after SYNC_PORT"};
  }
  const auto outside = std::find_if_not(config.status_bind.begin(), config.status_bind.end(),
                                        [](const std::string& address) { return is_loopback_host(address); });
  if (config.local_port() == 0 || outside == config.status_bind.end() || !config.status_token.empty()) {
    return {};
  }
  return Error{ErrorKind::kConfig,
               fmt::format("SYNC_STATUS_BIND has '{}', which other machines can reach, and there is no "
                           "SYNC_STATUS_TOKEN",
                           *outside),
               "set SYNC_STATUS_TOKEN to what 'openssl rand -hex 24' prints, or leave it at 127.0.0.1"};
}

/// Files that might have said what is missing.
std::string forbidden_files(const std::vector<ConfigPlace>& places) {
  std::string text;
  for (const auto& place : places) {
    if (place.outcome == ConfigPlace::Outcome::kForbidden) {
      text += fmt::format("; {} is there, but this user may not read it (sudo?)", place.path.string());
    }
  }
  return text;
}

Result<void> check_complete(const Config& config, ConfigNeeds needs, const std::vector<ConfigPlace>& places) {
  std::vector<std::string> missing;
  std::string hint;
  if (needs != ConfigNeeds::kNothing && config.database_url.conninfo.empty()) {
    missing.emplace_back("Missing DATABASE_URL");
    hint =
        "set DATABASE_URL in the environment or service.env, or database_url in mbsync.toml: "
        "postgresql://USER:PASSWORD@localhost:5432/DATABASE";
  }
  if (needs == ConfigNeeds::kNode && config.registration_key.empty()) {
    missing.emplace_back("Missing SYNC_REGISTRATION_KEY");
    hint += fmt::format(
        "{}'mbsync keygen' makes a key; set the same one as SYNC_REGISTRATION_KEY, or registration_key in mbsync.toml, "
        "on every machine of the fleet",
        hint.empty() ? "" : "; ");
  }
  if (missing.empty()) {
    return needs == ConfigNeeds::kNode ? check_local_port(config) : Result<void>();
  }
  return Error{ErrorKind::kConfig, fmt::format("{}", fmt::join(missing, "; ")), hint + forbidden_files(places)};
}

void warn_of_open_file(const std::optional<ConfigFile>& file, Config& config) {
  if (!file) {
    return;
  }
  std::vector<std::string_view> secrets;
  for (const Setting& entry : all_settings()) {
    if (entry.secret && config.source(entry.key).starts_with(plain_name(*file) + ":")) {
      secrets.push_back(entry.env);
    }
  }
  if (secrets.empty()) {
    return;
  }
  const auto warn = [&](std::string_view what, std::string_view mend, const std::filesystem::path& path) {
    config.warnings.push_back(fmt::format("{} holds {} and {}: {} {}", file->path.string(), fmt::join(secrets, " and "),
                                          what, mend, path.string()));
  };
  const FileExposure& exposure = file->exposure;
  if (exposure.others_read) {
    warn("can be read by every user of this machine", "chmod o=", file->path);
  }
  if (!exposure.group.empty()) {
    warn(fmt::format("can be read by all of the group '{}'", exposure.group), "chmod g=", file->path);
  }
  if (exposure.others_write) {
    warn("can be changed by other users of this machine", "chmod go-w", file->path);
  }
  if (exposure.directory_open) {
    warn("can be replaced by every user of this machine, who may all write in its directory", "chmod o-w",
         file->path.has_parent_path() ? file->path.parent_path() : ".");
  }
}

}  // namespace

Result<Config> load_config(const ConfigSources& sources, ConfigNeeds needs) {
  Config config;
  config.sources.fill("default");
  const std::string_view host = std::string_view(sources.host_name).substr(0, kNodeNameBytesMax);
  config.node_name = host.substr(0, valid_utf8_length(host));
  if (config.node_name.empty()) {
    config.node_name = kNameless;
  }
  if (sources.toml) {
    config.config_file = sources.toml->path;
    MBSYNC_TRY(apply_toml(*sources.toml, config));
  }
  if (sources.service_env) {
    MBSYNC_TRY(apply_service_env(*sources.service_env, config));
  }
  MBSYNC_TRY(apply_environment(sources.environment, config));
  MBSYNC_TRY(apply_flags(sources.flags, config));
  MBSYNC_TRY(check_complete(config, needs, sources.places));
  warn_of_open_file(sources.toml, config);
  warn_of_open_file(sources.service_env, config);
  config.warnings.insert(config.warnings.end(), config.database_url.warnings.begin(),
                         config.database_url.warnings.end());
  return config;
}

bool Config::discovers() const {
  const bool loopback = bind_address == "::1" || bind_address == "localhost" || bind_address.starts_with("127.");
  return discovery == Discovery::kOn || (discovery == Discovery::kAuto && !loopback);
}

std::uint16_t Config::local_port() const {
  // After the last port there is none.
  constexpr std::uint16_t kLast = std::numeric_limits<std::uint16_t>::max();
  return status_port.value_or(port == kLast ? std::uint16_t{0} : static_cast<std::uint16_t>(port + 1));
}

Result<void> make_data_dir(const Config& config) {
  std::error_code error;
  std::filesystem::create_directories(config.data_dir, error);
  if (error) {
    return Error{ErrorKind::kConfig,
                 fmt::format("cannot make directory \"{}\": {}", config.data_dir.string(), error.message()),
                 "set SYNC_DATA_DIR to a directory that this user may write"};
  }
  return {};
}

LogOptions Config::log_options() const {
  constexpr std::size_t kMegabyte = std::size_t{1024} * 1024;
  return {.level = log_level,
          .file = log_file(),
          .to_stderr = true,
          .file_bytes_max = log_size_mb * kMegabyte,
          .files_kept = log_files};
}

}  // namespace mbsync
