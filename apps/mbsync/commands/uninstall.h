// mbsync uninstall: takes the service off this machine and, with --purge, everything that mbsync has made. The
// application's data stay as they are.
#pragma once

#include "invocation.h"

namespace mbsync {

struct UninstallOptions {
  bool purge = false;
  bool skip_db = false;
  bool yes = false;
  bool dry_run = false;
};

void add_uninstall(CLI::App& app, Invocation& invocation);
Result<void> run_uninstall(const UninstallOptions& options, Output& output, Invocation& invocation);

}  // namespace mbsync
