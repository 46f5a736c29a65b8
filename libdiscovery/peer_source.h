// Where peers come from: a list in the configuration, or the local network. Sources say only what they see; what
// becomes of it is decided by whoever listens.
#pragma once

#include <optional>
#include <string_view>

#include "ids.h"
#include "peer_address.h"
#include "result.h"

namespace mbsync {

struct SeenPeer {
  PeerAddress address;
  std::optional<NodeId> node;  ///< as announced, not proved; nothing if the source does not know
};

class PeerListener {
 public:
  virtual ~PeerListener() = default;
  /// Both may be called from a thread of the source's. Found again with other details: the later call counts.
  virtual void peer_found(const SeenPeer& peer) = 0;
  virtual void peer_lost(const SeenPeer& peer) = 0;
};

class PeerSource {
 public:
  virtual ~PeerSource() = default;
  /// One word for status and log: "static", "mdns".
  [[nodiscard]] virtual std::string_view name() const = 0;
  /// Tells `listener`, which must live until stop(), of every peer, at once or whenever it turns up.
  virtual Result<void> start(PeerListener& listener) = 0;
  /// Returns when no further call will come. Harmless when repeated, or before start().
  virtual void stop() = 0;
};

}  // namespace mbsync
