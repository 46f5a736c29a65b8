// Waiting for a condition instead of sleeping for a guess.
#pragma once

#include <chrono>
#include <thread>

namespace mbsync::test {

/// Asks `predicate` until it says yes or `timeout` has passed; asks at least once. True if it said yes.
template <typename Predicate>
[[nodiscard]] bool wait_until(std::chrono::milliseconds timeout, Predicate&& predicate,
                              std::chrono::milliseconds poll_interval = std::chrono::milliseconds{5}) {
  const auto deadline = std::chrono::steady_clock::now() + timeout;
  while (!predicate()) {
    if (std::chrono::steady_clock::now() >= deadline) {
      return false;
    }
    std::this_thread::sleep_for(poll_interval);
  }
  return true;
}

}  // namespace mbsync::test
