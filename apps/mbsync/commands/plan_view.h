// How install and uninstall show their steps: a line each, as it is through, or all of it as one JSON document.
#pragma once

#include "files.h"
#include "invocation.h"
#include "plan.h"

namespace mbsync {

/// To be held while this machine is changed: nobody else installs or uninstalls meanwhile. `cancelled` if somebody
/// does.
Result<FileLock> take_turn_at_machine();

/// Runs the plan and shows it. With --json, the document has "dry_run", "exit_code", "steps", "error" (null if there is
/// none), and what `facts` holds; the exit code is left in `invocation`, and an error is told. Else an error is
/// returned, and `ending` is the last thing that is said if there is none. Who sits at a terminal is told of a step
/// that takes long.
Result<void> show_plan(const std::vector<std::unique_ptr<Step>>& steps, bool dry_run, Output& output,
                       Invocation& invocation, const std::function<nlohmann::ordered_json()>& facts,
                       const std::function<std::string()>& ending);

}  // namespace mbsync
