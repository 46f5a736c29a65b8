// The one word, and why; and that what one process says of itself another one understands.
#include "node_status.h"

#include <fmt/format.h>

#include <algorithm>
#include <catch2/catch.hpp>

#include "local_api.h"
#include "peer_trouble.h"

using namespace mbsync;

namespace {

const Member kSelf{NodeId{1}, "office"};
const Member kTill{NodeId{2}, "till"};

/// A node that is well, with one peer that is connected.
NodeStatus well() {
  const auto now = iso_of(std::chrono::system_clock::now());
  NodeStatus status;
  StoreStatus store;
  store.self = kSelf;
  store.node_runs = true;
  store.members.push_back({kSelf, true, "", 0});
  store.members.push_back({kTill, false, now, 0});
  PeerStatus peer;
  peer.peer = kTill;
  peer.asked_at = now;
  peer.answered_at = now;
  store.peers.peers.push_back(peer);
  status.store = store;
  ProcessFacts process;
  process.node = kSelf;
  process.started_at = now;
  process.phase = "running";
  process.peers.push_back({kTill, "10.0.0.2:8765", true, now, now, 1.0, "", 10, 20});
  status.process = process;
  return status;
}

std::string said(const NodeStatus& status) {
  const auto judged = status.judge();
  std::string text(to_string(judged.verdict));
  static const auto described =
      nlohmann::json::parse(openapi_document())["components"]["schemas"]["Cause"]["properties"]["kind"]["enum"];
  for (const auto& cause : judged.causes) {
    INFO(cause.kind);
    CHECK(std::find(described.begin(), described.end(), cause.kind) != described.end());
    text += "; " + cause.text;
  }
  return text;
}

}  // namespace

TEST_CASE("node status: healthy, also alone") {
  CHECK(said(well()) == "healthy");
  auto alone = well();
  alone.store->members.pop_back();
  alone.store->peers.peers.clear();
  alone.process->peers.clear();
  CHECK(said(alone) == "healthy");
  // Known by the database alone, as where the local port is switched off.
  auto quiet = well();
  quiet.process.reset();
  CHECK(said(quiet) == "healthy");
  // A table without a key is named, and no reason to wake anybody.
  auto keyless = well();
  keyless.store->refused.emplace_back("public.log", "it has no key");
  CHECK(said(keyless) == "healthy");
}

TEST_CASE("node status: degraded, and by what") {
  auto status = well();
  status.store->open_conflicts = 2;
  CHECK(said(status) == "degraded; 2 conflicts wait for a person");
  status = well();
  status.store->parked_rows = 1;
  CHECK(said(status) == "degraded; this database refuses 1 row");
  status = well();
  status.store->policy_trouble = {"x"};
  CHECK(said(status) == "degraded; the policy cannot be carried out here");
  status = well();
  status.store->captures = 3;
  status.store->captures_oldest_s = 59;
  CHECK(said(status) == "healthy");
  status.store->captures_oldest_s = 61;
  CHECK(said(status) == "degraded; 3 writes have waited to be sealed for 61 s");
  status = well();
  status.store->peers.peers[0].clock_ahead = std::chrono::milliseconds{-6'000};
  CHECK(said(status) == "degraded; the clock of till is 6 s behind this one's");
  status = well();
  status.store->members[1].behind_writes = 4;
  status.store->members[1].behind_oldest_s = 299;
  CHECK(said(status) == "healthy");
  status.store->members[1].behind_oldest_s = 301;
  CHECK(said(status) == "degraded; till is connected, and lacks 4 rows, the oldest of 301 s ago");
  status = well();
  status.process->peers[0].up = false;
  status.process->peers[0].failure = "port closed";
  CHECK(said(status) == "degraded; till is not connected: port closed");
  status = well();
  status.process->peers[0].heard_ago_s = 1'000;
  status.store->peers.peers[0].asked_at = status.store->peers.peers[0].answered_at = "2020-01-01T00:00:00Z";
  CHECK(said(status) == "degraded; till is not connected: not heard of for 1000 s");
  status = well();
  status.store->peers.peers.clear();
  status.process->peers.clear();
  CHECK(said(status) == "degraded; till has not been met by this node");
  status = well();
  status.local_trouble = "the local port 8766 cannot be had";
  CHECK(said(status) == "degraded; the local port 8766 cannot be had");
  // A neighbour's fleet is no matter, unless it is the only one that this node has met.
  status = well();
  PeerStatus neighbour;
  neighbour.peer = Member{NodeId{0x99}, "bakery"};
  neighbour.failed_at = "2020-01-01T00:00:00Z";
  neighbour.failing = true;
  neighbour.failure = fmt::format("{}: it refuses the registration key", kSaysOtherFleet);
  status.store->peers.peers.push_back(neighbour);
  CHECK(said(status) == "healthy");
  status.store->members.resize(1);
  status.store->peers.peers = {neighbour};
  status.process->peers.clear();
  CHECK(said(status) == "degraded; bakery is not connected: " + neighbour.failure);
  // Who is away is not waited for.
  status = well();
  status.process->peers[0].up = false;
  status.process->peers[0].failure = "port closed";
  status.store->members[1].standing.away = true;
  CHECK(said(status) == "healthy");
  status.store->members[0].standing.away = true;
  CHECK(said(status) == "degraded; the fleet goes on without this node");
}

TEST_CASE("node status: down, and by what") {
  auto status = well();
  status.store->node_runs = false;
  status.process.reset();
  CHECK(said(status) == "down; no node runs on this database");
  CHECK(status.connected() == 0);
  status = well();
  status.store.reset();
  status.store_error = "connection refused";
  CHECK(said(status) == "down; the database cannot be read: connection refused");
  CHECK(status.connected() == 1);
  CHECK(status.self() == kSelf);
  status = well();
  status.process->beat_age_s = 61;
  CHECK(said(status) == "down; the node has stood still for 61 s");
  status = well();
  status.store_age_s = 59;
  CHECK(said(status) == "healthy");
  status.store_age_s = 61;
  CHECK(said(status) == "degraded; the database is too busy to say how it is: what it says here is 61 s old");
  status = well();
  status.process->phase = "waiting for the database";
  status.process->phase_reason = "it starts";
  status.store->parked_rows = 2;
  CHECK(said(status) == "down; the node is waiting for the database: it starts; this database refuses 2 rows");
  status = well();
  status.store.reset();
  status.process.reset();
  status.store_error = "gone";
  CHECK_THAT(said(status), Catch::StartsWith("down; ") && Catch::Contains("whether a node runs"));
}

TEST_CASE("node status: lag in both directions") {
  auto status = well();
  auto& member = status.store->members[1];
  member.behind_writes = 3;
  member.behind_oldest_s = 12.5;
  member.ahead_seals = 2;
  const auto peers = status.peers();
  REQUIRE(peers.size() == 1);
  CHECK(peers[0].state == PeerState::kConnected);
  CHECK(peers[0].outgoing_rows == 3);
  CHECK(peers[0].outgoing_s == 12.5);
  CHECK(peers[0].incoming_rows == 2);
  REQUIRE(peers[0].incoming_s);
  CHECK(*peers[0].incoming_s < 60);
  member.ahead_seals = 0;
  CHECK(status.peers()[0].incoming_s == 0.0);
}

TEST_CASE("node status: what a process says of itself is understood by another") {
  const auto status = well();
  auto facts = *status.process;
  facts.pid = 77;
  facts.rows_in = 5;
  facts.uptime_s = 12.5;
  facts.phase_reason = "why";
  const auto document = to_json(facts);
  const auto again = process_facts(nlohmann::json::parse(document.dump()));
  REQUIRE(again);
  CHECK(to_json(*again) == document);
  for (const char* other : {"null", "[]", "{}", "7", R"({"started_at": 7})", R"({"status": "ok"})"}) {
    CHECK_FALSE(process_facts(nlohmann::json::parse(other)));
  }
  // A stranger's document of the same look does no harm.
  const auto odd = process_facts(nlohmann::json::parse(R"({"started_at": "x", "phase": "run\u001b]0;ning\u0007\n"})"));
  REQUIRE(odd);
  CHECK(odd->phase == "run?]0;ning??");
  CHECK(process_facts(nlohmann::json::parse(R"({"started_at": "x", "pid": "y", "node": 3, "peers": [1, {"id": 4}]})")));
}

TEST_CASE("node status: a cause has its parts, for programs that say it in words of their own") {
  auto status = well();
  status.process->peers[0].up = false;
  status.process->peers[0].failure = "cannot connect: Connection refused";
  status.store->open_conflicts = 2;
  const auto document = to_json(status);
  REQUIRE(document["causes"].size() == 2);
  CHECK(document["reasons"].size() == 2);
  const auto& conflicts = document["causes"][0];
  CHECK(conflicts["kind"] == "conflicts_open");
  CHECK(conflicts["count"] == 2);
  CHECK(conflicts["peer"].is_null());
  const auto& peer = document["causes"][1];
  CHECK(peer["kind"] == "peer_unreachable");
  CHECK(peer["peer"] == "till");
  CHECK(peer["reason"] == "port_closed");
  CHECK(peer["text"] == document["reasons"][1]);
  CHECK_THAT(peer["next"].get<std::string>(), Catch::Contains("start mbsync on it"));
}

TEST_CASE("node status: the JSON has a word, reasons and the fleet, and no store where the database is away") {
  auto status = well();
  auto document = to_json(status);
  CHECK(document["status"] == "healthy");
  CHECK(document["fleet"][0]["lag"]["incoming"]["rows"] == 0);
  CHECK(document["service"]["installed"].is_null());
  CHECK(document["pending_captures"] == 0);
  status.service = ServiceFacts{true, true, "running", "2026-11-01T08:00:00Z", 7, 0};
  status.store.reset();
  status.store_error = "gone";
  document = to_json(status);
  CHECK(document["status"] == "down");
  CHECK(document["service"]["installed"] == true);
  CHECK(document["database"]["error"] == "gone");
  CHECK_FALSE(document.contains("pending_captures"));
}
