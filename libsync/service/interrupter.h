// Gives up what the database is doing when a node is to stop.
#pragma once

#include <condition_variable>
#include <functional>
#include <mutex>
#include <stop_token>
#include <thread>

#include "pg_store.h"
#include "tuning.h"

namespace mbsync {

/// From the moment of a stop on, or of call(), gives up whatever the database is doing, again and again while the
/// object lives: a statement that began between two looks would otherwise run on, and whoever waits for it with it. In
/// a thread of its own, so that whoever asks for the stop is not held up.
class Interrupter {
 public:
  Interrupter(PgStore& store, const std::stop_token& stop)
      : store_(store),
        thread_([this](const std::stop_token& done) { run(done); }),
        on_stop_(stop, [this] { call(); }) {}

  void call() {
    const std::lock_guard lock(mutex_);
    called_ = true;
    changed_.notify_all();
  }

 private:
  void run(const std::stop_token& done) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, done, [this] { return called_; });
    while (!done.stop_requested()) {
      lock.unlock();
      store_.interrupt();
      lock.lock();
      changed_.wait_for(lock, done, kInterruptEvery, [] { return false; });
    }
  }

  PgStore& store_;
  std::mutex mutex_;
  std::condition_variable_any changed_;
  bool called_ = false;  // guarded by mutex_
  std::jthread thread_;
  std::stop_callback<std::function<void()>> on_stop_;
};

}  // namespace mbsync
