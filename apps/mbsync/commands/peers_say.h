// mbsync peers forget, ban, unban: what an administrator says of a member of the fleet.
#pragma once

#include <CLI/CLI.hpp>
#include <memory>

#include "commands/peers.h"
#include "invocation.h"

namespace mbsync {

/// To the command "peers", whose options they share.
void add_peers_say(CLI::App& peers, const std::shared_ptr<PeersOptions>& options, Invocation& invocation);

}  // namespace mbsync
