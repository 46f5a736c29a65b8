// The flags that overrule configuration, for every command that has one. Nothing secret is among them: other users of
// the machine can read command lines.
#pragma once

#include <CLI/CLI.hpp>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "config.h"

namespace mbsync {

struct ConfigOptions {
  std::optional<std::string> config_file;
  std::vector<std::pair<ConfigKey, std::string>> flags;
};

/// `options` must live until the command line has been parsed.
void add_config_options(CLI::App& app, ConfigOptions& options);

/// The flags of settings alone, for commands that have the configuration in a place of its own.
void add_setting_flags(CLI::App& app, ConfigOptions& options);

/// Only where the configuration is, for commands that need the database alone.
void add_database_options(CLI::App& app, ConfigOptions& options);

/// --skip-db, for commands that look at the database before they do anything.
void add_skip_db(CLI::App& app, ConfigOptions& options);

/// Reads files and environment, adds the flags, checks.
Result<Config> load_config(const ConfigOptions& options, ConfigNeeds needs);

}  // namespace mbsync
