// Figures of each of the last 1,440 minutes, for plots. In memory: it begins anew with the process, and a minute in
// which there was none is missing. Any thread.
#pragma once

#include <chrono>
#include <cstdint>
#include <deque>
#include <mutex>
#include <vector>

#include "peer_note.h"

namespace mbsync {

/// What a minute adds up to, and the worst that was seen in it.
struct MinuteSample {
  WallClockTime minute;  ///< its beginning
  std::int64_t rows_in = 0;
  std::int64_t rows_out = 0;
  std::int64_t conflicts = 0;
  std::int64_t applied = 0;   ///< answers with rows
  double apply_s = 0;         ///< the time that took, all together
  std::int64_t backlog = 0;   ///< captured writes, at most
  std::int64_t lag_rows = 0;  ///< that the member farthest behind lacked, at most
  double lag_s = 0;           ///< age of the oldest such row, at most
  std::int64_t peers = 0;     ///< connected, when last looked
};

class NodeHistory {
 public:
  static constexpr std::size_t kMinutes = std::size_t{24} * 60;

  void rows_in(WallClockTime now, std::int64_t rows, std::int64_t conflicts, double apply_s);
  void rows_out(WallClockTime now, std::int64_t rows);
  void looked(WallClockTime now, std::int64_t backlog, std::int64_t lag_rows, double lag_s, std::int64_t peers);
  /// The latest, the oldest of them first; the last is the minute under way.
  [[nodiscard]] std::vector<MinuteSample> latest(WallClockTime now, std::size_t minutes);

 private:
  MinuteSample& at(WallClockTime now);

  std::mutex mutex_;  // guards what follows
  std::deque<MinuteSample> samples_;
};

}  // namespace mbsync
