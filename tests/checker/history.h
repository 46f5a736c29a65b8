// A history: what happens to a fleet, step by step. Everything follows from its seed, and any of its steps, or of the
// statements in one, can be left out without changing what the others mean. So a history that fails is shrunk by
// leaving out whatever is not needed for the failure.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "schema.h"

namespace mbsync::checker {

/// Neighbouring seeds share a schema, since making one costs as much as several histories.
inline constexpr std::uint64_t kHistoriesPerSchema = 50;
std::uint64_t schema_seed(std::uint64_t seed);

enum class StepKind {
  kWrite,    ///< a transaction of the application on `node`
  kPull,     ///< `node` pulls from `other`
  kAsk,      ///< the same, but the answer stays on its way ...
  kDeliver,  ///< ... until now; an answer that is not delivered is lost
  kCut,      ///< a pull whose connection to the database is lost while it is applied
  kSeal,
  kForget,
  kCrash,    ///< the program on `node` ends, answers on their way to it are lost, and starts again
  kClock,    ///< the clock of `node` is set
  kPublish,  ///< a policy is published on `node`
  kHold,     ///< a transaction on `node` that stays open ...
  kRelease,  ///< ... until now
  kRefuse,   ///< `node` refuses some rows from now on ...
  kAccept,   ///< ... until now
  kSettle    ///< what waits on `node` is tried again
};

struct Step {
  std::size_t number = 0;  ///< its place in the whole history
  StepKind kind = StepKind::kWrite;
  std::size_t node = 0;
  std::size_t other = 0;
  std::vector<std::string> statements{};  ///< of a transaction
  bool commit = true;                     ///< of kRelease; else it is rolled back
  std::string digits{};                   ///< of kRefuse: rows whose marker ends with one of these
  std::int64_t at = 0;                    ///< of a write: microseconds since 1970 by a right clock
  std::int64_t delay = 0;                 ///< of kCut: microseconds
  std::size_t policy = 0;                 ///< of kPublish
  std::int64_t skew = 0;                  ///< of kClock: how far the clock is off from now on, microseconds
};

struct History {
  std::uint64_t seed = 0;
  std::size_t nodes = 2;
  std::vector<std::string> first_rows{};  ///< statements; the rows are on all nodes
  /// A node, the last one, that has not met the others. Of two, neither has.
  bool newcomer = false;
  std::vector<std::string> own_rows{};  ///< of the newcomer, from before mbsync
  std::vector<std::int64_t> skews{};    ///< of the clocks, at first
  std::vector<Step> steps{};
};

History make_history(std::uint64_t seed, const Schema& schema);
std::string describe(const Step& step);
std::string describe(const History& history);
/// The name of a node: a, b, ...
std::string node_name(std::size_t node);

}  // namespace mbsync::checker
