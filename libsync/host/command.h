// Runs a program of this system (systemctl, useradd, ufw) and keeps what it says. No shell is involved.
#pragma once

#include <chrono>
#include <filesystem>
#include <string>
#include <vector>

#include "result.h"

namespace mbsync {

struct CommandOutcome {
  int exit_code = 0;   ///< or 128 + the number of the signal that ended it
  std::string output;  ///< stdout and stderr, as they came; the first 64 KiB
};

/// `program` is looked up in PATH, then in /usr/sbin and /sbin. Runs with LC_ALL=C and with nothing to read.
/// `not_found` if there is no such program, `transient` if it has not ended in time (it is ended then), `internal` if
/// it cannot be started.
Result<CommandOutcome> run_command(const std::vector<std::string>& program_and_arguments,
                                   std::chrono::milliseconds patience);

/// The same where an exit code other than 0 is an error too: what was run, and the end of what it said.
Result<std::string> run_or_fail(const std::vector<std::string>& program_and_arguments,
                                std::chrono::milliseconds patience);

/// Where the program lies that this process is; empty if that cannot be found out.
std::filesystem::path own_program();

/// As a person would type it.
std::string as_typed(const std::vector<std::string>& program_and_arguments);

}  // namespace mbsync
