// What 'mbsync install' has to know before it begins: from flags, the environment, a file, or by asking somebody at a
// terminal. Without a terminal nothing is asked, and what is missing is an error.
#pragma once

#include <optional>
#include <string>

#include "commands/config_options.h"
#include "settle_settings.h"

namespace mbsync {

struct InstallOptions {
  ConfigOptions config;
  std::optional<std::string> env_file;
  bool new_key = false;
  bool change = false;
  bool keep = false;
  bool firewall = false;
  bool no_firewall = false;
  bool dry_run = false;
  bool show_key = false;
};

/// Reads the files in `directory`, asks for what is missing. `config` if something is missing or wrong, `cancelled` if
/// whoever was asked has gone.
Result<SettledSettings> gather_answers(const InstallOptions& options, const std::filesystem::path& directory,
                                       bool at_terminal);

/// Whether the firewall is to be opened for the port: by flag, or asked for where it is shut.
Result<bool> shall_open_firewall(const InstallOptions& options, std::uint16_t port, bool at_terminal);

}  // namespace mbsync
