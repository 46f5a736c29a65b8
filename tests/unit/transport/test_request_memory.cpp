#include "request_memory.h"

#include <catch2/catch.hpp>

#include "fakes.h"

using namespace mbsync;
using namespace mbsync::test;

namespace {

PullRequest numbered(int i) {
  auto request = some_request();
  request.seen.advance({NodeId{0x2b}, i + 1});
  return request;
}

}  // namespace

TEST_CASE("request memory: what was said is found under the name of its contents, whoever said it") {
  RequestMemory memory(3);
  CHECK_FALSE(memory.find(base_name_of(numbered(0))));
  memory.keep(numbered(0));
  auto other = numbered(0);
  other.sender = {NodeId{0x77}, "somebody else"};
  other.wait_ms = 5;
  const auto found = memory.find(base_name_of(other));
  REQUIRE(found);
  CHECK(found->seen == other.seen);
  CHECK(found->members == other.members);
  CHECK_FALSE(memory.find(base_name_of(numbered(1))));
  CHECK(base_name_of(other).size() == 32);
}

TEST_CASE("request memory: it forgets what has not been asked for longest") {
  RequestMemory memory(3);
  for (int i = 0; i < 3; ++i) {
    memory.keep(numbered(i));
  }
  CHECK(memory.find(base_name_of(numbered(0))));
  memory.keep(numbered(2));  // again, which takes no place
  memory.keep(numbered(3));
  CHECK(memory.find(base_name_of(numbered(0))));
  CHECK_FALSE(memory.find(base_name_of(numbered(1))));
  CHECK(memory.find(base_name_of(numbered(2))));
  CHECK(memory.find(base_name_of(numbered(3))));
}

TEST_CASE("request memory: what names more than a fleet has is not kept") {
  RequestMemory memory(3);
  auto large = numbered(0);
  for (std::int64_t id = 1; id <= 5'000; ++id) {
    large.seen.advance({NodeId{id}, 1});
  }
  memory.keep(large);
  CHECK_FALSE(memory.find(base_name_of(large)));
}
