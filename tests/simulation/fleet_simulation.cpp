// Prints what fleets of growing size cost a node, and how long a write takes: the table and the plot in the README of
// libsync/service.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <cstdio>

#include "measure.h"

using namespace mbsync::simulation;

int main(int argc, char** argv) {
  CLI::App app{"fleets in virtual time: cost of a node, and time until all have a write"};
  std::vector<int> sizes{2, 5, 10, 20, 50, 100, 200, 500, 1000};
  FleetOptions options;
  Load load;
  int seconds = static_cast<int>(load.duration.count() / 1000);
  app.add_option("--nodes", sizes, "sizes of fleets, one line each")->check(CLI::Range(2, 10'000));
  app.add_option("--live", options.live_peers, "SYNC_LIVE_PEERS")->check(CLI::Range(2, 64));
  app.add_option("--seconds", seconds, "how long each part is")->check(CLI::Range(1, 100'000));
  app.add_option("--writes", load.writes_a_minute, "by the whole fleet, a minute")->check(CLI::Range(0, 60'000));
  app.add_option("--churn", load.churn, "nodes that end, a minute; each is back after half a minute")
      ->check(CLI::Range(0, 1000));
  app.add_flag("--partition", load.partition, "two halves that do not reach each other, for half of the loaded part");
  app.add_flag("--hub", options.hub, "one node that all others name, and no other way");
  app.add_option("--seed", options.seed, "another one gives another run");
  CLI11_PARSE(app, argc, argv);
  load.duration = milliseconds{1000} * seconds;
  options.named = options.hub;

  std::vector<Line> lines;
  for (const int nodes : sizes) {
    options.nodes = nodes;
    lines.push_back(measure(options, load));
    fmt::print(stderr, "{} nodes: done\n", nodes);
  }
  fmt::print("{}\n{}", table(lines), plot(lines));
  return 0;
}
