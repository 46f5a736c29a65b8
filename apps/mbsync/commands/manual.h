// mbsync manual and mbsync completion: the manual pages and the completion of shells, both made from the commands
// themselves. The package has them as files.
#pragma once

#include "invocation.h"

namespace mbsync {

/// Both describe `app` as it is once all commands have been added.
void add_manual(CLI::App& app, Invocation& invocation);
void add_completion(CLI::App& app, Invocation& invocation);

}  // namespace mbsync
