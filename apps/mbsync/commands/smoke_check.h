// mbsync smoke-check: is all there that a node needs? A line for each thing, and an exit code for scripts.
#pragma once

#include "commands/config_options.h"
#include "invocation.h"

namespace mbsync {

void add_smoke_check(CLI::App& app, Invocation& invocation);

}  // namespace mbsync
