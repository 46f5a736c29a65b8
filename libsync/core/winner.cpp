#include "winner.h"

#include <algorithm>
#include <tuple>

#include "check.h"

namespace mbsync {

const Write& last_writer(const std::vector<const Write*>& siblings) {
  MBSYNC_CHECK(!siblings.empty(), "no siblings to choose a winner from");
  // kTimeUnknown is the least time there is, so it loses to any other without being named here.
  const auto earlier = [](const Write* a, const Write* b) { return std::tie(a->at, a->dot) < std::tie(b->at, b->dot); };
  return **std::max_element(siblings.begin(), siblings.end(), earlier);
}

}  // namespace mbsync
