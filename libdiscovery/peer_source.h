// Where peers come from: a list in the configuration, or the local network. Sources say only what they see; what
// becomes of it is decided by whoever listens.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "announcement.h"
#include "peer_address.h"
#include "result.h"

namespace mbsync {

/// What one source says of one peer.
struct Sighting {
  std::string handle;                  ///< tells it from what else the source sees; for people as well
  std::vector<PeerAddress> addresses;  ///< likeliest first; none while they are being looked up
  std::optional<Announcement> said;    ///< nothing if the source does not know; never proved
  std::string name{};                  ///< what it calls itself to people; may hold any characters, never proved
  bool operator==(const Sighting&) const = default;
};

/// Calls may come from a thread of the source's, one at a time for each source.
class PeerListener {
 public:
  virtual ~PeerListener() = default;
  /// Found again under the same handle: the later call counts.
  virtual void peer_found(std::string_view source, const Sighting& sighting) = 0;
  virtual void peer_lost(std::string_view source, const std::string& handle) = 0;
  /// Whether the source works. One that fails has lost what it has seen, and goes on trying by itself.
  virtual void source_works(std::string_view source) = 0;
  virtual void source_fails(std::string_view source, const Error& why) = 0;
};

class PeerSource {
 public:
  virtual ~PeerSource() = default;
  /// One word for status and log: "static", "mdns".
  [[nodiscard]] virtual std::string_view name() const = 0;
  /// Tells `listener`, which must live until stop(), of every peer, at once or whenever it turns up.
  virtual void start(PeerListener& listener) = 0;
  /// The addresses under this handle do not lead to the peer: they are looked up again, if there is a way. Any thread.
  virtual void look_again(const std::string& /*handle*/) {}
  /// Returns when no further call will come. Harmless when repeated, or before start().
  virtual void stop() = 0;
};

}  // namespace mbsync
