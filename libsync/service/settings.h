// All settings in one table: what each is called in mbsync.toml, in the environment and on the command line, which
// values it takes, what it is without being set, whether it is a secret, and whether a running node takes a new value.
// Everything that knows of settings reads it from here: configuration, flags, `mbsync config`, the README's table.
#pragma once

#include <array>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "config.h"
#include "config_file.h"

namespace mbsync {

enum class Reload {
  kLive,     ///< SIGHUP, and the running node goes by it
  kRestart,  ///< the node has to be started again
};

struct Setting {
  ConfigKey key;
  std::string_view toml;
  std::string_view env;
  std::string_view flag;        ///< empty: there is none, for other users of the machine can see command lines
  std::string_view flag_value;  ///< what --help calls its value; empty: it takes none, and means "true"
  FileEntry::Type type;
  std::string_view allowed;     ///< what a value in mbsync.toml has to be: "a whole number from 1 to 65535"
  std::string_view without_it;  ///< the default as mbsync.toml would have it, or in words where that is no constant
  std::string_view example;     ///< a value for a setting whose default is none; in the form of mbsync.toml
  std::string_view help;        ///< one line, for people
  bool secret = false;
  Reload reload = Reload::kRestart;
  /// Takes the value, or says what is allowed: "must be ...". Never repeats the value of a secret.
  Result<void> (*apply)(const std::vector<std::string>& values, Config& config);
  /// The value in `config` as text, a secret in the clear: only to be compared. For people there is shown().
  std::string (*reveal)(const Config& config);
  std::string_view choices{};  ///< all values that it takes, with spaces between; empty: too many to name
};

/// In the order of ConfigKey.
const std::array<Setting, kConfigKeys>& all_settings();
const Setting& setting(ConfigKey key);
/// By `Setting::toml`, `Setting::env` or `Setting::flag`.
std::optional<ConfigKey> find_setting(std::string_view name, std::string_view Setting::*spelling);

/// For a name that nobody knows: "did you mean 'port'?", or nothing where no name is near.
std::string did_you_mean(std::string_view name, std::string_view Setting::*spelling);

/// The value for people: secrets masked, "" if there is none.
std::string shown(const Setting& setting, const Config& config);

/// The settings whose values differ, in the order of ConfigKey.
std::vector<ConfigKey> changed_settings(const Config& before, const Config& after);

}  // namespace mbsync
