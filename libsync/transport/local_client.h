// Asks a node's local port, for commands on the same machine.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>

#include "result.h"

namespace mbsync {

struct LocalTarget {
  std::string host = "127.0.0.1";  ///< an address in numbers
  std::uint16_t port = 0;
  std::string token{};  ///< empty: none is sent
};

struct LocalReply {
  int status = 0;
  std::string body;  ///< at most kLocalReplyBytesMax
};
inline constexpr std::size_t kLocalReplyBytesMax = std::size_t{16} << 20;

/// GET, or POST where there is a `body`. `transient` if nobody listens there or the whole answer does not come within
/// `patience`, whoever it is that listens; any status is a reply.
Result<LocalReply> ask_local(const LocalTarget& target, const std::string& path, const std::string& body,
                             std::chrono::milliseconds patience);

}  // namespace mbsync
