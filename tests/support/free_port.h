// TCP ports that nothing listens on.
#pragma once

#include <cstdint>

namespace mbsync::test {

/// The first of `count` neighbouring TCP ports that are free on all addresses. Never given out twice by one process,
/// and below the range from which the kernel takes ports for outgoing connections, so that a server which is stopped
/// for a while finds its port free when it comes back. Throws std::runtime_error if there is none.
std::uint16_t free_port(std::uint16_t count = 1);

}  // namespace mbsync::test
