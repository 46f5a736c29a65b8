// mbsync status: what this node's database says about itself, its fleet and its tables. Asks the database alone, so it
// works whether or not the node is running.
#pragma once

#include "commands/config_options.h"
#include "invocation.h"
#include "output.h"
#include "result.h"

namespace mbsync {

void add_status(CLI::App& app, Invocation& invocation);

/// `database` errors end with exit code 3.
Result<void> run_status(const ConfigOptions& options, Output& output);

}  // namespace mbsync
