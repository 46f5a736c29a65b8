// Why a peer is not in step: tries the way to it step by step, as the node itself would go it, and says how far it
// came. For commands; nothing is applied, and the peer notices no more than a question.
#pragma once

#include <chrono>
#include <optional>
#include <string>
#include <vector>

#include "fleet_key.h"
#include "message.h"
#include "peer_address.h"
#include "peer_trouble.h"

namespace mbsync {

/// In the order in which they are tried; the first that fails is the last in the report.
enum class ProbeStep {
  kName,    ///< the host's name is known
  kPort,    ///< something listens there
  kKey,     ///< it is mbsync, and takes one of our keys
  kAnswer,  ///< it speaks our protocol, and answers this node
};
std::string_view to_string(ProbeStep step);

struct ProbeReport {
  struct Step {
    ProbeStep step = ProbeStep::kName;
    bool passed = false;
    std::string detail;  ///< what was found, or what went wrong
    std::string next;    ///< what to do; empty if it passed
  };
  std::vector<Step> steps;
  std::optional<PeerTrouble> trouble;                    ///< what the last step has failed of
  std::optional<Member> node;                            ///< who has answered
  std::optional<KeyUse> key;                             ///< with which key it was reached
  std::optional<std::chrono::milliseconds> clock_ahead;  ///< its clock, compared with this one's

  [[nodiscard]] bool passed() const { return !steps.empty() && steps.back().passed; }
};

/// Takes some seconds at most for each step. `request`: what this node would ask; its wait_ms does not matter. Without
/// one it ends with kKey: whoever asks is a member from then on, so it takes a node to ask as.
ProbeReport probe_peer(const PeerAddress& peer, const FleetKeys& keys, std::optional<PullRequest> request);

}  // namespace mbsync
