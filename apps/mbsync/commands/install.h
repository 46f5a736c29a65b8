// mbsync install: makes a synchronising node of this machine, with a service that starts with it; run again, repairs.
#pragma once

#include "commands/install_answers.h"
#include "invocation.h"

namespace mbsync {

void add_install(CLI::App& app, Invocation& invocation);
Result<void> run_install(const InstallOptions& options, Output& output, Invocation& invocation);

}  // namespace mbsync
