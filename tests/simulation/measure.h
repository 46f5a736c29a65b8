// What a fleet costs and how fast it is, as one line of the table.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "sim_fleet.h"

namespace mbsync::simulation {

struct Load {
  int writes_a_minute = 60;  ///< by the whole fleet, each by a node taken by chance
  int churn = 0;             ///< nodes whose process ends, a minute; each is back after half a minute
  bool partition = false;    ///< the fleet is in two halves for the first half of the time
  milliseconds duration{120'000};
};

struct Cost {
  double messages = 0;  ///< a node and minute: requests, answers and pings, each where it is sent
  double kilobytes = 0;
  double busiest = 0;  ///< kilobytes of the node that sends most
};

struct Line {
  int nodes = 0;
  std::int64_t refused = 0;  ///< messages over the limit; then nothing else counts
  Cost idle;
  Cost load;
  double median_ms = 0;  ///< until all have a write
  double worst_ms = 0;
  int hops = 0;
  double copies = 0;                  ///< how often a node is sent a write
  std::optional<double> all_have_s;   ///< from the last write until all have all; nothing: not within ten minutes
  std::optional<double> forgotten_s;  ///< and until nothing of it is left in mbsync.change
};

Line measure(const FleetOptions& options, const Load& load);

std::string table(const std::vector<Line>& lines);
/// Kilobytes a node and minute, idle and under load, over the number of nodes; both axes logarithmic.
std::string plot(const std::vector<Line>& lines);

}  // namespace mbsync::simulation
