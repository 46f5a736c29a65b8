// mbsync verify: are the rows here the same as those of other members? The running node compares them.
#pragma once

#include "commands/config_options.h"
#include "invocation.h"

namespace mbsync {

void add_verify(CLI::App& app, Invocation& invocation);

}  // namespace mbsync
