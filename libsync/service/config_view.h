// What is set, for people: each value with its source, and a mbsync.toml with all settings explained. Pure.
#pragma once

#include <string>
#include <vector>

#include "config.h"

namespace mbsync {

struct EffectiveSetting {
  std::string name;         ///< as in mbsync.toml
  std::string environment;  ///< the variable
  std::string value;        ///< secrets masked
  std::string source;
  bool reloadable = false;  ///< a running node takes a new value with SIGHUP
};

/// Every setting in the order of ConfigKey.
std::vector<EffectiveSetting> effective_settings(const Config& config);

/// All settings, explained, none of them set.
std::string example_toml();

/// The table of settings in README.md, without a line break at its end.
std::string settings_as_markdown();

}  // namespace mbsync
