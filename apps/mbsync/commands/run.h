// mbsync run: the node in the foreground, until it is told to stop.
#pragma once

#include "commands/config_options.h"
#include "invocation.h"
#include "result.h"
#include "supervisor.h"

namespace mbsync {

struct RunOptions {
  ConfigOptions config;
  Supervisor* supervisor = &no_supervisor();  ///< outlives the run
};

void add_run(CLI::App& app, Invocation& invocation);
/// The same without a subcommand around it, for a program that does nothing else.
void add_run_options(CLI::App& app, Invocation& invocation, Supervisor& supervisor = no_supervisor());

/// mbsyncd: what it says of itself, and all of its command line.
inline constexpr const char* kDaemonText =
    "mbsyncd is the mbsync node as a service. Everything it needs comes from configuration.";
void add_daemon(CLI::App& app, Invocation& invocation, Supervisor& supervisor = no_supervisor());

Result<void> run_run(const RunOptions& options);

}  // namespace mbsync
