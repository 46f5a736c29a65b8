#include "version_vector.h"

#include "core_literals.h"

namespace mbsync {

TEST_CASE("version vector: covers the dots up to its counter and no other") {
  const VersionVector seen = vector({{node(1), 3}});
  CHECK(seen.covers(dot(1, 1)));
  CHECK(seen.covers(dot(1, 3)));
  CHECK_FALSE(seen.covers(dot(1, 4)));
  CHECK_FALSE(seen.covers(dot(2, 1)));
  CHECK(seen.counter(node(2)) == 0);
}

TEST_CASE("version vector: covers another if it has everything in it; vectors may cover each other in neither way") {
  const VersionVector small = vector({{node(1), 3}});
  const VersionVector large = vector({{node(1), 3}, {node(2), 1}});
  const VersionVector other = vector({{node(1), 1}, {node(2), 2}});
  CHECK(large.covers(small));
  CHECK_FALSE(small.covers(large));
  CHECK_FALSE(large.covers(other));
  CHECK_FALSE(other.covers(large));
  CHECK(small.covers(small));
  CHECK(small.covers(VersionVector{}));
  CHECK_FALSE(VersionVector{}.covers(small));
}

TEST_CASE("version vector: never goes back") {
  VersionVector seen;
  seen.advance(dot(1, 5));
  seen.advance(dot(1, 2));
  CHECK(seen.counter(node(1)) == 5);
  seen.advance(dot(1, 6));
  CHECK(seen.counter(node(1)) == 6);
}

TEST_CASE("version vector: merge takes the maximum and common the minimum per origin, both ways round") {
  const VersionVector a = vector({{node(1), 5}, {node(2), 1}});
  const VersionVector b = vector({{node(1), 2}, {node(3), 4}});
  VersionVector ab = a;
  ab.merge(b);
  VersionVector ba = b;
  ba.merge(a);
  CHECK(ab == ba);
  CHECK(ab == vector({{node(1), 5}, {node(2), 1}, {node(3), 4}}));
  CHECK(common(a, b) == vector({{node(1), 2}}));
  CHECK(common(b, a) == common(a, b));
  CHECK(common(a, VersionVector{}).empty());
}

TEST_CASE("version vector: an origin of which nothing is known is not stored") {
  CHECK(vector({{node(1), 0}, {node(2), -1}}).empty());
  VersionVector seen;
  seen.advance(dot(1, 0));
  CHECK(seen == VersionVector{});
}

TEST_CASE("version vector: the text form lists origins in order") {
  CHECK(VersionVector{}.to_string().empty());
  CHECK(vector({{node(0x0a), 4}, {node(0x1f), 17}}).to_string() == "000000000000000a:4 000000000000001f:17");
}

}  // namespace mbsync
