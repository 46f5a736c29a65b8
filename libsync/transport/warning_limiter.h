// Keeps a flood of strangers from becoming a flood of log lines: one warning about one address in a while, with a count
// of those left out. Pure: time is passed in. Thread-safe.
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>

namespace mbsync {

class WarningLimiter {
 public:
  using Time = std::chrono::steady_clock::time_point;

  WarningLimiter(std::chrono::milliseconds interval, std::size_t addresses_max);

  /// The line to write now, if any: "connection from '10.0.0.9': wrong key (31 more since the last warning)".
  /// Addresses for which there is no room share one place.
  std::optional<std::string> admit(std::string_view address, std::string_view what, Time now);

 private:
  struct Entry {
    Time last{};
    std::uint64_t suppressed = 0;
  };
  std::optional<std::string> admit_to(Entry& entry, bool fresh, std::string_view address, std::string_view what,
                                      Time now) const;

  const std::chrono::milliseconds interval_;
  const std::size_t addresses_max_;
  std::mutex mutex_;  ///< guards what follows
  std::map<std::string, Entry, std::less<>> entries_;
  std::optional<Entry> rest_;
};

}  // namespace mbsync
