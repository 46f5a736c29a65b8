// Turns SIGINT and SIGTERM into a stop_token.
#pragma once

#include <atomic>
#include <csignal>
#include <stop_token>
#include <thread>

namespace mbsync {

/// Make one before any other thread is started: it blocks the signals for this thread and all that come after, and
/// waits for them in a thread of its own. One per process.
class StopSignal {
 public:
  StopSignal();
  ~StopSignal();
  StopSignal(const StopSignal&) = delete;
  StopSignal& operator=(const StopSignal&) = delete;

  [[nodiscard]] std::stop_token token() const { return source_.get_token(); }
  /// 0 until a signal came.
  [[nodiscard]] int signal() const { return signal_; }

 private:
  sigset_t previous_{};
  std::stop_source source_;
  std::atomic<int> signal_{0};
  std::jthread waiter_;
};

}  // namespace mbsync
