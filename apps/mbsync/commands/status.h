// mbsync status: this node and its fleet, and in one word whether all is well.
#pragma once

#include "commands/config_options.h"
#include "invocation.h"
#include "node_status.h"

namespace mbsync {

struct StatusOptions {
  ConfigOptions config;
  bool watch = false;
};

void add_status(CLI::App& app, Invocation& invocation);
/// With `watch` it ends only where the result cannot be written.
Result<void> run_status(const StatusOptions& options, Output& output, Health& verdict);

}  // namespace mbsync
