// mbsync config: what is set, from where, and which files were looked at.
#pragma once

#include "commands/config_options.h"
#include "invocation.h"

namespace mbsync {

void add_show_config(CLI::App& app, Invocation& invocation);

Result<void> run_show_config(const ConfigOptions& options, Output& output);

}  // namespace mbsync
