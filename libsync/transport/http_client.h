// Pulls from one peer, at whichever of its addresses answers. One thread uses pull(); stop() and set_addresses() may
// come from any other.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "digest_message.h"
#include "fleet_key.h"
#include "peer_address.h"
#include "process_tag.h"
#include "pull_sink.h"

namespace mbsync {

/// How long a client puts up with a peer that says nothing.
struct PeerPatience {
  /// A TCP connection takes milliseconds on a LAN and half a second across continents; after this the peer is away.
  /// Shared out among its addresses, a second each at least.
  std::chrono::milliseconds connect{5'000};
  std::chrono::milliseconds handshake{5'000};
  /// In the middle of an exchange. A busy peer pings every two seconds, so this is five pings lost.
  std::chrono::milliseconds silence{10'000};
};

class PeerClient {
 public:
  /// `addresses`: tried in this order until one answers with the fleet's key. Where there are two keys, a peer that
  /// does not take the one is asked with the other, and from then on with that first. `own`: see process_tag.h;
  /// empty: none.
  PeerClient(std::vector<PeerAddress> addresses, FleetKeys keys, PeerPatience patience = {}, OwnProcess own = {});
  ~PeerClient();
  PeerClient(const PeerClient&) = delete;
  PeerClient& operator=(const PeerClient&) = delete;

  /// Sends the request and hands the answer to `sink` as it arrives. Success means: the answer is whole (footer seen,
  /// checksum right, connection ended the way it should). Whatever `sink` was given before an error counts for nothing.
  /// Errors: `transient` (nobody there, connection lost, time-out, truncated), `rejected` (the peer refused, with its
  /// words; the handshake failed: another key or not mbsync), `corrupt` (garbled or over a limit), the sink's own
  /// error, `cancelled` after stop(). Keeps the connection for the next pull.
  Result<void> pull(const PullRequest& request, PullSink& sink);

  /// Asks the peer to hash rows. Errors as of pull(); `not_found`: it is of a version that does not know this question.
  Result<DigestAnswer> digest(const DigestRequest& request);

  /// From the next connection on; a connection that works stays.
  void set_addresses(std::vector<PeerAddress> addresses);

  /// Where the last connection led to; nothing before the first. For the thread that pulls.
  [[nodiscard]] std::optional<PeerAddress> reached() const;

  /// The key that it was reached with.
  [[nodiscard]] KeyUse key() const;

  /// The last pull ended in the handshake: the peer has another key, or is no mbsync. For the thread that pulls.
  [[nodiscard]] bool refused_in_handshake() const;

  /// The last pull was answered by the server of this very process, so the address is this node's own. For the thread
  /// that pulls.
  [[nodiscard]] bool leads_to_itself() const;

  /// Ends a pull that is under way, from any thread, within a quarter of a second (unless the sink itself is busy);
  /// later pulls fail with `cancelled`. Does not wait for that.
  void stop();

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace mbsync
