#include <algorithm>
#include <catch2/catch.hpp>
#include <deque>
#include <map>
#include <random>
#include <set>
#include <vector>

#include "peer_plan.h"

using namespace mbsync;

namespace {

std::vector<PeerCandidate> all_up(int count) {
  std::vector<PeerCandidate> all;
  all.reserve(static_cast<std::size_t>(count));
  std::mt19937_64 random(static_cast<std::uint64_t>(count));
  for (int i = 0; i < count; ++i) {
    all.push_back({NodeId{static_cast<std::int64_t>(random() >> 1) + 1}, true});
  }
  return all;
}

// The longest way of a write, in hops, if each node listens to those that it chooses; -1 if there is none.
int diameter(const std::vector<PeerCandidate>& nodes, std::size_t max) {
  std::map<NodeId, std::vector<NodeId>> told;  // by whom it is listened to
  for (const auto& node : nodes) {
    for (const auto chosen : choose_live(node.node, nodes, max)) {
      told[chosen].push_back(node.node);
    }
  }
  int longest = 0;
  for (std::size_t i = 0; i < nodes.size(); i += std::max<std::size_t>(1, nodes.size() / 20)) {
    std::map<NodeId, int> hops{{nodes[i].node, 0}};
    std::deque<NodeId> open{nodes[i].node};
    while (!open.empty()) {
      const auto at = open.front();
      open.pop_front();
      for (const auto next : told[at]) {
        if (hops.emplace(next, hops[at] + 1).second) {
          open.push_back(next);
        }
      }
    }
    if (hops.size() != nodes.size()) {
      return -1;
    }
    const auto farthest =
        std::max_element(hops.begin(), hops.end(), [](const auto& a, const auto& b) { return a.second < b.second; });
    longest = std::max(longest, farthest->second);
  }
  return longest;
}

}  // namespace

TEST_CASE("plan: all while there is room, those that are down as well") {
  auto nodes = all_up(9);
  nodes[3].up = false;
  const auto chosen = choose_live(nodes[0].node, nodes, 8);
  CHECK(chosen.size() == 8);
  CHECK(std::find(chosen.begin(), chosen.end(), nodes[0].node) == chosen.end());
  CHECK(choose_live(NodeId{5}, {}, 8).empty());
}

TEST_CASE("plan: never more than the maximum, none that is down while others are up, none twice") {
  for (const int count : {10, 11, 17, 20, 100, 1000}) {
    for (const std::size_t max : {2U, 3U, 4U, 7U, 8U}) {
      auto nodes = all_up(count);
      for (std::size_t i = 0; i < nodes.size(); i += 10) {
        nodes[i].up = i != 0;
      }
      const auto chosen = choose_live(nodes[1].node, nodes, max);
      const std::set<NodeId> different(chosen.begin(), chosen.end());
      CHECK(different.size() == chosen.size());
      CHECK(chosen.size() == max);
      CHECK_FALSE(different.contains(nodes[0].node));
    }
  }
}

TEST_CASE("plan: the graph is connected and short, whatever the size") {
  const std::map<int, int> hops_max{{2, 1}, {9, 1}, {10, 2}, {20, 3}, {50, 4}, {100, 5}, {300, 7}, {1000, 9}};
  for (const auto& [count, most] : hops_max) {
    const auto longest = diameter(all_up(count), kLivePeersDefault);
    INFO(count << " nodes: " << longest << " hops");
    CHECK(longest > 0);
    CHECK(longest <= most);
  }
  CHECK(diameter(all_up(100), 2) > 0);
}

TEST_CASE("plan: who chooses a node is chosen by it") {
  const auto nodes = all_up(50);
  for (const auto& node : nodes) {
    for (const auto chosen : choose_live(node.node, nodes, 8)) {
      const auto back = choose_live(chosen, nodes, 8);
      CHECK(std::find(back.begin(), back.end(), node.node) != back.end());
    }
  }
}
