// Replays histories of the Python model (convergence.py) on the real core, and compares rows and the number of live
// writes wherever the model tells them. Two programs that share nothing but CONFLICTS.md must agree step by step.
//
// MBSYNC_HISTORY_FILE=path   other histories than the stored ones; "-" is standard input
#include <catch2/catch.hpp>
#include <nlohmann/json.hpp>

#include <cstdlib>
#include <fstream>
#include <iostream>
#include <set>
#include <string>
#include <vector>

#include "sim_node.h"

namespace mbsync::sim {

namespace {

using Json = nlohmann::json;

ColumnNumber column_number(char name) {
  return static_cast<ColumnNumber>(name - 'a' + 1);
}

Value value_from(const Json& value) {
  return value.is_null() ? Value{} : Value{value.get<std::string>()};
}

std::map<Key, Values> rows_from(const Json& rows) {
  std::map<Key, Values> result;
  for (const auto& [key, values] : rows.items()) {
    for (std::size_t i = 0; i < values.size(); ++i) {
      result[std::stoi(key)][static_cast<ColumnNumber>(i) + 1] = value_from(values[i]);
    }
  }
  return result;
}

/// What differs between the node and the model; nothing if they agree.
std::string difference(const Node& node, const Json& rows, const Json& live) {
  const auto expected = rows_from(rows);
  if (node.rows() != expected) {
    return "rows of the model\n" + to_string(expected) + "rows here\n" + to_string(node.rows());
  }
  if (node.live_writes() != live.get<std::size_t>()) {
    return "live writes of the model " + live.dump() + ", here " + std::to_string(node.live_writes());
  }
  return "";
}

class Replay {
 public:
  explicit Replay(const Json& history) {
    const auto count = history.at("nodes").get<std::int64_t>();
    std::set<NodeId> fleet;
    for (std::int64_t i = 1; i <= count; ++i) {
      fleet.insert(NodeId{i});
    }
    for (const NodeId id : fleet) {
      nodes_.emplace_back(id, std::vector<ColumnNumber>{1, 2, 3}, fleet);
    }
  }

  /// Does one step; what then differs from the model.
  std::string run(const Json& step) {
    const auto kind = step.at(0).get<std::string>();
    if (kind == "e") {
      std::string all;
      for (std::size_t i = 0; i < nodes_.size(); ++i) {
        all += difference(nodes_[i], step.at(1), step.at(2).at(i));
      }
      return all;
    }
    Node& node = nodes_.at(step.at(1).get<std::size_t>());
    if (kind == "w") {
      Values values;
      for (const auto& [name, value] : step.at(4).items()) {
        values[column_number(name.at(0))] = value_from(value);
      }
      node.write(step.at(2).get<Key>(), values, WriteTime{step.at(3).get<std::int64_t>()});
      node.seal();
    } else if (kind == "d") {
      node.erase(step.at(2).get<Key>(), WriteTime{step.at(3).get<std::int64_t>()});
      node.seal();
    } else if (kind == "p") {
      node.pull(nodes_.at(step.at(2).get<std::size_t>()));
      node.check();
      return step.size() > 3 ? difference(node, step.at(3), step.at(4)) : "";
    } else if (kind == "f") {
      node.forget();
      return node.live_writes() == step.at(2).get<std::size_t>() ? "" : "another number of live writes is left";
    } else {
      return "a step of an unknown kind";
    }
    return "";
  }

 private:
  std::vector<Node> nodes_;
};

std::size_t replay_all(std::istream& lines) {
  std::size_t count = 0;
  for (std::string line; std::getline(lines, line); ++count) {
    const Json history = Json::parse(line);
    Replay replay(history);
    std::size_t number = 0;
    for (const Json& step : history.at("steps")) {
      const std::string differing = replay.run(step);
      if (!differing.empty()) {
        INFO("history with seed " << history.at("seed") << ", step " << number << " " << step);
        FAIL(differing);
      }
      ++number;
    }
  }
  return count;
}

}  // namespace

TEST_CASE("model: the core makes of each history what the model makes of it (C1 to C8)") {
  const char* named = std::getenv("MBSYNC_HISTORY_FILE");
  const std::string path = named == nullptr ? MBSYNC_STORED_HISTORIES : named;
  std::size_t count = 0;
  if (path == "-") {
    count = replay_all(std::cin);
  } else {
    std::ifstream file(path);
    REQUIRE(file.is_open());
    count = replay_all(file);
  }
  INFO(count << " histories");
  CHECK(count >= 100);
}

}  // namespace mbsync::sim
