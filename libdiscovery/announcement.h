// What a node says of itself on the local network: the TXT record of its service (RFC 6763, section 6). Anybody there
// can read it, and anybody can say it, so it proves nothing: whether a peer belongs to the fleet is decided in the
// handshake. Pure.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "ids.h"
#include "result.h"

namespace mbsync {

inline constexpr std::string_view kServiceType = "_mbsync._tcp";

struct Announcement {
  int protocol = 0;   ///< the wire's version (libsync/protocol)
  NodeId node;        ///< not valid: not said, or not in this version's form
  std::string fleet;  ///< the fleet's tag, opaque; empty: the node has none yet
  /// Drawn at each start. Two with one `node` and different `start` are two machines with one database's identity: one
  /// was copied from the other.
  std::string start;
  bool operator==(const Announcement&) const = default;
};

/// The record's bytes, 400 at most.
std::string to_txt(const Announcement& announcement);

/// Reads that form. What it does not know it leaves out, since other versions say other things; of a key that comes
/// twice the first counts. `corrupt` if it is no TXT record, or no node's: without `proto`.
Result<Announcement> parse_txt(std::string_view record);

}  // namespace mbsync
