// When the run loop does a thing again, and whether it says so again. Small, and apart from the database, so that it is
// tested without one.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <map>
#include <mutex>
#include <optional>
#include <stop_token>
#include <string>

#include "tuning.h"

namespace mbsync {

/// Sleeps that end when the node is asked to stop, or somebody is in a hurry. One thread sleeps.
class Pause {
 public:
  explicit Pause(std::stop_token stop) : stop_(std::move(stop)) {}
  void operator()(milliseconds duration);
  /// Ends the sleep under way, or the next one if there is none. From any thread.
  void hurry();

 private:
  std::stop_token stop_;
  std::mutex mutex_;
  std::condition_variable_any condition_;
  bool hurried_ = false;  // guarded by mutex_
};

/// Waits that double up to the longest.
class Backoff {
 public:
  explicit Backoff(milliseconds first = kBackoffFirst, milliseconds most = kBackoffMax)
      : first_(first), most_(most), wait_(first) {}
  milliseconds next();
  void reset() { wait_ = first_; }

 private:
  milliseconds first_;
  milliseconds most_;
  milliseconds wait_;
};

/// Says a thing once until it changes, so that a peer that is off for a week makes two lines and not a hundred
/// thousand.
class Announcer {
 public:
  bool is_news(const std::string& text);
  void forget() { last_.reset(); }

 private:
  std::optional<std::string> last_;  // nothing has been said yet, and then even "" is news
};

/// An Announcer for each of those who ask. Any thread.
class SenderAnnouncer {
 public:
  bool is_news(const std::string& sender, const std::string& text);
  /// All is well with this one again.
  void forget(const std::string& sender);

 private:
  std::mutex mutex_;
  std::map<std::string, Announcer> senders_;  // guarded by mutex_; kSendersKept at most
};

/// How long to wait before a peer is asked again whose answers cannot be taken. Usually it is a matter of a moment: one
/// of the two has moved on meanwhile, or is about to join. If not, it is asked less and less often, and it is time to
/// say so.
class AskAgainPace {
 public:
  using Time = std::chrono::steady_clock::time_point;

  struct Next {
    milliseconds wait;
    bool overdue;  ///< it has gone on for kAskAgainPatience
  };
  Next next(Time now);
  /// An answer could be taken.
  void reset();

 private:
  int asked_ = 0;
  Time since_;
  Backoff backoff_{kAskAgainPause, kBackoffMax};
};

}  // namespace mbsync
