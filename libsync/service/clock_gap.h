// How far a peer's clock is from this one's, as its answers show it.
#pragma once

#include <chrono>
#include <optional>

namespace mbsync {

/// What an answer says of the sender's clock depends on how long it was under way, which nobody has measured: it may
/// have waited for news, or lain in the queue of a link that was cut. What is certain is that the sender stamped it
/// after it was asked for and before it came. A quick answer bounds the gap closely; a slow one moves the estimate only
/// as far as it has to. (Cristian, "Probabilistic clock synchronization", 1989.) One thread.
class ClockGap {
 public:
  using Time = std::chrono::system_clock::time_point;
  using Duration = std::chrono::milliseconds;

  /// Up to this, half of the time between question and answer is taken for the way.
  static constexpr Duration kQuick{1'000};

  /// `asked` and `answered` by the clock here, `stamped` by the peer's.
  void take(Time asked, Time stamped, Time answered);
  /// Above zero where the peer's clock is ahead; nothing before the first answer.
  [[nodiscard]] std::optional<Duration> ahead() const { return ahead_; }

 private:
  std::optional<Duration> ahead_;
};

}  // namespace mbsync
