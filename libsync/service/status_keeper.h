// Reads a node's status in a thread of its own, so that whoever asks waits no longer than he likes, and many askers
// cost the database one read a second. Takes the samples for plots besides.
#pragma once

#include <chrono>
#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>

#include "config.h"
#include "node_activity.h"
#include "node_status.h"
#include "status_reader.h"

namespace mbsync {

class StatusKeeper {
 public:
  /// `often`: called by the thread every few seconds.
  StatusKeeper(const Config& config, std::string version, NodeActivity& activity, std::function<void()> often);
  ~StatusKeeper();  ///< stops
  StatusKeeper(const StatusKeeper&) = delete;
  StatusKeeper& operator=(const StatusKeeper&) = delete;

  /// As it is now, or has been at `since` at the earliest. Where the database has not answered within `patience`: with
  /// what it said last and the age of that while the node itself is at work with it, else without.
  NodeStatus now(std::chrono::milliseconds patience, std::chrono::steady_clock::time_point since);
  /// What it says of the configuration from now on.
  void adopt(const Config& config);
  /// What the local port has to say of itself; empty: all is well.
  void local_trouble(std::string trouble);
  void stop();

 private:
  using Clock = std::chrono::steady_clock;
  void run(const std::stop_token& stop);

  NodeActivity& activity_;
  const std::function<void()> often_;
  StatusReader reader_;
  std::mutex mutex_;  // guards what follows
  std::condition_variable_any changed_;
  bool wanted_ = false;
  bool stopping_ = false;
  NodeSettings settings_;
  std::string local_trouble_;
  std::shared_ptr<const Result<StoreStatus>> read_;
  Clock::time_point read_at_;                        // when that was begun
  std::shared_ptr<const Result<StoreStatus>> good_;  // the latest that is no error
  Clock::time_point good_at_;
  std::jthread thread_;
};

}  // namespace mbsync
