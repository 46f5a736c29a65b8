// What is hard to come by in histories, where all meet in the end: members that stay away (CONFLICTS.md C22).
#include <catch2/catch.hpp>
#include <vector>

#include "sim_node.h"

namespace mbsync::sim {
namespace {

constexpr WriteTime kNow{1};

NodeId id(std::size_t place) {
  return NodeId{static_cast<std::int64_t>(place) + 1};
}

std::vector<Node> fleet_of(std::size_t count) {
  std::set<NodeId> members;
  for (std::size_t place = 0; place < count; ++place) {
    members.insert(id(place));
  }
  std::vector<Node> nodes;
  for (std::size_t place = 0; place < count; ++place) {
    nodes.emplace_back(id(place), std::vector<ColumnNumber>{1, 2, 3}, members);
  }
  return nodes;
}

/// The first `count` of them, often enough for whatever it is.
void meet(std::vector<Node>& nodes, std::size_t count) {
  for (int round = 0; round < 10; ++round) {
    for (std::size_t one = 0; one < count; ++one) {
      for (std::size_t other = 0; other < count; ++other) {
        if (one != other) {
          nodes[one].pull(nodes[other], kNow);
        }
      }
      nodes[one].forget();
    }
  }
}

}  // namespace

TEST_CASE("away: a fleet forgets what a member that is away has not got (C22)") {
  auto nodes = fleet_of(4);
  nodes[0].write(1, {{1, Value{"a"}}}, kNow);
  meet(nodes, 3);
  CHECK(nodes[1].live_writes() == 1);
  nodes[0].declare_away(id(3), kNow);
  meet(nodes, 3);
  for (std::size_t place = 0; place < 3; ++place) {
    CHECK(nodes[place].live_writes() == 0);
    CHECK(nodes[place].is_away(id(3)));
  }
}

TEST_CASE("away: it may be said by several at the same time (C22)") {
  auto nodes = fleet_of(5);
  nodes[0].write(1, {{1, Value{"a"}}}, kNow);
  meet(nodes, 4);
  for (const std::size_t place : {0, 1, 2}) {
    nodes[place].declare_away(id(4), kNow);
  }
  meet(nodes, 4);
  for (std::size_t place = 0; place < 4; ++place) {
    CHECK(nodes[place].live_writes() == 0);
  }
}

TEST_CASE("away: who has said it and is away itself does not hold up the others (C22)") {
  auto nodes = fleet_of(6);
  nodes[0].declare_away(id(5), kNow);
  nodes[1].declare_away(id(5), kNow);
  for (std::size_t place = 1; place < 5; ++place) {
    nodes[place].pull(nodes[0], kNow);
  }
  nodes[2].declare_away(id(0), kNow);
  nodes.front().write(1, {{1, Value{"nobody has this"}}}, kNow);
  std::vector<Node> rest(nodes.begin() + 1, nodes.end());
  meet(rest, 4);
  for (std::size_t place = 0; place < 4; ++place) {
    CHECK(rest[place].live_writes() == 0);
  }
}

TEST_CASE("away: who has joined by one that was gone is told to come back as another (C22)") {
  auto nodes = fleet_of(3);
  nodes[2].write(1, {{1, Value{"of one that is gone"}}}, kNow);
  nodes[0].declare_away(id(2), kNow);
  meet(nodes, 2);
  nodes.emplace_back(id(3), std::vector<ColumnNumber>{1, 2, 3});
  CHECK(nodes[3].pull(nodes[2], kNow));
  CHECK_FALSE(nodes[0].pull(nodes[3], kNow));
  CHECK_FALSE(nodes[3].pull(nodes[0], kNow, id(4)));
  meet(nodes, 2);
  CHECK(nodes[3].pull(nodes[0], kNow, id(4)));
  CHECK(nodes[3].id() == id(4));
  CHECK(nodes[0].pull(nodes[3], kNow));
  CHECK(nodes[0].row(1).has_value());
}

TEST_CASE("away: several that have joined by one that was gone do not keep each other out (C22)") {
  auto nodes = fleet_of(3);
  nodes[0].declare_away(id(2), kNow);
  meet(nodes, 2);
  nodes[2].write(1, {{1, Value{"of one that is gone"}}}, kNow);
  for (const std::size_t place : {3, 4}) {
    nodes.emplace_back(id(place), std::vector<ColumnNumber>{1, 2, 3});
    CHECK(nodes[place].pull(nodes[2], kNow));
  }
  CHECK(nodes[3].pull(nodes[4], kNow));
  for (int round = 0; round < 6; ++round) {
    for (const std::size_t place : {2, 3, 4}) {
      nodes[place].pull(nodes[0], kNow, NodeId{nodes[place].id().value + 10});
      nodes[0].pull(nodes[place], kNow);
    }
    meet(nodes, 2);
  }
  for (const auto& node : nodes) {
    CHECK(node.row(1).has_value());
    CHECK(node.id().value != 3);
  }
}

TEST_CASE("away: of two that were away together, the second does not undo what came after the first (C22)") {
  auto nodes = fleet_of(5);
  nodes[3].write(1, {{1, Value{"of c"}}}, kNow);
  nodes[3].write(2, {{1, Value{"of c"}}}, kNow);
  nodes[4].pull(nodes[3], kNow);
  for (const std::size_t place : {3, 4}) {
    nodes[0].declare_away(id(place), kNow);
    meet(nodes, 3);
  }
  CHECK(nodes[3].pull(nodes[0], kNow, id(10)));
  meet(nodes, 4);
  nodes[1].write(1, {{1, Value{"corrected"}}}, kNow);
  nodes[1].erase(2, kNow);
  meet(nodes, 4);
  CHECK(nodes[0].live_writes() == 0);
  CHECK(nodes[4].pull(nodes[0], kNow, id(11)));
  meet(nodes, 5);
  for (const auto& node : nodes) {
    CHECK(node.row(1)->at(1) == Value{"corrected"});
    CHECK_FALSE(node.row(2).has_value());
  }
}

TEST_CASE("away: who is there can be taken back although the one that has said it is gone (C22)") {
  auto nodes = fleet_of(3);
  nodes[0].declare_away(id(2), kNow);
  nodes[1].pull(nodes[0], kNow);
  nodes[2].write(1, {{1, Value{"of c"}}}, kNow);
  CHECK_FALSE(nodes[2].pull(nodes[1], kNow));
  nodes[1].declare_away(id(0), kNow);
  for (int round = 0; round < 4; ++round) {
    nodes[2].pull(nodes[1], kNow, id(10));
    nodes[1].pull(nodes[2], kNow);
  }
  CHECK(nodes[1].row(1).has_value());
}

}  // namespace mbsync::sim
