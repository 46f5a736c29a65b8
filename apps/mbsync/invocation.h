// From a command line to an exit code, for both programs. Each command adds itself with add_x(app, invocation); the one
// that was asked for leaves its action here.
#pragma once

#include <CLI/CLI.hpp>
#include <functional>

#include "exit_code.h"
#include "output.h"
#include "result.h"

namespace mbsync {

struct Invocation {
  bool json = false;
  std::function<Result<void>(Output&)> action;
  ExitCode exit_code = ExitCode::kOk;  ///< of an action that has told its outcome itself and has no error to be printed
};

/// For actions that ask for something that may not be done: this ends with 1 and is printed, since 3 says that the
/// database is to be looked at. Any other result is handed on.
Result<void> refused_is_failed(const Result<void>& result, Output& output, Invocation& invocation);

/// Parses, acts, prints the error if there is one, and returns the exit code.
int invoke(CLI::App& app, int argc, const char* const* argv, Invocation& invocation);

}  // namespace mbsync
