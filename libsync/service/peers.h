// The peers of a running node: where they come from, which are listened to, which are visited, and the threads for it.
#pragma once

#include <chrono>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <stop_token>
#include <string>
#include <thread>
#include <vector>

#include "pace.h"
#include "peer_loop.h"
#include "peer_plan.h"
#include "peer_source.h"

namespace mbsync {

class Peers {
 public:
  /// `live_max`: how many peers are listened to at most. Borrows the context.
  Peers(PeerContext& context, NodeId self, std::size_t live_max);
  ~Peers();  ///< stops
  Peers(const Peers&) = delete;
  Peers& operator=(const Peers&) = delete;

  /// Starts the source; what it finds goes to the directory.
  void add(std::unique_ptr<PeerSource> source);
  /// To be called often: looks whether peers have come, gone or moved, and starts and ends threads accordingly. Does
  /// not wait.
  void look_after();
  /// Does not wait.
  void ask_to_stop();
  /// Waits until all threads have ended.
  void stop();

 private:
  using Clock = std::chrono::steady_clock;
  struct Listening {
    std::unique_ptr<PeerLoop> loop;
    std::vector<PeerAddress> addresses;
    std::jthread thread;
  };

  void choose();
  bool is_left_out(const PeerDirectory::Peer& peer);
  [[nodiscard]] bool is_of_other_fleet(const PeerDirectory::Peer& peer) const;
  [[nodiscard]] bool is_put_off(const PeerDirectory::Peer& peer) const;
  void listen_to(const PeerDirectory::Peer& peer);
  void end(int number);
  void look_for(const PeerDirectory::Peer& peer);
  void visit_in_turn(const std::stop_token& stop);
  void with_visit(const std::stop_token& stop, const PeerDirectory::Peer& peer,
                  const std::function<void(PeerLoop&)>& visit);
  void ask_suspects(const std::stop_token& stop);
  void say_what_sources_say();

  PeerContext& context_;
  const NodeId self_;
  const std::size_t live_max_;
  std::vector<std::unique_ptr<PeerSource>> sources_;
  std::map<int, Listening> listening_;  // by the directory's numbers
  std::vector<Listening> ending_;
  std::uint64_t directory_seen_ = 0;
  std::uint64_t health_seen_ = 0;
  Clock::time_point looked_at_;
  std::map<int, Clock::time_point> looked_for_;
  std::map<std::string, Announcer> announcers_;  // by source
  std::set<NodeId> left_out_told_;  // announced ids, of which there are no more than the directory has room for

  // The visitor's alone: by handle, when they were asked; those that turned out to be copies are told once.
  std::map<std::string, Clock::time_point> suspects_asked_;
  std::set<std::string> copies_told_;

  std::mutex mutex_;  // guards the two below
  std::vector<PeerDirectory::Peer> to_visit_;
  PeerLoop* visiting_ = nullptr;
  std::jthread visitor_;
};

}  // namespace mbsync
