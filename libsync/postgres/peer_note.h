// What a node has seen of others, as the running node notes it down and as status reads it.
#pragma once

#include <chrono>
#include <cstddef>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "key_use.h"
#include "message.h"
#include "peer_address.h"

namespace mbsync {

using WallClockTime = std::chrono::system_clock::time_point;

/// From here on a clock is worth a word: of two writes at once the wrong one may stand.
inline constexpr std::chrono::seconds kSkewTolerated{5};

/// What has not happened since this process began is not set, and stays as it is in the database.
struct PeerNote {
  Member peer;
  struct Asked {
    WallClockTime at;
    std::string from;  ///< address
    KeyUse key = KeyUse::kCurrent;
  };
  struct Answered {
    WallClockTime at;
    KeyUse key = KeyUse::kCurrent;
  };
  struct Failed {
    WallClockTime at;
    std::string reason;
  };
  std::optional<Asked> asked;                            ///< it has asked this node
  std::optional<Answered> answered;                      ///< it has answered this node
  std::optional<Failed> failed;                          ///< the last time that it could not be asked
  std::optional<std::chrono::milliseconds> clock_ahead;  ///< its clock, compared with this one's
};

struct AddressNote {
  PeerAddress address;
  std::optional<NodeId> node;  ///< who answered there last
  std::optional<WallClockTime> answered_at;
  std::optional<PeerNote::Failed> failed;
};

/// The fleet's tags (libsync/transport/fleet_tags.h), by what the keys are called in a handshake.
using TagsByKey = std::map<std::string, std::string>;

struct PeerNotes {
  std::vector<PeerNote> peers;
  std::vector<AddressNote> addresses;
  std::optional<std::string> discovery{};  ///< why peers are not found by themselves now; empty: they are
  [[nodiscard]] bool empty() const { return peers.empty() && addresses.empty() && !discovery; }
};

/// Addresses that are kept at most; those that answered longest ago go first, after those that never did.
inline constexpr std::size_t kAddressesKept = 1'000;

/// For so long a node that starts looks for peers where they have answered.
inline constexpr std::chrono::hours kAddressesGoodFor{30 * 24};

/// A peer as status shows it. Times are ISO, or empty.
struct PeerStatus {
  Member peer;
  std::string asked_at;
  std::string asked_from;
  std::string asked_key;  ///< "current", "next", or empty: not since the node was started
  std::string answered_at;
  std::string answered_key;
  std::string failed_at;
  std::string failure;
  bool failing = false;  ///< it has failed since it has last answered
  struct Address {
    std::string address;
    std::string answered_at;
    std::string failed_at;
    std::string failure;
  };
  std::vector<Address> addresses;  ///< the one that answered last first
  std::optional<std::chrono::milliseconds> clock_ahead;
};
struct PeersStatus {
  bool two_keys = false;          ///< the node that ran last takes two
  TagsByKey fleet_tags;           ///< of that node
  std::string discovery_failure;  ///< why it does not find peers by themselves; empty: nothing is known
  std::vector<PeerStatus> peers;  ///< by name
  std::vector<PeerStatus::Address> without_owner;  ///< addresses at which nobody has answered yet
};

}  // namespace mbsync
