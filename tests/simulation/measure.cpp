#include "measure.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

namespace mbsync::simulation {
namespace {

constexpr milliseconds kMinute{60'000};
constexpr milliseconds kPatience{600'000};

Cost cost_of(const Fleet& fleet, milliseconds duration) {
  const double minutes = static_cast<double>(duration.count()) / static_cast<double>(kMinute.count());
  Cost cost;
  const auto traffic = fleet.traffic();
  for (const auto& node : traffic) {
    const double kilobytes = static_cast<double>(node.bytes) / 1000 / minutes;
    cost.messages += static_cast<double>(node.requests + node.answers + node.pings) / minutes;
    cost.kilobytes += kilobytes;
    cost.busiest = std::max(cost.busiest, kilobytes);
  }
  cost.messages /= static_cast<double>(traffic.size());
  cost.kilobytes /= static_cast<double>(traffic.size());
  return cost;
}

std::int64_t refused(const Fleet& fleet) {
  std::int64_t count = 0;
  for (const auto& node : fleet.traffic()) {
    count += node.refused;
  }
  return count;
}

std::optional<double> seconds_until(Fleet& fleet, const std::function<bool()>& condition) {
  const auto begun = fleet.now();
  if (!fleet.run_until(condition, kPatience)) {
    return std::nullopt;
  }
  return static_cast<double>((fleet.now() - begun).count()) / 1000;
}

void run_under_load(Fleet& fleet, const Load& load, test::Rng& chance) {
  constexpr milliseconds kAway{30'000};
  const auto size = static_cast<std::uint64_t>(fleet.size());
  const auto begun = fleet.now();
  const auto every = kMinute / std::max(load.writes_a_minute, 1);
  auto next_write = begun;
  auto next_stop = load.churn > 0 ? begun + kMinute / load.churn : begun + 2 * load.duration;
  std::multimap<milliseconds, int> back;
  if (load.partition) {
    std::vector<int> groups;
    for (int i = 0; i < fleet.size(); ++i) {
      groups.push_back(i % 2);
    }
    fleet.part(std::move(groups));
  }
  bool healed = !load.partition;
  while (fleet.now() < begun + load.duration) {
    if (load.writes_a_minute > 0 && fleet.now() >= next_write) {
      fleet.write(static_cast<int>(chance.below(size)));
      next_write += every;
    }
    if (fleet.now() >= next_stop) {
      const int node = static_cast<int>(chance.below(size));
      fleet.stop(node);
      back.emplace(fleet.now() + kAway, node);
      next_stop += kMinute / load.churn;
    }
    for (; !back.empty() && back.begin()->first <= fleet.now(); back.erase(back.begin())) {
      fleet.start(back.begin()->second);
    }
    if (!healed && fleet.now() >= begun + load.duration / 2) {
      fleet.heal();
      healed = true;
    }
    fleet.run_for(std::min(every, milliseconds{500}));
  }
  for (const auto& [time, node] : back) {
    fleet.start(node);
  }
}

std::string kilo(double kilobytes) {
  return kilobytes < 10 ? fmt::format("{:.1f}", kilobytes) : fmt::format("{:.0f}", kilobytes);
}

std::string seconds(const std::optional<double>& value) {
  return value ? fmt::format("{:.1f}", *value) : "over 600";
}

}  // namespace

Line measure(const FleetOptions& options, const Load& load) {
  Fleet fleet(options);
  test::Rng chance(options.seed + 1);
  Line line;
  line.nodes = options.nodes;
  fleet.run_for(2 * kMinute);  // all have met
  fleet.reset_traffic();
  fleet.run_for(load.duration);
  line.idle = cost_of(fleet, load.duration);
  line.refused = refused(fleet);
  if (line.refused > 0) {
    return line;
  }
  fleet.reset_traffic();
  run_under_load(fleet, load, chance);
  line.load = cost_of(fleet, load.duration);
  const auto traffic = fleet.traffic();
  line.all_have_s = seconds_until(fleet, [&] { return fleet.all_have_all(); });
  line.forgotten_s = seconds_until(fleet, [&] { return fleet.live_writes() == 0; });
  std::vector<double> times;
  for (const auto& write : fleet.writes()) {
    if (write.copies == fleet.size()) {
      times.push_back(static_cast<double>((write.last - write.made).count()));
    }
    for (const auto hops : write.hops) {
      line.hops = std::max(line.hops, static_cast<int>(hops));
    }
  }
  if (!times.empty()) {
    std::sort(times.begin(), times.end());
    line.median_ms = times[times.size() / 2];
    line.worst_ms = times.back();
    std::int64_t rows = 0;
    for (const auto& node : traffic) {
      rows += node.rows;
    }
    line.copies = static_cast<double>(rows) / static_cast<double>(fleet.writes().size()) /
                  static_cast<double>(std::max(fleet.size() - 1, 1));
  }
  line.refused = refused(fleet);
  return line;
}

std::string table(const std::vector<Line>& lines) {
  std::string text =
      "| nodes | idle: messages | KB | under load: messages | KB | busiest node, KB | all have a write after: median | "
      "longest | hops | copies | forgotten after |\n"
      "| ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |\n";
  for (const auto& line : lines) {
    if (line.refused > 0) {
      text += fmt::format("| {} | does not work: messages are longer than the limit of 1 MiB |\n", line.nodes);
      continue;
    }
    text += fmt::format("| {} | {:.0f} | {} | {:.0f} | {} | {} | {:.0f} ms | {:.0f} ms | {} | {:.1f} | {} s |\n",
                        line.nodes, line.idle.messages, kilo(line.idle.kilobytes), line.load.messages,
                        kilo(line.load.kilobytes), kilo(line.load.busiest), line.median_ms, line.worst_ms, line.hops,
                        line.copies, seconds(line.forgotten_s));
  }
  return text;
}

std::string plot(const std::vector<Line>& lines) {
  constexpr int kWidth = 61;
  constexpr int kHeight = 13;
  constexpr double kMostNodes = 1000;
  const double most = 10'000;
  const double least = 10;
  const auto place = [](double value, double from, double to, int steps) {
    const auto share = std::log(std::max(value, from) / from) / std::log(to / from);
    return std::clamp(static_cast<int>(std::lround(share * (steps - 1))), 0, steps - 1);
  };
  std::vector<std::string> rows(kHeight, std::string(kWidth, ' '));
  for (const auto& line : lines) {
    if (line.refused > 0) {
      continue;
    }
    const auto column = static_cast<std::size_t>(place(line.nodes, 2, kMostNodes, kWidth));
    rows[static_cast<std::size_t>(place(line.load.kilobytes, least, most, kHeight))][column] = 'L';
    rows[static_cast<std::size_t>(place(line.idle.kilobytes, least, most, kHeight))][column] = 'i';
  }
  std::string text = "KB a node and minute (i idle, L under load)\n";
  for (int row = kHeight - 1; row >= 0; --row) {
    const double share = static_cast<double>(row) / (kHeight - 1);
    const auto label = row % 4 == 0 ? fmt::format("{:.0f}", least * std::pow(most / least, share)) : std::string();
    auto line = fmt::format("{:>7} |{}", label, rows[static_cast<std::size_t>(row)]);
    line.erase(line.find_last_not_of(' ') + 1);
    text += line + "\n";
  }
  std::string axis(kWidth + 4, ' ');
  for (const int nodes : {2, 5, 20, 100, 300, 1000}) {
    axis.replace(static_cast<std::size_t>(place(nodes, 2, kMostNodes, kWidth)), std::to_string(nodes).size(),
                 std::to_string(nodes));
  }
  axis.erase(axis.find_last_not_of(' ') + 1);
  return text + "        +" + std::string(kWidth, '-') + "\n         " + axis + " nodes\n";
}

}  // namespace mbsync::simulation
