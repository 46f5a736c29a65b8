// mbsync version
#pragma once

#include "invocation.h"

namespace mbsync {

void add_version(CLI::App& app, Invocation& invocation);
std::string program_version();
Result<void> run_version(Output& output);

}  // namespace mbsync
