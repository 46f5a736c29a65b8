#include <catch2/catch.hpp>
#include <chrono>
#include <string>

#include "peer_directory.h"

using namespace mbsync;
using namespace std::chrono_literals;

namespace {

const NodeId kSelf{1};
const NodeId kTwo{2};
const NodeId kThree{3};
const PeerAddress kStatic{"till-2", 8765};
const PeerAddress kWired{"10.0.0.2", 8765};
const PeerAddress kWireless{"10.1.0.2", 8765};

PeerDirectory::Time time_now;

struct Directory : PeerDirectory {
  Directory() : PeerDirectory(kSelf, "a", [] { return time_now; }) { time_now = {}; }
  void mdns(const std::string& handle, NodeId node, std::vector<PeerAddress> addresses,
            const std::string& start = "b") {
    peer_found("mdns", {handle, std::move(addresses), Announcement{1, node, "f", start}});
  }
  void listed(const PeerAddress& address) { peer_found("static", {to_string(address), {address}, std::nullopt}); }
};

}  // namespace

TEST_CASE("directory: one machine on two interfaces, and in the list, is one peer") {
  Directory directory;
  directory.listed(kStatic);
  REQUIRE(directory.peers().size() == 1);
  CHECK_FALSE(directory.peers()[0].node);
  const auto number = directory.peers()[0].number;

  directory.mdns("two (eth0)", kTwo, {kWired});
  directory.mdns("two (wlan0)", kTwo, {kWireless});
  // Nothing says yet that the name in the list is the same machine.
  REQUIRE(directory.peers().size() == 2);
  CHECK(directory.peers()[1].node == kTwo);
  CHECK_FALSE(directory.peers()[1].answered);
  CHECK(directory.peers()[1].addresses == std::vector<PeerAddress>{kWired, kWireless});

  directory.answered(kStatic, kTwo);
  REQUIRE(directory.peers().size() == 1);
  const auto peer = directory.peers()[0];
  CHECK((peer.number == number || peer.number == number + 1));
  CHECK(peer.node == kTwo);
  CHECK(peer.answered);
  CHECK(peer.addresses == std::vector<PeerAddress>{kStatic, kWired, kWireless});
  CHECK(peer.views.size() == 3);

  directory.answered(kWireless, kTwo);
  CHECK(directory.peers()[0].addresses == std::vector<PeerAddress>{kWireless, kStatic, kWired});
  CHECK(directory.peers()[0].number == peer.number);
}

TEST_CASE("directory: an address of the list that is also announced is the same peer at once") {
  Directory directory;
  directory.listed(kWired);
  directory.mdns("two (eth0)", kTwo, {kWired});
  REQUIRE(directory.peers().size() == 1);
  CHECK(directory.peers()[0].node == kTwo);
  CHECK(directory.peers()[0].addresses == std::vector<PeerAddress>{kWired});
}

TEST_CASE("directory: a peer that is lost has no address from there any more, and is listed for a day") {
  Directory directory;
  directory.mdns("two (eth0)", kTwo, {kWired});
  directory.mdns("two (wlan0)", kTwo, {kWireless});
  directory.peer_lost("mdns", "two (eth0)");
  CHECK(directory.peers()[0].addresses == std::vector<PeerAddress>{kWireless});
  time_now += 1h;
  directory.peer_lost("mdns", "two (wlan0)");
  REQUIRE(directory.peers().size() == 1);
  CHECK(directory.peers()[0].addresses.empty());
  CHECK_FALSE(directory.peers()[0].views[1].present);
  CHECK(directory.peers()[0].views[1].last_seen == time_now);
  const auto number = directory.peers()[0].number;

  // Where it has answered, it may do so again, whatever is announced.
  directory.answered(kWireless, kTwo);
  CHECK(directory.peers()[0].addresses == std::vector<PeerAddress>{kWireless});

  time_now += 1min;
  directory.mdns("two (eth0)", kTwo, {{"10.0.0.77", 8765}});
  CHECK(directory.peers()[0].addresses == std::vector<PeerAddress>{kWireless, {"10.0.0.77", 8765}});
  CHECK(directory.peers()[0].number == number);
  time_now += 25h;
  directory.mdns("two (eth0)", kTwo, {kWired});
  CHECK(directory.peers()[0].views.size() == 1);
}

TEST_CASE("directory: an address that another machine has taken over belongs to who answers there") {
  Directory directory;
  directory.listed(kStatic);
  directory.answered(kStatic, kTwo);
  const auto two = directory.peers()[0].number;
  directory.answered(kStatic, kThree);
  REQUIRE(directory.peers().size() == 1);
  CHECK(directory.peers()[0].node == kThree);
  CHECK(directory.peers()[0].answered);
  CHECK(directory.peers()[0].addresses == std::vector<PeerAddress>{kStatic});
  CHECK(directory.peers()[0].number == two);  // the same place in the list
}

TEST_CASE("directory: two nodes on one machine, by different ports, are two") {
  Directory directory;
  directory.mdns("two (lo)", kTwo, {{"127.0.0.1", 1000}});
  directory.mdns("three (lo)", kThree, {{"127.0.0.1", 2000}});
  CHECK(directory.peers().size() == 2);
}

TEST_CASE("directory: its own address is left out for a while, and a copy of its database is told") {
  Directory directory;
  directory.listed(kStatic);
  directory.is_own(kStatic);
  CHECK(directory.peers()[0].addresses.empty());
  time_now += 11min;
  CHECK(directory.peers()[0].addresses.size() == 1);

  CHECK(directory.copies().empty());
  directory.mdns("till #2 (eth0)", kSelf, {kWired}, "c");
  REQUIRE(directory.copies().size() == 1);
  CHECK(directory.copies()[0].handle == "till #2 (eth0)");
  CHECK(directory.peers().size() == 1);
}

TEST_CASE("directory: what sources say of themselves, and that something has changed") {
  Directory directory;
  auto version = directory.version();
  const auto changed = [&] { return std::exchange(version, directory.version()) != version; };
  directory.source_fails("mdns", Error{ErrorKind::kTransient, "no daemon", "start it"});
  CHECK(changed());
  CHECK_FALSE(directory.sources().at("mdns").works);
  CHECK(directory.sources().at("mdns").failure->message == "no daemon");
  directory.source_works("mdns");
  CHECK(directory.sources().at("mdns").works);
  CHECK_FALSE(directory.sources().at("mdns").failure);
  CHECK(changed());
  directory.mdns("two (eth0)", kTwo, {kWired});
  CHECK(changed());
  directory.mdns("two (eth0)", kTwo, {kWired});  // as before
  CHECK_FALSE(changed());
  directory.mdns("two (eth0)", kTwo, {kWireless});
  CHECK(changed());
  directory.mdns("two (eth0)", kTwo, {kWired});
  CHECK(changed());
  directory.answered(kWired, kTwo);
  CHECK(changed());
  directory.answered(kWired, kTwo);  // as before
  CHECK_FALSE(changed());
  directory.peer_lost("mdns", "unknown");
  CHECK_FALSE(changed());
}
