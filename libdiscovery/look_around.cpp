#include "look_around.h"

#include <algorithm>
#include <condition_variable>
#include <map>
#include <mutex>

namespace mbsync {
namespace {

using Clock = std::chrono::steady_clock;

/// A machine is often seen on several adapters, one shortly after the other.
constexpr std::chrono::milliseconds kQuietFor{500};

class Watch : public PeerListener {
 public:
  void peer_found(std::string_view /*source*/, const Sighting& sighting) override {
    change([&] { seen_[sighting.handle] = sighting; });
  }
  void peer_lost(std::string_view /*source*/, const std::string& handle) override {
    change([&] { seen_.erase(handle); });
  }
  void source_works(std::string_view /*source*/) override {}
  void source_fails(std::string_view /*source*/, const Error& why) override {
    change([&] { failure_ = why; });
  }

  Surroundings wait(Clock::time_point deadline, const std::function<bool(const std::vector<Sighting>&)>& enough) {
    std::unique_lock lock(mutex_);
    for (;;) {
      const auto seen = list();
      const auto until = enough(seen) ? std::min(deadline, last_ + kQuietFor) : deadline;
      const auto before = changes_;
      if (failure_ || !changed_.wait_until(lock, until, [&] { return changes_ != before || failure_.has_value(); })) {
        return {list(), failure_};
      }
    }
  }

 private:
  template <typename Change>
  void change(Change how) {
    const std::lock_guard lock(mutex_);
    how();
    ++changes_;
    last_ = Clock::now();
    changed_.notify_all();
  }
  [[nodiscard]] std::vector<Sighting> list() const {
    std::vector<Sighting> all;
    for (const auto& [handle, sighting] : seen_) {
      all.push_back(sighting);
    }
    return all;
  }

  std::mutex mutex_;
  std::condition_variable changed_;
  std::map<std::string, Sighting> seen_;  // guarded by mutex_, as are the following
  std::optional<Error> failure_;
  int changes_ = 0;
  Clock::time_point last_;
};

}  // namespace

Surroundings look_around(PeerSource& source, std::chrono::milliseconds patience,
                         const std::function<bool(const std::vector<Sighting>&)>& enough) {
  Watch watch;
  source.start(watch);
  auto seen = watch.wait(Clock::now() + patience, enough);
  source.stop();
  return seen;
}

}  // namespace mbsync
