#include "allowed_nodes.h"

#include <fmt/format.h>

namespace mbsync {

Result<void> AllowedNodes::check(const Member& peer, const Member& self) const {
  if (allows(peer.id)) {
    return {};
  }
  return Error{
      ErrorKind::kRejected,
      fmt::format("node {} ('{}') is not among those that '{}' exchanges with", to_string(peer.id), peer.name,
                  self.name),
      fmt::format("if it belongs to the fleet, add {} to SYNC_ALLOWED_NODES on '{}'", to_string(peer.id), self.name)};
}

Result<void> AllowedSink::header(const PullHeader& header) {
  const auto allowed = allowed_.check(header.sender, self_);
  refused_ = !allowed;
  const std::chrono::system_clock::time_point sent_at{std::chrono::microseconds(header.sent_at_us)};
  clock_ahead_ = std::chrono::duration_cast<std::chrono::milliseconds>(sent_at - std::chrono::system_clock::now());
  return allowed ? sink_.header(header) : allowed;
}

}  // namespace mbsync
