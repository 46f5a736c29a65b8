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
  stamp_ = Stamp{header.sender.id, Clock::time_point(std::chrono::microseconds(header.sent_at_us)), Clock::now()};
  return allowed ? sink_.header(header) : allowed;
}

}  // namespace mbsync
