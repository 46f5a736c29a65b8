// Runs histories on real nodes and on the model side by side, and compares (README.md says what).
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "history.h"
#include "lab.h"

namespace mbsync::checker {

/// What is to be wrong on purpose, to show that it is noticed.
struct Faults {
  Rules rules{};           ///< of the model
  std::string sabotage{};  ///< SQL, run on a node after each of its pulls, behind mbsync's back
};

/// What is wrong, or nothing. Does not shrink.
std::string failure_of(Lab& lab, const Schema& schema, const History& history, const Faults& faults);

/// A history that fails, with as little in it as possible.
struct Shrunk {
  History history;
  std::string failure;
  int tries = 0;
};
Shrunk shrink(Lab& lab, const Schema& schema, History history, std::string failure, const Faults& faults);

struct Wanted {
  std::uint64_t seed = 0;  ///< of the first history; the others follow
  std::uint64_t histories = 0;
  std::optional<double> minutes{};  ///< in place of a number
  Faults faults{};
  bool shrink = true;  ///< what fails, which may take a minute
};

struct Verdict {
  std::uint64_t histories = 0;  ///< that were run
  std::uint64_t schemas = 0;
  double seconds = 0;
  Counts counts{};
  std::size_t steps_left = 0;  ///< of the history that failed, once it was shrunk
  std::string failure;         ///< of the first that failed, with all that is needed to understand and to repeat it
};

/// Runs them on all cores, until one fails.
Verdict check(mbsync::test::TempCluster& cluster, const Wanted& wanted);

/// A cluster with nothing switched on that makes data safe.
mbsync::test::TempClusterOptions fast_cluster();

}  // namespace mbsync::checker
