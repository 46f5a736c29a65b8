#include "address_turns.h"

#include "check.h"

namespace mbsync {

bool AddressTurns::enter(const std::string& address, std::chrono::milliseconds patience) {
  std::unique_lock lock(mutex_);
  const auto has_room = [&] {
    const auto entry = inside_.find(address);
    return entry == inside_.end() || entry->second < at_a_time_;
  };
  if (!changed_.wait_for(lock, patience, has_room)) {
    return false;
  }
  ++inside_[address];
  return true;
}

void AddressTurns::leave(const std::string& address) {
  {
    const std::lock_guard lock(mutex_);
    const auto entry = inside_.find(address);
    MBSYNC_CHECK(entry != inside_.end(), "somebody leaves who did not enter");
    if (--entry->second == 0) {
      inside_.erase(entry);
    }
  }
  changed_.notify_all();
}

}  // namespace mbsync
