// What is hard to come by in histories, where all meet in the end: members that stay away (CONFLICTS.md C22).
#include <array>
#include <catch2/catch.hpp>
#include <map>
#include <random>
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

/// Two nodes that have each gone on without the other, and have each taken others in. Nobody of one side hears of the
/// other until the link heals. Every row is written once.
class TwoSides {
 public:
  TwoSides(std::uint32_t seed, std::size_t first, std::size_t second, bool forgets) : random_(seed), forgets_(forgets) {
    const std::set<NodeId> both{NodeId{3}, NodeId{4}};
    for (const NodeId each : both) {
      nodes_.emplace_back(each, std::vector<ColumnNumber>{1, 2, 3}, both);
    }
    nodes_[0].write(1, {{1, Value{"old"}}}, kNow);
    meet(nodes_, 2);
    nodes_[0].declare_away(NodeId{4}, kNow);
    nodes_[1].declare_away(NodeId{3}, kNow);
    std::array<std::int64_t, 4> ids{1, 2, 5, 6};  // below and above
    std::shuffle(ids.begin(), ids.end(), random_);
    while (nodes_.size() < first + second) {
      const std::size_t side = nodes_.size() <= first ? 0 : 1;
      nodes_.emplace_back(NodeId{ids.at(nodes_.size() - 2)}, std::vector<ColumnNumber>{1, 2, 3});
      REQUIRE(nodes_.back().pull(nodes_[side], kNow));
      side_.push_back(side);
    }
  }

  void go_on_apart() {
    for (int step = 0; step < 40; ++step) {
      const auto node = below(nodes_.size());
      const auto other = below(nodes_.size());
      switch (below(forgets_ ? 5 : 4)) {
        case 0:
          nodes_[node].write(next_key_, {{1, Value{"new"}}}, kNow);
          writers_[next_key_++] = node;
          break;
        case 4:
          nodes_[node].forget();
          break;
        default:
          if (node != other && side_[node] == side_[other]) {
            pull(node, other);
          }
      }
    }
  }

  /// Whether all come together; else neither side takes anything from the other for ever.
  bool heal() {
    bool all = false;
    for (int round = 0; round < 30 && !all; ++round) {
      all = true;
      for (std::size_t node = 0; node < nodes_.size(); ++node) {
        for (std::size_t other = 0; other < nodes_.size(); ++other) {
          all = (node == other || pull(node, other)) && all;
        }
      }
    }
    if (all) {
      meet(nodes_, nodes_.size());
    }
    return all;
  }

  void check(bool together) const {
    for (std::size_t node = 0; node < nodes_.size(); ++node) {
      nodes_[node].check();
      for (const auto& [key, writer] : writers_) {
        CHECK((nodes_[node].row(key).has_value() || (!together && writer != node)));
      }
      CHECK((!together || (nodes_[node].rows() == nodes_[0].rows() && nodes_[node].live_writes() == 0)));
    }
  }

 private:
  std::size_t below(std::size_t count) { return random_() % count; }
  bool pull(std::size_t node, std::size_t other) { return nodes_[node].pull(nodes_[other], kNow, NodeId{next_id_++}); }

  std::mt19937 random_;
  bool forgets_;
  std::vector<Node> nodes_;
  std::vector<std::size_t> side_{0, 1};
  std::map<Key, std::size_t> writers_;
  Key next_key_ = 10;
  std::int64_t next_id_ = 100;
};

}  // namespace

TEST_CASE("away: two that each took others in come together or stay apart, and nothing is lost (C22)") {
  int together = 0;
  int apart = 0;
  for (const bool forgets : {false, true}) {
    for (const auto& [first, second] : {std::pair{1, 1}, {1, 2}, {2, 2}, {1, 3}, {2, 3}, {3, 3}}) {
      for (std::uint32_t seed = 1; seed <= 200; ++seed) {
        INFO("seed " << seed << " sides of " << first << " and " << second << " forgets " << forgets);
        TwoSides sides(seed, static_cast<std::size_t>(first), static_cast<std::size_t>(second), forgets);
        sides.go_on_apart();
        const bool all = sides.heal();
        sides.check(all);
        CHECK((all || first > 1));  // who is alone comes back
        ++(all ? together : apart);
      }
    }
  }
  CHECK(together > 800);
  CHECK(apart > 800);
}

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
