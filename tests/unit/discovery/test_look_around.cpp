#include "look_around.h"

#include <catch2/catch.hpp>

#include "dns_sd_source.h"
#include "fake_daemon.h"
#include "static_source.h"

using namespace mbsync;
using namespace mbsync::test;
using namespace std::chrono_literals;

namespace {

using Clock = std::chrono::steady_clock;

DnsSdSource::Options options() {
  DnsSdSource::Options made;
  made.load = FakeDaemon::api;
  return made;
}

}  // namespace

TEST_CASE("look around: it ends soon after what was looked for is there") {
  FakeDaemon daemon;
  daemon.set_addresses("two.local.", {"10.0.0.2"});
  daemon.add("two", {1, "two.local.", 8765, to_txt({1, NodeId{0x22}, "f1", "b1"})});
  DnsSdSource source(options());
  const auto begun = Clock::now();
  const auto around = look_around(source, 60s, [](const auto& seen) { return seen.size() == 1; });
  CHECK(Clock::now() - begun < 30s);
  CHECK_FALSE(around.failure);
  REQUIRE(around.seen.size() == 1);
  CHECK(around.seen[0].name == "two");
  CHECK(around.seen[0].addresses == std::vector<PeerAddress>{{"10.0.0.2", 8765}});
  CHECK(daemon.announced().empty());
}

TEST_CASE("look around: who is not there is not waited for longer than is said, and others are seen all the same") {
  StaticSource source({{"10.0.0.2", 8765}, {"10.0.0.3", 8765}});
  const auto begun = Clock::now();
  const auto around = look_around(source, 300ms, [](const auto&) { return false; });
  CHECK(Clock::now() - begun >= 300ms);
  CHECK(around.seen.size() == 2);
  CHECK_FALSE(around.failure);
}

TEST_CASE("look around: without a daemon nobody waits at all") {
  FakeDaemon daemon;
  daemon.go_away();
  DnsSdSource source(options());
  const auto begun = Clock::now();
  const auto around = look_around(source, 60s, [](const auto&) { return false; });
  CHECK(Clock::now() - begun < 30s);
  REQUIRE(around.failure);
  CHECK_THAT(around.failure->text(), Catch::Contains("daemon does not answer"));
}
