// Where a peer can be reached.
#pragma once

#include <compare>
#include <cstdint>
#include <string>
#include <string_view>

#include "result.h"

namespace mbsync {

inline constexpr std::uint16_t kDefaultSyncPort = 8765;

struct PeerAddress {
  std::string host;  ///< a name or an IP address, IPv6 without brackets
  std::uint16_t port = kDefaultSyncPort;
  auto operator<=>(const PeerAddress&) const = default;  // NOLINT(modernize-use-nullptr): mistakes the 0 of <=>
};

/// "host:port", an IPv6 address in brackets: "[::1]:8765".
std::string to_string(const PeerAddress& address);

/// Reads that form; without ":port" it is kDefaultSyncPort. `config`, with the text, if it is something else.
Result<PeerAddress> parse_peer_address(std::string_view text);

}  // namespace mbsync
