// What a program ends with: the same numbers for every command, also printed by `mbsync --help`. Scripts rely on them,
// so a number is never given another meaning.
#pragma once

#include <array>
#include <string>
#include <string_view>

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

struct ExitMeaning {
  ExitCode code;
  std::string_view when;
};

/// What each means, for commands that say nothing else. --help, the manual page and README.md have it from here.
const std::array<ExitMeaning, 5>& exit_meanings();

/// The table for --help.
std::string exit_code_help();

/// The table in README.md, without a line break at its end.
std::string exit_codes_as_markdown();

}  // namespace mbsync
