// One round: every peer that is known is asked once, now, whether it is listened to or not.
#pragma once

#include <stop_token>
#include <vector>

#include "node_control.h"
#include "peer_loop.h"

namespace mbsync {

/// Several peers at a time; returns when all have been asked, or soon after `stop`.
std::vector<PeerRound> run_sync_round(PeerContext& context, const std::stop_token& stop);

}  // namespace mbsync
