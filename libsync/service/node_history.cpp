#include "node_history.h"

#include <algorithm>

namespace mbsync {

MinuteSample& NodeHistory::at(WallClockTime now) {
  const auto minute = std::chrono::floor<std::chrono::minutes>(now);
  // A clock that was set back adds to the latest minute.
  if (samples_.empty() || samples_.back().minute < minute) {
    MinuteSample fresh;
    fresh.minute = minute;
    if (!samples_.empty()) {
      fresh.peers = samples_.back().peers;
    }
    samples_.push_back(fresh);
    if (samples_.size() > kMinutes) {
      samples_.pop_front();
    }
  }
  return samples_.back();
}

void NodeHistory::rows_in(WallClockTime now, std::int64_t rows, std::int64_t conflicts, double apply_s) {
  const std::lock_guard lock(mutex_);
  auto& sample = at(now);
  sample.rows_in += rows;
  sample.conflicts += conflicts;
  sample.applied += rows > 0 ? 1 : 0;
  sample.apply_s += apply_s;
}

void NodeHistory::rows_out(WallClockTime now, std::int64_t rows) {
  const std::lock_guard lock(mutex_);
  at(now).rows_out += rows;
}

void NodeHistory::looked(WallClockTime now, std::int64_t backlog, std::int64_t lag_rows, double lag_s,
                         std::int64_t peers) {
  const std::lock_guard lock(mutex_);
  auto& sample = at(now);
  sample.backlog = std::max(sample.backlog, backlog);
  sample.lag_rows = std::max(sample.lag_rows, lag_rows);
  sample.lag_s = std::max(sample.lag_s, lag_s);
  sample.peers = peers;
}

std::vector<MinuteSample> NodeHistory::latest(WallClockTime now, std::size_t minutes) {
  const std::lock_guard lock(mutex_);
  at(now);
  const auto since = std::chrono::floor<std::chrono::minutes>(now) - std::chrono::minutes(minutes);
  std::vector<MinuteSample> chosen;
  std::copy_if(samples_.begin(), samples_.end(), std::back_inserter(chosen),
               [&](const MinuteSample& sample) { return sample.minute > since; });
  return chosen;
}

}  // namespace mbsync
