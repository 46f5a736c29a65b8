// Before a node starts: is its database such that it can work on it? A database that merely starts is waited for; what
// only a person can mend ends the start with the reason.
#pragma once

#include <chrono>
#include <stop_token>

#include "config.h"
#include "supervisor.h"

namespace mbsync {

/// How long a database that is not there at all is waited for: after the machine was switched on, it may come up later
/// than mbsync. One that says that it starts or recovers is waited for as long as it takes.
inline constexpr std::chrono::milliseconds kDatabaseComesUpWithin{60'000};

/// `supervisor` is told what is waited for. Success also when `stop` came first. Errors are about the database:
/// `config` for a wrong password, an unknown database or host, a missing right; `transient` when it did not come up in
/// time.
Result<void> precheck(const Config& config, const std::stop_token& stop, Supervisor& supervisor = no_supervisor(),
                      std::chrono::milliseconds comes_up_within = kDatabaseComesUpWithin);

}  // namespace mbsync
