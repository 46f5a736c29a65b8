#include <fmt/format.h>
#include <net/if.h>

#include <catch2/catch.hpp>
#include <chrono>
#include <string>
#include <vector>

#include "dns_sd_source.h"
#include "fake_daemon.h"
#include "recorder.h"
#include "wait_until.h"

using namespace mbsync;
using namespace mbsync::test;
using namespace std::chrono_literals;

namespace {

const NodeId kSelf{0x11};
const NodeId kOther{0x22};
const std::uint32_t kLoopback = if_nametoindex("lo");

DnsSdSource::Options options() {
  DnsSdSource::Options made;
  made.name = "till";
  made.port = 8765;
  made.announcement = {1, kSelf, "f1", "a1"};
  made.load = FakeDaemon::api;
  return made;
}

FakeDaemon::Service service(const std::string& host, const Announcement& said) {
  return {kLoopback, host, 8765, to_txt(said)};
}

// Hears of `count` peers in all, in time.
bool hears(const Recorder& recorder, std::size_t count) {
  return wait_until(5s, [&] { return recorder.found().size() >= count; });
}

}  // namespace

TEST_CASE("mdns: a peer with its addresses, likeliest first; and its end") {
  FakeDaemon daemon;
  daemon.set_addresses("two.local.", {"fe80::1", "2001:db8::5", "10.0.0.2", "192.168.1.2"});
  daemon.add("two", service("two.local.", {1, kOther, "f1", "b1"}));
  Recorder recorder;
  DnsSdSource source(options());
  source.start(recorder);
  REQUIRE(hears(recorder, 1));
  const auto sighting = recorder.found()[0];
  CHECK(sighting.handle == "two (lo)");
  CHECK(
      sighting.addresses ==
      std::vector<PeerAddress>{{"10.0.0.2", 8765}, {"192.168.1.2", 8765}, {"2001:db8::5", 8765}, {"fe80::1%lo", 8765}});
  REQUIRE(sighting.said);
  CHECK(*sighting.said == Announcement{1, kOther, "f1", "b1"});
  CHECK(recorder.works() == 1);
  CHECK(recorder.failures().empty());

  daemon.remove("two");
  CHECK(wait_until(5s, [&] { return recorder.lost() == std::vector<std::string>{"two (lo)"}; }));
}

TEST_CASE("mdns: this node says who it is, and does not hear itself; a copy of it is heard") {
  FakeDaemon daemon;
  daemon.set_addresses("one.local.", {"10.0.0.1"});
  daemon.set_addresses("copy.local.", {"10.0.0.9"});
  daemon.add("till", service("one.local.", options().announcement));
  Recorder recorder;
  DnsSdSource source(options());
  source.start(recorder);
  REQUIRE(wait_until(5s, [&] { return daemon.announced().size() == 1; }));
  CHECK(*parse_txt(daemon.announced()[0]) == options().announcement);
  daemon.add("till #2", service("copy.local.", {1, kSelf, "f1", "c1"}));
  REQUIRE(hears(recorder, 1));
  CHECK(recorder.found()[0].handle == "till #2 (lo)");

  source.announce({1, kSelf, "f2", "a1"});
  REQUIRE(wait_until(5s, [&] { return daemon.announced().size() == 2; }));
  CHECK(parse_txt(daemon.announced()[1])->fleet == "f2");
}

TEST_CASE("mdns: addresses that have changed are looked up again when they are asked for") {
  FakeDaemon daemon;
  daemon.set_addresses("two.local.", {"10.0.0.2"});
  daemon.add("two", service("two.local.", {1, kOther, "f1", "b1"}));
  Recorder recorder;
  DnsSdSource source(options());
  source.start(recorder);
  REQUIRE(hears(recorder, 1));
  daemon.set_addresses("two.local.", {"10.0.0.7"});
  source.look_again("two (lo)");
  REQUIRE(hears(recorder, 2));
  CHECK(recorder.found()[1].addresses == std::vector<PeerAddress>{{"10.0.0.7", 8765}});
  CHECK(recorder.lost().empty());
}

TEST_CASE("mdns: a peer whose address nobody knows is heard of, without one") {
  FakeDaemon daemon;
  daemon.add("two", service("two.local.", {1, kOther, "f1", "b1"}));
  Recorder recorder;
  DnsSdSource source(options());
  source.start(recorder);
  REQUIRE(hears(recorder, 1));
  CHECK(recorder.found()[0].addresses.empty());
  daemon.set_addresses("two.local.", {"10.0.0.2"});
  REQUIRE(hears(recorder, 2));
  CHECK(recorder.found()[1].addresses.size() == 1);
}

TEST_CASE("mdns: without a daemon that is said, and when it comes it is used; when it goes its peers are lost") {
  FakeDaemon daemon;
  daemon.set_addresses("two.local.", {"10.0.0.2"});
  daemon.add("two", service("two.local.", {1, kOther, "f1", "b1"}));
  daemon.go_away();
  Recorder recorder;
  DnsSdSource source(options());
  source.start(recorder);
  REQUIRE(wait_until(5s, [&] { return !recorder.failures().empty(); }));
  CHECK_THAT(recorder.failures()[0].text(), Catch::Contains("daemon does not answer"));
  CHECK_THAT(recorder.failures()[0].text(), Catch::Contains("start avahi-daemon"));
  CHECK(recorder.found().empty());

  daemon.come_back();
  REQUIRE(hears(recorder, 1));
  const auto failures = recorder.failures().size();

  daemon.go_away();
  REQUIRE(wait_until(5s, [&] { return recorder.lost().size() == 1; }));
  REQUIRE(wait_until(5s, [&] { return recorder.failures().size() > failures; }));
  daemon.come_back();
  REQUIRE(hears(recorder, 2));
  CHECK(recorder.works() == 2);
}

TEST_CASE("mdns: without the library that is said") {
  Recorder recorder;
  auto made = options();
  made.load = []() -> Result<DnsSdApi> { return Error{ErrorKind::kNotFound, "it is not there", "install it"}; };
  DnsSdSource source(made);
  source.start(recorder);
  CHECK(wait_until(5s, [&] { return !recorder.failures().empty(); }));
}

TEST_CASE("mdns: nobody waits for a daemon that hangs") {
  FakeDaemon daemon;
  daemon.hang();
  Recorder recorder;
  DnsSdSource source(options());
  source.start(recorder);
  REQUIRE(wait_until(5s, [&] { return daemon.calls() == 1; }));
  source.stop();  // comes back
  CHECK(daemon.calls() == 1);
  daemon.unhang();
  source.stop();  // and now the thread has ended
  CHECK(recorder.found().empty());
}

TEST_CASE("mdns: many peers keep the daemon busy with a few requests at a time") {
  FakeDaemon daemon;
  constexpr int kPeers = 100;
  for (int i = 0; i < kPeers; ++i) {
    const auto host = fmt::format("host{}.local.", i);
    daemon.set_addresses(host, {fmt::format("10.0.1.{}", i + 1), "2001:db8::1"});
    daemon.add(fmt::format("peer {}", i), service(host, {1, NodeId{100 + i}, "f1", "b1"}));
  }
  Recorder recorder;
  DnsSdSource source(options());
  source.start(recorder);
  REQUIRE(wait_until(20s, [&] { return recorder.found().size() >= kPeers; }));
  CHECK(daemon.requests_max() <= 16);  // eight peers, both kinds of addresses
}

TEST_CASE("mdns: who has no port only listens, and hears also the node of this machine") {
  FakeDaemon daemon;
  daemon.set_addresses("one.local.", {"10.0.0.1"});
  daemon.add("till", service("one.local.", options().announcement));
  Recorder recorder;
  auto made = options();
  made.port = 0;
  made.announcement = {};
  DnsSdSource source(made);
  source.start(recorder);
  REQUIRE(hears(recorder, 1));
  CHECK(recorder.found()[0].name == "till");
  CHECK(recorder.found()[0].said == options().announcement);
  CHECK(recorder.works() == 1);
  CHECK(daemon.announced().empty());
  source.announce({1, kSelf, "f2", "a1"});
  daemon.set_addresses("one.local.", {"10.0.0.7"});
  source.look_again("till (lo)");
  REQUIRE(hears(recorder, 2));
  CHECK(daemon.announced().empty());
}
