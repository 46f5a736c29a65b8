// What a program ends with: the same numbers for every command, also printed by `mbsync --help`. Scripts rely on them,
// so a number is never given another meaning.
#pragma once

#include <string>

#include "error.h"

namespace mbsync {

enum class ExitCode : int {
  kOk = 0,
  kFailure = 1,   ///< anything that has no number of its own
  kConfig = 2,    ///< a setting, a flag, a right: a person has to change something
  kDatabase = 3,  ///< the database is not there or refused
  kPort = 4,      ///< the port cannot be used
};

/// Peers that fail never end a command, they are tried again; so what can be tried again and still ended one was the
/// database.
ExitCode exit_code_for(const Error& error);

/// The table for --help.
std::string exit_code_help();

}  // namespace mbsync
