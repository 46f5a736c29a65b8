// What one address may do before it is turned away: how many handshakes may fail, how many connections it may have
// open, how many requests it may make. Pure: time is passed in. Thread-safe. Many nodes may stand behind one address,
// so everything is counted generously where somebody with the key has come from it.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <map>
#include <mutex>
#include <string>
#include <string_view>

namespace mbsync {

/// Whose doings are counted together: an IPv4 address, or the first 64 bits of an IPv6 address, as everybody who has
/// one of these has 2^64 of them. Link-local addresses each for itself: all of a network share their first half.
std::string limit_group(std::string_view address);

/// Lets so many through at once, and so many a second in the long run.
class TokenBucket {
 public:
  using Time = std::chrono::steady_clock::time_point;
  struct Rate {
    double burst;
    double each_second;
  };

  /// Takes one if there is one.
  bool take(Rate rate, Time now);
  /// There is one.
  [[nodiscard]] bool any(Rate rate, Time now) const { return left(rate, now) >= 1; }
  /// Nothing has been taken that is not there again.
  [[nodiscard]] bool full(Rate rate, Time now) const { return left(rate, now) >= rate.burst; }

 private:
  [[nodiscard]] double left(Rate rate, Time now) const;
  double taken_ = 0;
  Time at_{};
};

class AddressLimiter {
 public:
  using Time = TokenBucket::Time;
  struct Limits {
    TokenBucket::Rate failures;        ///< handshakes that fail, of an address that nobody with the key has come from
    TokenBucket::Rate failures_known;  ///< of one from which somebody has, lately
    std::chrono::milliseconds known_for;
    std::size_t connections;  ///< open at a time
    TokenBucket::Rate requests;
    std::size_t addresses;  ///< kept apart at most
  };
  enum class Verdict { kAdmitted, kTooManyFailures, kTooManyConnections };

  explicit AddressLimiter(Limits limits) : limits_(limits) {}

  /// A connection was accepted. Admitted ones are to be reported by closed() in the end.
  Verdict connected(std::string_view address, Time now);
  void closed(std::string_view address, Time now);
  void handshake_failed(std::string_view address, Time now);
  void handshake_done(std::string_view address, Time now);
  /// Somebody with the key has come from there lately.
  [[nodiscard]] bool knows(std::string_view address, Time now) const;
  /// False: one request too many.
  bool request(std::string_view address, Time now);

  [[nodiscard]] std::size_t size() const;

 private:
  struct Entry {
    TokenBucket failures;
    TokenBucket requests;
    std::size_t connections = 0;
    bool ever_known = false;
    Time known_at{};
  };
  [[nodiscard]] bool known(const Entry& entry, Time now) const;
  [[nodiscard]] bool worth_keeping(const Entry& entry, Time now) const;
  Entry& entry_of(std::string_view address, Time now);

  const Limits limits_;
  mutable std::mutex mutex_;  ///< guards what follows
  std::map<std::string, Entry, std::less<>> entries_;
  Entry rest_;  ///< of all addresses for which there is no room
};

/// The same for those who ask, by who they say they are: one of them must not take up the node for itself.
class SenderLimiter {
 public:
  using Time = TokenBucket::Time;
  struct Limits {
    TokenBucket::Rate requests;
    std::size_t exchanges;  ///< under way at a time
    std::size_t senders;    ///< kept apart at most
  };
  enum class Verdict { kAdmitted, kTooManyRequests, kTooManyExchanges };

  explicit SenderLimiter(Limits limits) : limits_(limits) {}

  /// Admitted ones are to be reported by ended() in the end.
  Verdict begun(std::int64_t sender, Time now);
  void ended(std::int64_t sender);

 private:
  struct Entry {
    TokenBucket requests;
    std::size_t exchanges = 0;
  };
  const Limits limits_;
  std::mutex mutex_;  ///< guards what follows
  std::map<std::int64_t, Entry> entries_;
};

}  // namespace mbsync
