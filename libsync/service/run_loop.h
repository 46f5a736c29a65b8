// A node at work: captures, serves its peers, pulls from them, forgets, until it is asked to stop.
#pragma once

#include <stop_token>

#include "config.h"
#include "reload.h"
#include "result.h"
#include "supervisor.h"

namespace mbsync {

/// Runs until SIGINT or SIGTERM (success), or until something fails that waiting cannot mend: a `config` error of
/// database, key or port, or a database that does not come up (precheck.h). One that goes away later is waited for.
/// Stops within 5 seconds at any moment; a second signal ends the process at once.
/// SIGHUP: `load_again`, and what a running node can take of it (reload.h) holds from then on; the log says what, and
/// what needs a restart. A configuration that is wrong changes nothing.
/// `supervisor` is told from the calling thread.
Result<void> run_node(const Config& config, const LoadAgain& load_again, Supervisor& supervisor = no_supervisor());

/// The same with a stop of the caller's own, and no signals. `hangup`: whether the configuration is to be read again.
Result<void> run_node(const Config& config, const std::stop_token& stop, const LoadAgain& load_again = {},
                      const std::function<bool()>& hangup = {}, Supervisor& supervisor = no_supervisor());

}  // namespace mbsync
