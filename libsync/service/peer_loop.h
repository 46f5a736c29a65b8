// Pulls from one peer: for as long as it is listened to, or once, as a visit.
#pragma once

#include <atomic>
#include <chrono>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <stop_token>
#include <string>
#include <vector>

#include "allowed_nodes.h"
#include "clock_gap.h"
#include "fleet_key.h"
#include "fleet_tags.h"
#include "http_client.h"
#include "pace.h"
#include "peer_book.h"
#include "peer_directory.h"
#include "peer_health.h"
#include "shared_state.h"

namespace mbsync {

/// What all loops have in common; outlives them.
struct PeerContext {
  SharedState& shared;
  PeerDirectory& directory;
  PeerHealth& health;
  PeerBook& book;
  const AllowedNodes& allowed;
  const FleetKeys& keys;
  const FleetTags& fleet_tags;
  std::atomic<milliseconds> interval;
  OwnProcess own;
  /// What has been said last of each peer: a loop that begins anew, or a visit, says no more than what has changed.
  SenderAnnouncer& said;
  std::function<void()> interrupt;  ///< sets free who waits for the database, for the end
};

class PeerLoop {
 public:
  PeerLoop(PeerContext& context, PeerDirectory::Peer peer);

  /// Until it is asked to stop, or the address turns out to be this node's own. In a thread of its own.
  void run(const std::stop_token& stop);
  /// Until the two are in step once, or it fails, or `patience` is over.
  void visit(const std::stop_token& stop, milliseconds patience);
  /// One question to whoever announces this node's identity, of which nothing is told, as most such announcements are
  /// this node's own of earlier. True if a copy of this node's database answers there.
  bool leads_to_copy(const std::stop_token& stop);
  /// What came of it.
  struct Visited {
    std::optional<Member> peer;  ///< who has answered
    bool in_step = false;
    bool own = false;  ///< the address is this node's own
    std::int64_t rows = 0;
    std::int64_t conflicts = 0;
    std::optional<Error> failure{};
  };
  [[nodiscard]] Visited visited() const;

  /// From any thread.
  void set_addresses(std::vector<PeerAddress> addresses) { client_.set_addresses(std::move(addresses)); }
  /// The peer has been heard of: it is asked again now, and not when the next time has come. From any thread.
  void hurry();
  /// From any thread; does not wait.
  void stop() { client_.stop(); }
  [[nodiscard]] bool ended() const { return ended_; }

 private:
  Result<void> pull_whatever_happens(const std::stop_token& stop, Pause& pause);
  Result<void> pull(const std::stop_token& stop, Pause& pause);
  Result<void> apply(const std::stop_token& stop, Pause& pause);
  void applied(const ApplyOutcome& outcome, std::chrono::nanoseconds took);
  void ask_again(Pause& pause);
  void look_at_clock(const Member& sender);
  void give_up(const Error& reason);
  /// With what the network says of the peer besides.
  [[nodiscard]] Error with_announcement(Error error);
  /// How long to wait after the failure just told.
  milliseconds patience();
  [[nodiscard]] std::string name() const;
  /// Whether this has not been said of the peer just before; "" for all being well.
  bool is_news(const std::string& text);

  PeerContext& context_;
  std::optional<NodeId> node_;  ///< who it is, as far as is known
  std::string node_name_;       ///< what it calls itself; empty before it has answered
  PeerAddress first_;
  std::string first_address_;
  PeerClient client_;
  /// The first question after a (re)connection is answered at once: both sides learn of each other.
  bool wait_ = false;
  bool in_step_ = false;  ///< the last pull has been applied
  std::unique_ptr<PullSession> session_;
  Backoff backoff_;
  Backoff refused_{kRefusedFirst, kRefusedMax};
  Backoff not_allowed_{kNotAllowedFirst, kNotAllowedMax};
  bool answer_not_allowed_ = false;  ///< what has failed the last pull
  std::int64_t rows_ = 0;            ///< that have come
  std::int64_t conflicts_ = 0;
  std::optional<Error> failure_;  ///< of the last pull
  ClockGap clock_gap_;
  NodeId clock_of_;  ///< whose clock that is: the sender of the last answer
  AskAgainPace ask_again_;
  std::mutex mutex_;
  Pause* backing_off_ = nullptr;  ///< while it waits after a failure; guarded by mutex_
  std::atomic<bool> ended_ = false;
};

}  // namespace mbsync
