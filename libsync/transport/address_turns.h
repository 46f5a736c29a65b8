// So many at a time for one address, and the others wait for their turn. Thread-safe.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <map>
#include <mutex>
#include <string>
#include <string_view>

namespace mbsync {

class AddressTurns {
 public:
  explicit AddressTurns(std::size_t at_a_time) : at_a_time_(at_a_time) {}

  /// Waits up to `patience`; false if it has not become its turn. Each true has a leave() to come.
  bool enter(const std::string& address, std::chrono::milliseconds patience);
  void leave(const std::string& address);

 private:
  const std::size_t at_a_time_;
  std::mutex mutex_;  ///< guards what follows
  std::condition_variable changed_;
  std::map<std::string, std::size_t> inside_;
};

}  // namespace mbsync
