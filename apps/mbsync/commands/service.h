// mbsync start, stop, restart: the installed service, through the service manager of this system.
#pragma once

#include <CLI/CLI.hpp>

#include "invocation.h"

namespace mbsync {

/// All three.
void add_service(CLI::App& app, Invocation& invocation);

}  // namespace mbsync
