#include "stability.h"

#include "core_literals.h"

namespace mbsync {

namespace {

const NodeId kSelf = node(1);
const VersionVector kSeen = vector({{node(1), 5}, {node(2), 5}, {node(3), 5}});

}  // namespace

TEST_CASE("stability: what all members report is stable, and no more than is seen here (C8)") {
  const VersionVector stable = stable_vector(kSelf, kSeen, {node(1), node(2), node(3)},
                                             {{node(2), vector({{node(1), 3}, {node(2), 5}, {node(3), 9}})},
                                              {node(3), vector({{node(1), 4}, {node(2), 1}, {node(3), 5}})}});
  CHECK(stable == vector({{node(1), 3}, {node(2), 1}, {node(3), 5}}));
}

TEST_CASE("stability: a lone node keeps everything for the peer to come (C8)") {
  CHECK(stable_vector(kSelf, kSeen, {kSelf}, {}).empty());
  CHECK(stable_vector(kSelf, kSeen, {}, {}).empty());
}

TEST_CASE("stability: a member without a report holds nothing (C8)") {
  CHECK(stable_vector(kSelf, kSeen, {node(1), node(2), node(3)}, {{node(2), kSeen}}).empty());
}

TEST_CASE("stability: nothing is stable while a member's own writes, which its report covers, are missing here (C8)") {
  const std::set<NodeId> members{node(1), node(2), node(3)};
  const VersionVector ahead = vector({{node(1), 5}, {node(2), 6}, {node(3), 5}});
  CHECK(stable_vector(kSelf, kSeen, members, {{node(2), ahead}, {node(3), kSeen}}).empty());
  CHECK(stable_vector(kSelf, kSeen, members, {{node(2), kSeen}, {node(3), ahead}}) == kSeen);
}

TEST_CASE("stability: reports of nodes that are no members do not count, nor does an old one of oneself (C8)") {
  CHECK(stable_vector(kSelf, kSeen, {node(1), node(2)},
                      {{node(1), VersionVector{}}, {node(2), kSeen}, {node(9), vector({{node(9), 1}})}}) == kSeen);
}

TEST_CASE("stability: who is gone does not count (C8, C22)") {
  const std::set<NodeId> members{node(1), node(2), node(3)};
  CHECK(stable_vector(kSelf, kSeen, members, {{node(2), kSeen}}, {node(3)}) == kSeen);
  CHECK(stable_vector(kSelf, kSeen, members, {{node(2), kSeen}}).empty());
  CHECK(stable_vector(kSelf, kSeen, members, {}, {node(2), node(3)}).empty());  // it may be the one that comes back
}

TEST_CASE("stability: a row's writes are forgotten all at once or not at all (C8)") {
  const VersionVector stable = vector({{node(1), 3}, {node(2), 1}});
  CHECK(may_forget({dot(1, 3)}, stable));
  CHECK(may_forget({dot(1, 3), dot(2, 1)}, stable));
  CHECK_FALSE(may_forget({dot(1, 3), dot(2, 2)}, stable));
  CHECK_FALSE(may_forget({dot(3, 1)}, stable));
  CHECK_FALSE(may_forget({dot(1, 1)}, VersionVector{}));
}

}  // namespace mbsync
