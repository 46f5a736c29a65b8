// Whose turn it is with the engine (engine_lock.h), among the threads of one process.
#pragma once

#include <chrono>
#include <condition_variable>
#include <mutex>
#include <optional>

namespace mbsync {

/// How long somebody waits for others; nothing: without end.
using Patience = std::optional<std::chrono::milliseconds>;

class EngineTurn {
 public:
  /// False: others have had it all the time.
  bool enter(Patience patience) {
    std::unique_lock lock(mutex_);
    const auto free = [this] { return !taken_; };
    if (!patience) {
      left_.wait(lock, free);
    } else if (!left_.wait_for(lock, *patience, free)) {
      return false;
    }
    taken_ = true;
    return true;
  }
  void leave() {
    {
      const std::lock_guard lock(mutex_);
      taken_ = false;
    }
    left_.notify_one();
  }

  class Leaver {
   public:
    explicit Leaver(EngineTurn& turn) : turn_(turn) {}
    ~Leaver() { turn_.leave(); }
    Leaver(const Leaver&) = delete;
    Leaver& operator=(const Leaver&) = delete;

   private:
    EngineTurn& turn_;
  };

 private:
  std::mutex mutex_;
  std::condition_variable left_;
  bool taken_ = false;  // guarded by mutex_
};

}  // namespace mbsync
