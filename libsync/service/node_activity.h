// What a running node does, told by its threads as they do it: what status, metrics, events and plots are made of, as
// far as the database does not know it. In memory; it begins anew with the process, but outlives a restart of the run
// loop within it. Any thread.
#pragma once

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "node_events.h"
#include "node_history.h"
#include "node_metrics.h"
#include "pg_store.h"

namespace mbsync {

/// A peer as this process has met it.
struct PeerFacts {
  Member peer;
  std::string address;
  bool up = false;                    ///< the last exchange went well
  std::string since;                  ///< ISO, since when it is up or not
  std::string heard_at;               ///< ISO, of the last exchange
  std::optional<double> heard_ago_s;  ///< of the same
  std::string failure;                ///< why it is not up
  std::int64_t rows_in = 0;
  std::int64_t rows_out = 0;
};

/// What only the process knows.
struct ProcessFacts {
  std::int64_t pid = 0;
  std::string version;
  Member node;  ///< without an id before the database has been there
  std::string started_at;
  double uptime_s = 0;
  std::string phase;         ///< starting, waiting for the database, running, stopping
  std::string phase_reason;  ///< of waiting
  double phase_s = 0;        ///< for how long
  double beat_age_s = 0;     ///< since the heartbeat was last seen
  std::uint16_t port = 0;
  std::int64_t rows_in = 0;
  std::int64_t rows_out = 0;
  std::int64_t conflicts = 0;
  double rows_in_per_s = 0;  ///< over the last minute or two
  double rows_out_per_s = 0;
  std::vector<PeerFacts> peers;
};

class NodeActivity {
 public:
  /// `version`: of the program.
  NodeActivity(std::string version, WallClockTime now);

  // Of the run loop.
  void phase(std::string name, const std::string& reason = "");
  void is_node(const Member& self, std::uint16_t port);
  void beat() { beat_ = std::chrono::steady_clock::now().time_since_epoch().count(); }
  /// One sentence for whoever looks at events.
  void event(std::string kind, std::string text, const std::string& peer = "",
             nlohmann::ordered_json details = nlohmann::ordered_json::object());
  /// To be called often: events that are made of many small things.
  void look_after();
  void sealed(std::chrono::microseconds took);

  // Of peers.
  void applied(const Member& peer, const std::string& address, const ApplyOutcome& outcome,
               std::chrono::microseconds took);
  void asked(const Member& peer, const std::string& address);
  void answered(const Member& peer, std::int64_t rows, std::int64_t bytes, std::chrono::microseconds took);
  /// `peer`: nobody as long as it is not known who is there.
  void failed(const std::optional<Member>& peer, const std::string& address, const std::string& reason);

  [[nodiscard]] ProcessFacts facts();
  /// Peers with which the last exchange went well.
  [[nodiscard]] std::size_t peers_up();
  NodeEvents& events() { return events_; }
  NodeHistory& history() { return history_; }
  NodeMetrics& metrics() { return metrics_; }

 private:
  using Clock = std::chrono::steady_clock;
  struct Peer {
    Member peer;
    std::string address;
    bool up = false;
    bool pulled = false;  ///< this node has asked it, with whatever outcome
    WallClockTime since;
    std::optional<WallClockTime> heard;
    std::string failure;
    std::int64_t rows_in = 0;
    std::int64_t rows_out = 0;
    std::int64_t rows_in_untold = 0;  ///< since the last event
    std::int64_t rows_out_untold = 0;
  };
  Peer* peer_of(const Member& peer, const std::string& address);
  void connected(Peer& peer, WallClockTime now);

  const std::string version_;
  const WallClockTime started_;
  const Clock::time_point started_steady_;
  NodeEvents events_;
  NodeHistory history_;
  NodeMetrics metrics_;
  std::atomic<Clock::rep> beat_;
  std::mutex mutex_;  // guards what follows
  std::string phase_ = "starting";
  std::string phase_reason_;
  Clock::time_point phase_since_;
  Member node_;
  std::uint16_t port_ = 0;
  std::map<NodeId, Peer> peers_;
  std::map<std::string, std::string> strangers_;  ///< address to why nobody answers there, as told last
  std::int64_t rows_in_ = 0;
  std::int64_t rows_out_ = 0;
  std::int64_t conflicts_ = 0;
};

}  // namespace mbsync
