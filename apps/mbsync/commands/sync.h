// mbsync sync: one round with every peer, now, by the running node.
#pragma once

#include "commands/config_options.h"
#include "invocation.h"

namespace mbsync {

void add_sync(CLI::App& app, Invocation& invocation);
/// `in_step`: with all peers.
Result<void> run_sync(const ConfigOptions& options, Output& output, bool& in_step);

}  // namespace mbsync
