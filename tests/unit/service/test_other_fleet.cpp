#include "other_fleet.h"

#include <catch2/catch.hpp>

using namespace mbsync;

namespace {

constexpr const char* kOurs = "1111111111111111";
constexpr const char* kTheirs = "2222222222222222";
const NodeId kSelf{0x11};
const NodeId kPeer{0x22};
const PeerAddress kAddress{"10.0.0.2", 8765};

PeerDirectory::Time now{std::chrono::hours{1'000'000}};  // NOLINT(*-avoid-non-const-global-variables)

Sighting announces(const std::string& fleet, const std::string& start = "a1",
                   const std::string& handle = "two (eth0)") {
  return {handle, {kAddress}, Announcement{1, kPeer, fleet, start}};
}

struct Network {
  PeerDirectory directory{kSelf, "s1", [] { return now; }};
  FleetTags ours{kOurs};

  [[nodiscard]] std::optional<PeerDirectory::Time> since() const {
    return other_fleet_since(directory.peers().at(0), ours);
  }
};

}  // namespace

TEST_CASE("other fleet: only one that has refused the key, and says the same still") {
  Network network;
  network.directory.peer_found("mdns", announces(kTheirs));
  CHECK_FALSE(network.since());  // tags become one when nodes meet, so at first they differ
  const auto version = network.directory.version();
  network.directory.refused(kPeer);
  CHECK(network.since() == now);
  CHECK(network.directory.version() != version);

  // Heard again, at another address: the same machine.
  auto moved = announces(kTheirs);
  moved.addresses = {{"10.0.0.3", 8765}};
  network.directory.peer_found("mdns", moved);
  CHECK(network.since() == now);

  SECTION("it is started anew") {
    network.directory.peer_found("mdns", announces(kTheirs, "a2"));
    CHECK_FALSE(network.since());
  }
  SECTION("it has another tag now") {
    network.directory.peer_found("mdns", announces("3333333333333333"));
    CHECK_FALSE(network.since());
  }
  SECTION("its tag turns out to be ours") {
    network.ours.heard(KeyUse::kCurrent, "0000000000000000");
    CHECK(network.since());
    network.directory.peer_found("mdns", announces("0000000000000000"));
    network.directory.refused(kPeer);
    CHECK_FALSE(network.since());
  }
  SECTION("it has answered") {
    network.directory.answered({"10.0.0.3", 8765}, kPeer);
    CHECK_FALSE(network.since());
  }
  SECTION("it is not there any more") {
    network.directory.peer_lost("mdns", "two (eth0)");
    network.directory.peer_found("remembered", {"x", {kAddress}, Announcement{1, kPeer, "", ""}});
    CHECK_FALSE(network.since());
  }
}

TEST_CASE("other fleet: our tag, or none, is asked as often as ever") {
  for (const char* tag : {kOurs, ""}) {
    Network network;
    network.directory.peer_found("mdns", announces(tag));
    network.directory.refused(kPeer);
    CHECK_FALSE(network.since());
  }
}

TEST_CASE("other fleet: one of several sightings that could be ours is enough, and a name in the configuration") {
  Network network;
  network.directory.peer_found("mdns", announces(kTheirs));
  network.directory.refused(kPeer);
  SECTION("another adapter") {
    network.directory.peer_found("mdns", announces(kTheirs, "a1", "two (wlan0)"));
    CHECK_FALSE(network.since());
    network.directory.refused(kPeer);
    CHECK(network.since());
  }
  SECTION("somebody who says he is that node, and does not take the key") {
    network.directory.peer_found("mdns", announces(kOurs, "a1", "two #2 (eth0)"));
    CHECK_FALSE(network.since());
  }
  SECTION("a source that does not know the fleet changes nothing") {
    network.directory.peer_found("remembered", {"x", {kAddress}, Announcement{1, kPeer, "", ""}});
    CHECK(network.since());
  }
  SECTION("it is named") {
    network.directory.peer_found("static", {"10.0.0.2:8765", {kAddress}, std::nullopt});
    CHECK_FALSE(network.since());
  }
}
