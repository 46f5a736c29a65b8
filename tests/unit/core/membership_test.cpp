#include "membership.h"

#include "core_literals.h"

namespace mbsync {

namespace {

const VersionVector kSeen = vector({{node(1), 5}, {node(2), 5}, {node(3), 5}});

/// Nodes 1 to `count`, seen from node 1.
Membership fleet(std::int64_t count, AwayNodes away = {}, std::set<NodeId> gone = {}) {
  Membership fleet{node(1), {}, std::move(away), std::move(gone)};
  for (std::int64_t id = 1; id <= count; ++id) {
    fleet.members.insert(node(id));
  }
  return fleet;
}

}  // namespace

TEST_CASE("membership: who is away is waited for until all others have heard it, and all of theirs is here (C22)") {
  const auto three = fleet(3, {{node(3), {dot(2, 5)}}});
  const auto agreed = [&](const VersionVector& report) { return agreed_away(three, kSeen, {{node(2), report}}); };
  CHECK(agreed(kSeen) == std::set<NodeId>{node(3)});
  CHECK(agreed(vector({{node(1), 5}, {node(2), 4}, {node(3), 5}})).empty());  // has not heard it
  CHECK(agreed(vector({{node(1), 5}, {node(2), 5}, {node(3), 6}})).empty());  // has more of the member's than is here
  CHECK(agreed(vector({{node(1), 5}, {node(2), 6}, {node(3), 5}})).empty());  // may have taken it back
  CHECK(agreed_away(three, kSeen, {}).empty());
}

TEST_CASE("membership: who has said that a member is away may take it back, unless away itself (C22)") {
  const std::map<NodeId, VersionVector> reports{{node(2), vector({{node(2), 4}})}};
  CHECK(agreed_away(fleet(3, {{node(3), {dot(2, 5)}}}), kSeen, reports).empty());
  CHECK(agreed_away(fleet(3, {{node(2), {dot(1, 5)}}, {node(3), {dot(2, 5)}}}), kSeen, reports) ==
        std::set<NodeId>{node(2), node(3)});
}

TEST_CASE("membership: who is away itself agrees to nothing (C22)") {
  CHECK(agreed_away(fleet(3, {{node(1), {}}, {node(3), {}}}), kSeen, {{node(2), kSeen}}).empty());
}

TEST_CASE("membership: more than half of the members have to stay, except of two (C22)") {
  CHECK(may_be_away(fleet(2), node(2)));
  CHECK(may_be_away(fleet(3), node(3)));
  CHECK_FALSE(may_be_away(fleet(3, {{node(2), {}}}), node(3)));
  CHECK(may_be_away(fleet(3, {{node(2), {}}}, {node(2)}), node(3)));  // once that is agreed, they are two
  CHECK(may_be_away(fleet(4), node(4)));
  CHECK_FALSE(may_be_away(fleet(4, {{node(2), {}}}), node(4)));
  CHECK(may_be_away(fleet(5, {{node(2), {}}}), node(4)));
  CHECK_FALSE(may_be_away(fleet(3), node(1)));
  CHECK_FALSE(may_be_away(fleet(3), node(9)));
  CHECK_FALSE(may_be_away(fleet(5, {{node(2), {}}}), node(2)));
  auto wishing = fleet(3, {{node(3), {}}});
  wishing.wishing = {node(3)};
  CHECK(may_be_away(wishing, node(2)));
}

TEST_CASE("membership: who is alone comes back to the other, and of two the one with the higher id (C22)") {
  const auto alone = fleet(3, {{node(2), {}}, {node(3), {}}});
  CHECK(is_alone(alone));
  CHECK(comes_back_to(alone, node(2), {node(2), node(4)}));
  CHECK_FALSE(comes_back_to(alone, node(2), {node(2)}));
  auto other = alone;
  other.self = node(2);
  other.away = {{node(1), {}}, {node(3), {}}};
  CHECK(comes_back_to(other, node(1), {node(1)}));
  CHECK_FALSE(is_alone(fleet(3, {{node(2), {}}})));
  CHECK_FALSE(comes_back_to(fleet(3, {{node(2), {}}}), node(2), {node(2), node(4)}));
}

TEST_CASE("membership: who is not alone comes back unless those have whom it has gone on without (C22)") {
  const auto two = fleet(3, {{node(2), {}}}, {node(2)});
  CHECK(comes_back_to(two, node(4), {node(4), node(5)}));
  CHECK_FALSE(comes_back_to(two, node(4), {node(2), node(4)}));
  CHECK(comes_back_to(fleet(3, {{node(2), {}}}), node(4), {node(2), node(4)}));  // that was never agreed
  CHECK(comes_back_to(two, node(4), {node(2), node(3), node(4)}));               // who is with both will tell
  CHECK(are_two_fleets(two, {node(2), node(4)}));
  CHECK_FALSE(are_two_fleets(two, {node(2), node(3)}));
  auto alone = fleet(2, {{node(2), {}}}, {node(2)});
  CHECK(comes_back_to(alone, node(4), {node(2), node(4)}));
}

TEST_CASE("membership: who has more of a node that is gone would bring it back (C22)") {
  const auto three = fleet(3, {{node(2), {}}, {node(3), {}}}, {node(3)});
  CHECK_FALSE(brings_somebody_back(three, kSeen, vector({{node(2), 6}, {node(3), 5}})));
  CHECK(brings_somebody_back(three, kSeen, vector({{node(3), 6}})));
}

TEST_CASE("membership: of several that say of a member that it is away, the one with the lowest id speaks (C22)") {
  auto both = fleet(4, {{node(4), {dot(1, 6), dot(2, 6)}}});
  CHECK(speaks_for(both, node(4)));
  both.self = node(2);
  CHECK_FALSE(speaks_for(both, node(4)));
  both.away[node(1)] = {};
  CHECK(speaks_for(both, node(4)));
  CHECK_FALSE(speaks_for(both, node(3)));
}

}  // namespace mbsync
