// That errors are recognised is tested where they come from: test_peer_probe.cpp, tests/integration, tests/scenario.
#include "peer_trouble.h"

#include <catch2/catch.hpp>
#include <set>
#include <string>

#include "firewall.h"

using namespace mbsync;

TEST_CASE("peer trouble: each has a name, words and a next step of its own") {
  std::set<std::string_view> names;
  std::set<std::string_view> words;
  std::set<std::string> steps;
  for (int i = 0; i <= static_cast<int>(PeerTrouble::kOther); ++i) {
    const auto trouble = static_cast<PeerTrouble>(i);
    CHECK(names.insert(to_string(trouble)).second);
    CHECK(words.insert(in_short(trouble)).second);
    CHECK(steps.insert(next_step(trouble, 8765)).second);
    CHECK(next_step(trouble, 8765).empty() == (trouble == PeerTrouble::kOther));
  }
}

TEST_CASE("peer trouble: of several reasons the one stands first that a person can do most about") {
  CHECK(trouble_of("10.0.0.2:8765: cannot connect: no answer in time; 10.0.0.3:8765: TLS handshake failed: it does not "
                   "take this SYNC_REGISTRATION_KEY") == PeerTrouble::kOtherKey);
  CHECK(trouble_of("it advertises another fleet: peer 'x': TLS handshake failed: it does not take this "
                   "SYNC_REGISTRATION_KEY") == PeerTrouble::kOtherFleet);
  CHECK(trouble_of("it is not advertised on this network: peer 'x': cannot connect: Connection refused") ==
        PeerTrouble::kNotAdvertised);
  CHECK(trouble_of("the row does not fit") == PeerTrouble::kOther);
  CHECK(trouble_of("") == PeerTrouble::kOther);
}

TEST_CASE("peer trouble: what opens a firewall names port and protocol") {
  CHECK_THAT(next_step(PeerTrouble::kSilent, 9123), Catch::Contains("9123"));
  CHECK_THAT(next_step(PeerTrouble::kNotAdvertised, 9123), Catch::Contains("5353"));
  CHECK_THAT(firewall_command(53, "udp"), Catch::Contains("53") && (Catch::Contains("udp") || Catch::Contains("UDP")));
}
