#include "warning_limiter.h"

#include <fmt/format.h>

namespace mbsync {

WarningLimiter::WarningLimiter(std::chrono::milliseconds interval, std::size_t addresses_max)
    : interval_(interval), addresses_max_(addresses_max) {}

std::optional<std::string> WarningLimiter::admit_to(Entry& entry, bool fresh, std::string_view address,
                                                    std::string_view what, Time now) const {
  if (!fresh && now - entry.last < interval_) {
    ++entry.suppressed;
    return std::nullopt;
  }
  std::string line = fmt::format("connection from '{}': {}", address, what);
  if (entry.suppressed > 0) {
    line += fmt::format(" ({} more since the last warning)", entry.suppressed);
  }
  entry = Entry{now, 0};
  return line;
}

std::optional<std::string> WarningLimiter::admit(std::string_view address, std::string_view what, Time now) {
  const std::lock_guard lock(mutex_);
  if (const auto known = entries_.find(address); known != entries_.end()) {
    return admit_to(known->second, false, address, what, now);
  }
  if (entries_.size() >= addresses_max_) {
    // Whoever has been quiet for an interval, and owes no count, has nothing to be remembered for.
    std::erase_if(entries_, [&](const auto& entry) {
      return now - entry.second.last >= interval_ && entry.second.suppressed == 0;
    });
  }
  if (entries_.size() >= addresses_max_) {
    std::erase_if(entries_, [&](const auto& entry) { return now - entry.second.last >= 2 * interval_; });
  }
  if (entries_.size() >= addresses_max_) {
    const bool fresh = !rest_;
    rest_ = rest_.value_or(Entry{});
    return admit_to(*rest_, fresh, address, what, now);
  }
  return admit_to(entries_[std::string(address)], true, address, what, now);
}

}  // namespace mbsync
