// Runs histories on real nodes and on the model side by side, and compares (README.md says what).
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "history.h"
#include "lab.h"

namespace mbsync::checker {

/// What is wrong, or nothing. Does not shrink.
std::string failure_of(Lab& lab, const Schema& schema, const History& history, const Rules& rules);

/// The same failure with as little as possible around it.
struct Shrunk {
  History history;
  std::string failure;
  int tries = 0;
};
Shrunk shrink(Lab& lab, const Schema& schema, History history, std::string failure, const Rules& rules);

struct Wanted {
  std::uint64_t seed = 0;  ///< of the first history; the others follow
  std::uint64_t histories = 0;
  std::optional<double> minutes{};  ///< in place of a number
  Rules rules{};
};

struct Verdict {
  std::uint64_t histories = 0;  ///< that were run
  std::uint64_t schemas = 0;
  double seconds = 0;
  Counts counts{};
  std::string failure;  ///< of the first that failed, with all that is needed to understand and to repeat it
};

/// Runs them on all cores, until one fails.
Verdict check(mbsync::test::TempCluster& cluster, const Wanted& wanted);

/// A cluster with nothing switched on that makes data safe.
mbsync::test::TempClusterOptions fast_cluster();

}  // namespace mbsync::checker
