// What a running node can be told from its local port: one round with every peer now, to end, to start anew. Any
// thread.
#pragma once

#include <cstdint>
#include <functional>
#include <mutex>
#include <optional>
#include <stop_token>
#include <string>
#include <utility>
#include <vector>

#include "error.h"
#include "message.h"

namespace mbsync {

/// How one round went with one peer.
struct PeerRound {
  Member peer;          ///< without an id where nobody has answered yet
  std::string address;  ///< of the first address that was tried
  bool in_step = false;
  std::int64_t rows = 0;  ///< that came
  std::int64_t conflicts = 0;
  std::optional<Error> failure;
};

using SyncRound = std::function<std::vector<PeerRound>(const std::stop_token& stop)>;

class NodeControl {
 public:
  /// Of the run loop: `source` ends the run that begins; outlives end_run().
  void begin_run(std::stop_source source) {
    const std::lock_guard lock(mutex_);
    run_ = std::move(source);
    restart_ = false;  // this is it
    if (stop_) {
      run_.request_stop();
    }
  }
  [[nodiscard]] bool is_to_restart() {
    const std::lock_guard lock(mutex_);
    return restart_ && !stop_;
  }
  /// The same, and from then on no more.
  bool take_restart() {
    const std::lock_guard lock(mutex_);
    return std::exchange(restart_, false) && !stop_;
  }
  /// While there are peers; nothing: no more. Returns once a round that is under way has ended.
  void set_round(SyncRound round) {
    round_stop_.request_stop();
    const std::lock_guard turn(turn_);
    round_stop_ = std::stop_source();
    round_ = std::move(round);
  }

  void stop() {
    const std::lock_guard lock(mutex_);
    stop_ = true;
    run_.request_stop();
  }
  void restart() {
    const std::lock_guard lock(mutex_);
    restart_ = true;
    run_.request_stop();
  }
  /// One at a time, others wait. Nothing while the node cannot ask anybody: it starts, or waits for its database.
  std::optional<std::vector<PeerRound>> sync() {
    const std::lock_guard turn(turn_);
    return round_ ? std::optional(round_(round_stop_.get_token())) : std::nullopt;
  }

 private:
  std::mutex mutex_;  // guards the three below
  std::stop_source run_;
  bool stop_ = false;
  bool restart_ = false;
  std::mutex turn_;  // held through a round; guards the two below
  SyncRound round_;
  std::stop_source round_stop_;
};

}  // namespace mbsync
