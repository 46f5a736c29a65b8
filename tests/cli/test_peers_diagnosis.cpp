// What is made of what was found out: which announcements and addresses are meant, and why two are not in step.
#include "commands/peers_diagnosis.h"

#include <algorithm>
#include <catch2/catch.hpp>

using namespace mbsync;

namespace {

constexpr const char* kOurs = "1111111111111111";
constexpr const char* kTheirs = "2222222222222222";
const Member kTill{NodeId{0x2b}, "till"};
const PeerAddress kAddress{"10.0.0.2", 8765};

Sighting announced(const std::string& name, NodeId node, std::vector<PeerAddress> addresses,
                   const std::string& fleet = kOurs, int protocol = 1) {
  return {name + " (eth0)", std::move(addresses), Announcement{protocol, node, fleet, "a1"}, name};
}

StoreStatus some_status() {
  StoreStatus status;
  status.self = {NodeId{0x1a}, "office"};
  status.members.push_back({kTill, false, "", 0});
  PeerStatus peer;
  peer.peer = kTill;
  peer.answered_at = "2023-11-14T22:13:20Z";
  peer.addresses.push_back({"10.8.0.2:8765", "2023-11-14T22:13:20Z", "", ""});
  status.peers.peers.push_back(peer);
  return status;
}

DiagnosisFacts some_facts(const std::string& text = "till") {
  const auto status = some_status();
  DiagnosisFacts facts;
  facts.wanted = wanted_peer(text, status);
  facts.self = status.self.id;
  facts.looked = true;
  facts.peers = status.peers;
  return facts;
}

ProbeReport answers(std::chrono::milliseconds clock_ahead = {}) {
  ProbeReport report;
  report.steps = {{ProbeStep::kName, true, "", ""},
                  {ProbeStep::kPort, true, "", ""},
                  {ProbeStep::kKey, true, "", ""},
                  {ProbeStep::kAnswer, true, "", ""}};
  report.node = kTill;
  report.key = KeyUse::kCurrent;
  report.clock_ahead = clock_ahead;
  return report;
}

ProbeReport fails(ProbeStep step, PeerTrouble trouble) {
  ProbeReport report;
  for (int i = 0; i < static_cast<int>(step); ++i) {
    report.steps.push_back({static_cast<ProbeStep>(i), true, "", ""});
  }
  report.steps.push_back({step, false, "what it is", "what to do"});
  report.trouble = trouble;
  return report;
}

WayTo advertised(ProbeReport report) {
  return {kAddress, false, true, false, std::move(report)};
}

std::vector<PeerFinding> judged(const DiagnosisFacts& facts) {
  const FleetTags ours(kOurs);
  auto findings = findings_of(facts, ours);
  for (const auto& finding : findings) {
    CHECK_FALSE(finding.what.empty());
    CHECK_FALSE(finding.next.empty());
  }
  return findings;
}

std::vector<PeerTrouble> troubles_of(const DiagnosisFacts& facts) {
  std::vector<PeerTrouble> all;
  for (const auto& finding : judged(facts)) {
    all.push_back(finding.trouble);
  }
  return all;
}

using Troubles = std::vector<PeerTrouble>;

}  // namespace

TEST_CASE("diagnosis: a machine is known by the name and id of its node, its announcement, and its addresses") {
  const auto status = some_status();
  const auto till = announced("till", kTill.id, {kAddress});
  const auto renamed = announced("till #2", kTill.id, {kAddress});
  const auto other = announced("branch", NodeId{0x3c}, {{"10.0.0.9", 8765}});
  for (const char* text : {"till", "000000000000002b", "till.local"}) {
    const auto wanted = wanted_peer(text, status);
    CHECK(is_wanted(wanted, till));
    CHECK_FALSE(is_wanted(wanted, other));
  }
  CHECK(is_wanted(wanted_peer("till", status), renamed));
  CHECK_FALSE(is_wanted(wanted_peer("10.0.0.2", status), till));  // before it has been looked up
  // One that nobody has met yet is known by what it says alone.
  CHECK(is_wanted(wanted_peer("branch", status), other));
  CHECK(is_wanted(wanted_peer("000000000000003c", status), other));

  auto by_address = wanted_peer("10.0.0.2", status);
  by_address.hosts = {"10.0.0.2"};
  CHECK(is_wanted(by_address, till));
  auto by_port = wanted_peer("10.0.0.2:9000", status);
  by_port.hosts = {"10.0.0.2"};
  CHECK_FALSE(is_wanted(by_port, till));

  CHECK_FALSE(wanted_peer("000000000000002b", status).place);
  CHECK_FALSE(wanted_peer("a till", status).place);
}

TEST_CASE("diagnosis: the ways are those that were given, advertised, and remembered, each once") {
  const auto status = some_status();
  auto wanted = wanted_peer("till", status);
  const PeerAddress link_local{"fe80::1%eth0", 8765};
  const auto till = announced("till", kTill.id, {kAddress, link_local});
  auto ways = ways_to(wanted, {till, till}, status.peers);
  REQUIRE(ways.size() == 3);
  CHECK(ways[0].address == kAddress);
  CHECK((ways[0].advertised && !ways[0].given && !ways[0].remembered));
  CHECK(ways[1].address == link_local);
  CHECK(ways[2].address == PeerAddress{"10.8.0.2", 8765});
  CHECK((ways[2].remembered && !ways[2].advertised));

  // Its name leads to an address as well, but the port would be a guess.
  wanted.hosts = {"10.0.0.2", "10.0.0.3"};
  const auto elsewhere = announced("till", kTill.id, {{"10.0.0.2", 9000}});
  ways = ways_to(wanted, {elsewhere}, {});
  REQUIRE(ways.size() == 2);
  CHECK(ways[0].address == PeerAddress{"10.0.0.3", 8765});
  CHECK(ways[0].given);
  CHECK(ways[1].address == PeerAddress{"10.0.0.2", 9000});

  auto with_port = wanted_peer("10.0.0.2:8765", status);
  with_port.hosts = {"10.0.0.2"};
  ways = ways_to(with_port, {till}, {});
  REQUIRE(ways.size() == 2);
  CHECK((ways[0].given && ways[0].advertised));

  // A name that leads nowhere is said to be that, on the way; unless others lead to it.
  ways = ways_to(wanted_peer("nowhere", status), {}, status.peers);
  REQUIRE(ways.size() == 1);
  CHECK(ways[0].address == PeerAddress{"nowhere", 8765});
  CHECK(ways_to(wanted_peer("till", status), {}, status.peers).size() == 1);
  CHECK(ways_to(wanted_peer("00000000000000ff", status), {}, status.peers).empty());
}

TEST_CASE("diagnosis: all is well") {
  auto facts = some_facts();
  facts.of_it = {announced("till", kTill.id, {kAddress})};
  facts.ways = {advertised(answers())};
  CHECK(judged(facts).empty());
  CHECK(facts.reached());
}

TEST_CASE("diagnosis: not advertised, or not to be seen from here, which is no matter for one that is reached") {
  auto facts = some_facts();
  SECTION("not advertised") {
    facts.self_announced = true;
    CHECK(troubles_of(facts) == Troubles{PeerTrouble::kNotAdvertised});
    CHECK_THAT(judged(facts)[0].next, Catch::Contains("5353"));
    CHECK_THAT(judged(facts)[0].what, !Catch::Contains("does it run"));
    facts.self_announced = false;
    CHECK_THAT(judged(facts)[0].what, Catch::Contains("does it run"));
  }
  SECTION("no daemon here") {
    facts.not_seen_why = Error{ErrorKind::kTransient, "the mDNS daemon does not answer", "start it"};
    CHECK(troubles_of(facts) == Troubles{PeerTrouble::kNoDiscovery});
    CHECK_THAT(judged(facts)[0].next, Catch::Contains("SYNC_PEERS") && Catch::Contains("start it"));
  }
  SECTION("switched off") {
    facts.looked = false;
    CHECK(troubles_of(facts) == Troubles{PeerTrouble::kNoDiscovery});
    facts.ways = {WayTo{kAddress, true, false, false, answers()}};
    CHECK(judged(facts).empty());
    return;
  }
  CHECK(judged(facts)[0].serious);
  facts.ways = {WayTo{kAddress, true, false, false, answers()}};
  REQUIRE(judged(facts).size() == 1);
  CHECK_FALSE(judged(facts)[0].serious);
}

TEST_CASE("diagnosis: advertised without an address, and by one that does not answer") {
  auto facts = some_facts();
  facts.of_it = {announced("till", kTill.id, {})};
  CHECK(troubles_of(facts) == Troubles{PeerTrouble::kNoAddress});
  facts.of_it = {announced("till", kTill.id, {kAddress})};
  facts.ways = {advertised(fails(ProbeStep::kPort, PeerTrouble::kSilent))};
  REQUIRE(troubles_of(facts) == Troubles{PeerTrouble::kSilent});
  CHECK_THAT(judged(facts)[0].what, Catch::Contains("advertised by 10.0.0.2:8765, which does not answer"));
  CHECK(judged(facts)[0].serious);

  // Another of its addresses does.
  facts.ways.push_back({PeerAddress{"10.0.0.3", 8765}, false, true, false, answers()});
  REQUIRE(troubles_of(facts) == Troubles{PeerTrouble::kSilent});
  CHECK_FALSE(judged(facts)[0].serious);
  CHECK(facts.best()->address.host == "10.0.0.3");
}

TEST_CASE("diagnosis: another key is another fleet's where its tag says so, too") {
  auto facts = some_facts();
  facts.ways = {advertised(fails(ProbeStep::kKey, PeerTrouble::kOtherKey))};
  facts.of_it = {announced("till", kTill.id, {kAddress}, kOurs)};
  CHECK(troubles_of(facts) == Troubles{PeerTrouble::kOtherKey});
  facts.of_it = {announced("till", kTill.id, {kAddress}, "")};
  CHECK(troubles_of(facts) == Troubles{PeerTrouble::kOtherKey});
  facts.of_it = {announced("till", kTill.id, {kAddress}, kTheirs)};
  CHECK(troubles_of(facts) == Troubles{PeerTrouble::kOtherFleet});
  // A tag that is not ours means nothing where the key is.
  facts.ways = {advertised(answers())};
  CHECK(judged(facts).empty());
}

TEST_CASE("diagnosis: another version of the protocol") {
  auto facts = some_facts();
  facts.of_it = {announced("till", kTill.id, {kAddress}, kOurs, 2)};
  facts.ways = {advertised(fails(ProbeStep::kAnswer, PeerTrouble::kOtherProtocol))};
  const auto troubles = troubles_of(facts);
  CHECK(std::count(troubles.begin(), troubles.end(), PeerTrouble::kOtherProtocol) >= 1);
  CHECK_THAT(judged(facts)[0].what, Catch::Contains("protocol version 2, and this node speaks 1"));
}

TEST_CASE("diagnosis: what the running node has met last, unless it was found again") {
  auto facts = some_facts();
  facts.of_it = {announced("till", kTill.id, {kAddress})};
  facts.ways = {advertised(answers())};
  auto& peer = facts.peers.peers[0];
  peer.failing = true;
  peer.failed_at = "2023-11-14T22:13:20Z";
  peer.failure = "table public.item exists on till but not here (run the application's migrations)";
  REQUIRE(troubles_of(facts) == Troubles{PeerTrouble::kSchema});
  CHECK(judged(facts)[0].serious);
  CHECK_THAT(judged(facts)[0].what, Catch::Contains("public.item") && Catch::Contains("2023-11-14T22:13:20Z"));
  peer.failure = "something of which nobody has heard";
  CHECK(troubles_of(facts) == Troubles{PeerTrouble::kOther});

  peer.failure = "peer '10.0.0.2:8765': cannot connect: Connection refused";
  facts.ways = {advertised(fails(ProbeStep::kPort, PeerTrouble::kPortClosed))};
  CHECK(troubles_of(facts) == Troubles{PeerTrouble::kPortClosed});
}

TEST_CASE("diagnosis: a clock that is off, a node that is not allowed, and one that was never met") {
  auto facts = some_facts();
  facts.of_it = {announced("till", kTill.id, {kAddress})};
  facts.ways = {advertised(answers(std::chrono::hours{-1}))};
  REQUIRE(troubles_of(facts) == Troubles{PeerTrouble::kClock});
  CHECK(judged(facts)[0].what == "its clock is 3600 s behind this one's");
  CHECK_FALSE(judged(facts)[0].serious);

  facts.ways = {advertised(answers())};
  facts.allowed = {NodeId{0xff}};
  CHECK(troubles_of(facts) == Troubles{PeerTrouble::kNotAllowed});
  facts.allowed = {kTill.id};
  CHECK(judged(facts).empty());

  facts.banned = {kTill};
  CHECK(troubles_of(facts) == Troubles{PeerTrouble::kBanned});
  CHECK_THAT(judged(facts)[0].next, Catch::Contains("mbsync peers unban 000000000000002b"));
  facts.banned = {{facts.self, "office"}};
  CHECK(troubles_of(facts) == Troubles{PeerTrouble::kBanned});
  facts.banned = {{NodeId{0x99}, "somebody else"}};
  CHECK(judged(facts).empty());

  facts.peers = {};
  CHECK(troubles_of(facts) == Troubles{PeerTrouble::kNotMet});
}
