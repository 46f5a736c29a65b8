// A log that is flooded hides what matters and fills the disk. So what is said again and again is counted: the line,
// word for word, or, below level error, many lines of one kind. Errors are counted by their whole text alone, so that
// no object's error is lost behind another's. Pure; one thread at a time.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <tuple>
#include <vector>

#include "log.h"

namespace mbsync {

/// For so long lines are counted together; then it is said how many there were.
inline constexpr std::chrono::seconds kFloodWindow{30};
/// So often a line is written in that time, word for word the same, before it is counted: what happens twice is two
/// events.
inline constexpr std::int64_t kSameLinesMax = 5;
/// The same for lines of one kind, which differ in their values: a fleet of a thousand nodes may well have something to
/// say of some hundred.
inline constexpr std::int64_t kSameKindMax = 200;
/// Lines that are kept to be compared with. While there are more, they are written as they come.
inline constexpr std::size_t kFloodLinesKept = 1'000;

class FloodGate {
 public:
  using Time = std::chrono::steady_clock::time_point;
  struct Line {
    LogLevel level = LogLevel::kInfo;
    std::string domain;
    std::string text;
  };

  /// Whether the line is to be written. `format`: what all lines of its kind have in common; empty: nothing.
  bool admit(LogLevel level, std::string_view domain, std::string_view text, std::string_view format, Time now);
  /// What is to be said of lines that were counted, once their time is up, or of all.
  std::vector<Line> due(Time now, bool all = false);

 private:
  struct Count {
    Time since;
    std::int64_t written = 0;
    std::int64_t held_back = 0;
    std::string last;  ///< of a kind: the line that came last
  };
  using Key = std::tuple<LogLevel, std::string, std::string>;
  using Counts = std::map<Key, Count>;

  static bool count(Counts& counts, Key key, std::int64_t most, std::string_view text, Time now);
  static void collect(Counts& counts, bool of_kind, Time now, bool all, std::vector<Line>& lines);

  Counts lines_;
  Counts kinds_;
  Time next_;
};

}  // namespace mbsync
