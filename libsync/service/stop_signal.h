// Turns SIGINT and SIGTERM into a stop_token; the second of them ends the process. Notes SIGHUP down.
#pragma once

#include <atomic>
#include <csignal>
#include <stop_token>
#include <thread>

namespace mbsync {

/// Make one before any other thread is started: it blocks the signals for this thread and all that come after, and
/// waits for them in a thread of its own. One per process. Whoever sends a second signal does not want to wait any
/// longer: the process ends at once with 128 + signal, as if it had caught none. Callbacks of the token run in that
/// thread, so they must not block.
class StopSignal {
 public:
  StopSignal();
  ~StopSignal();
  StopSignal(const StopSignal&) = delete;
  StopSignal& operator=(const StopSignal&) = delete;

  [[nodiscard]] std::stop_token token() const { return source_.get_token(); }
  /// Whether SIGHUP has come since the last call: somebody wants the configuration to be read again. When a terminal is
  /// closed, which sends it too, that is a stop.
  bool take_hangup() { return hangup_.exchange(false); }
  /// 0 until a signal came.
  [[nodiscard]] int signal() const { return signal_; }

 private:
  sigset_t previous_{};
  std::stop_source source_;
  std::atomic<int> signal_{0};
  std::atomic<bool> hangup_{false};
  std::jthread waiter_;
};

}  // namespace mbsync
