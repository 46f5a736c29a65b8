#include "clock_gap.h"

#include <algorithm>

namespace mbsync {

void ClockGap::take(Time asked, Time stamped, Time answered) {
  const auto least = std::chrono::duration_cast<Duration>(stamped - answered);
  // A clock that is set back between the two says no more than the one time.
  const auto most = std::max(least, std::chrono::duration_cast<Duration>(stamped - asked));
  ahead_ = most - least <= kQuick ? least + (most - least) / 2 : std::clamp(ahead_.value_or(Duration{0}), least, most);
}

}  // namespace mbsync
