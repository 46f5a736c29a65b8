// What an installation writes into its configuration: what stands there already, completed by what it is told. What a
// person has written there stays, unless a change is asked for. Pure.
#pragma once

#include <map>
#include <string>
#include <utility>
#include <vector>

#include "config.h"

namespace mbsync {

/// Where a setting is told another value than the files have.
enum class Differing {
  kRefuse,  ///< an error that names all of them
  kKeep,    ///< the files are right
  kChange,
};

struct InstallInput {
  std::optional<ConfigFile> toml;  ///< what stands there; nothing if there is no such file
  std::optional<ConfigFile> service_env;
  std::map<std::string, std::string> environment;        ///< as ConfigSources has it; of --env-file as well
  std::vector<std::pair<ConfigKey, std::string>> flags;  ///< from the command line, or answered at a terminal
  std::map<ConfigKey, std::string> told_by;              ///< who says it, for people, where that is none of the two
  std::string host_name;
  std::filesystem::path data_dir;  ///< without a setting
};

struct SettingChange {
  ConfigKey key{};
  std::string text;  ///< for people: "port = 8765 (--port)"; secrets masked
  bool in_service_env = false;
  bool replaces = false;  ///< another value stood there
};

struct SettledSettings {
  std::string toml;         ///< of mbsync.toml
  std::string service_env;  ///< of service.env, where secrets go
  std::vector<SettingChange> changes;
  std::vector<std::string> kept;  ///< with kKeep: what differs and stays
  Config config;                  ///< what a node makes of the two files; may lack what a node needs
};

/// Where node_name, port and data_dir are set by nobody they are written down as they are now.
/// `config` if what stands there or what is told is wrong, or for what differs.
Result<SettledSettings> settle_settings(const InstallInput& input, Differing differing);

/// Before anything is written: which of these keys neither the files nor `input` say.
Result<std::vector<ConfigKey>> unanswered(const InstallInput& input, const std::vector<ConfigKey>& keys);

}  // namespace mbsync
