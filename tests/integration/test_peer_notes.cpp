// What a node has seen of its peers, from the running node to mbsync status.
#include <catch2/catch.hpp>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "child_process.h"
#include "node_pair.h"

using namespace mbsync;
using namespace mbsync::test;
using std::chrono::seconds;

namespace {

std::string status(PgNode& node, std::vector<std::string> arguments = {}) {
  arguments.insert(arguments.begin(), "status");
  const auto finished = run_program(MBSYNC_PROGRAM, {.arguments = std::move(arguments),
                                                     .environment = {{"DATABASE_URL", node.url()}},
                                                     .unset = {"SYNC_REGISTRATION_KEY"},
                                                     .working_directory = std::filesystem::temp_directory_path()});
  INFO(finished.err);
  REQUIRE(finished.exit_code == 1);  // the node is this test, which has no local port
  return finished.out;
}

nlohmann::json status_json(PgNode& node) {
  return nlohmann::json::parse(status(node, {"--json"}));
}

const WallClockTime kNoon{seconds{1'700'000'000}};  // 2023-11-14T22:13:20Z

PeerNote asked_by(const Member& peer, KeyUse key, WallClockTime at = kNoon) {
  PeerNote note;
  note.peer = peer;
  note.asked = PeerNote::Asked{at, "192.168.1.5", key};
  return note;
}

/// As note_asker() does it when one of them asks.
void add_member(PgNode& node, const Member& member) {
  node.execute("INSERT INTO mbsync.node (id, name) VALUES (" + std::to_string(member.id.value) + ", " +
               literal(member.name) + ")");
}

const Member kTill{NodeId{0x1a}, "till"};
const Member kBranch{NodeId{0x2b}, "branch"};

}  // namespace

TEST_CASE("peer notes: what is noted down adds up, and status shows it") {
  PgNode node(shared_cluster(), fresh_database_name(), "CREATE TABLE item (id int PRIMARY KEY)");
  node.prepare();
  CHECK_THAT(status(node), !Catch::Contains("Has asked") && !Catch::Contains("Registration keys"));

  const PeerAddress home{"192.168.1.5", 8765};
  PeerNote answered;
  answered.peer = kTill;
  answered.answered = PeerNote::Answered{kNoon + seconds{1}, KeyUse::kNext};
  answered.clock_ahead = seconds{2};
  REQUIRE(node.store().begin_peer_notes(false));
  REQUIRE(node.store().store_peer_notes({{asked_by(kTill, KeyUse::kCurrent)}, {}}));
  REQUIRE(node.store().store_peer_notes(
      {{answered},
       {AddressNote{home, kTill.id, kNoon + seconds{1}, std::nullopt},
        AddressNote{{"10.8.0.5", 8765}, kTill.id, kNoon, std::nullopt},
        AddressNote{{"fe80::1%eth0", 9000}, std::nullopt, std::nullopt, PeerNote::Failed{kNoon, "cannot connect"}}}}));
  auto document = status_json(node);
  REQUIRE(document["peers"].size() == 1);
  auto peer = document["peers"][0];
  CHECK(peer["id"] == "000000000000001a");
  CHECK(peer["name"] == "till");
  CHECK(peer["asked"] == "2023-11-14T22:13:20Z");
  CHECK(peer["asked_from"] == "192.168.1.5");
  CHECK(peer["asked_key"] == "current");
  CHECK(peer["answered"] == "2023-11-14T22:13:21Z");
  CHECK(peer["answered_key"] == "next");
  CHECK(peer["failing"] == false);
  CHECK(peer["clock_ahead_ms"] == 2'000);
  CHECK(peer["failure"].is_null());
  REQUIRE(peer["addresses"].size() == 2);
  CHECK(peer["addresses"][0]["address"] == "192.168.1.5:8765");  // it has answered there last
  CHECK(peer["addresses"][1]["address"] == "10.8.0.5:8765");
  REQUIRE(document["addresses_without_answer"].size() == 1);
  CHECK(document["addresses_without_answer"][0]["address"] == "[fe80::1%eth0]:9000");
  CHECK_THAT(status(node), Catch::Contains("Has asked") && Catch::Contains("192.168.1.5:8765") &&
                               Catch::Contains("192.168.1.5:8765  right\n") &&
                               Catch::Contains("nobody has answered yet at [fe80::1%eth0]:9000: cannot connect") &&
                               !Catch::Contains("Key asked with"));

  // It goes away; what it did before is still known, and which of several it is as well.
  PeerNote failed;
  failed.peer = {kTill.id, ""};
  failed.failed = PeerNote::Failed{kNoon + seconds{2}, "it has fallen silent"};
  failed.clock_ahead = seconds{-12};
  REQUIRE(node.store().store_peer_notes({{failed}, {}}));
  peer = status_json(node)["peers"][0];
  CHECK(peer["name"] == "till");
  CHECK(peer["answered"] == "2023-11-14T22:13:21Z");
  CHECK(peer["failing"] == true);
  CHECK_THAT(status(node), Catch::Contains("till does not answer: it has fallen silent (2023-11-14T22:13:22Z)"));
  CHECK(peer["reason"] == "other");
  CHECK_THAT(status(node), Catch::Contains("192.168.1.5:8765  12 s behind\n"));
  add_member(node, kTill);
  add_member(node, kBranch);
  const auto line_of = [&](const std::string& member) {
    const auto text = status(node);
    const auto begin = text.find("\n" + member + " ");
    return text.substr(begin, text.find('\n', begin + 1) - begin);
  };
  CHECK_THAT(line_of("till"), Catch::Contains("  unreachable  "));
  CHECK_THAT(line_of("branch"), Catch::Contains("  not met  ") && Catch::EndsWith("  never"));
  failed.failed->reason = "peer '192.168.1.5:8765': cannot connect: no answer in time";
  failed.failed->at = kNoon + seconds{3};
  REQUIRE(node.store().store_peer_notes({{failed, asked_by(kBranch, KeyUse::kCurrent)}, {}}));
  CHECK_THAT(line_of("till"), Catch::Contains("  unreachable, address silent  192.168.1.5:8765  "));
  CHECK_THAT(line_of("branch"), Catch::Contains("  silent ") && Catch::EndsWith("  2023-11-14T22:13:20Z"));
  CHECK_THAT(status(node), Catch::Contains("till does not answer, address silent: peer '192.168.1.5:8765'"));
  CHECK(status_json(node)["peers"][1]["reason"] == "address_silent");
  answered.answered->at = kNoon + seconds{4};
  REQUIRE(node.store().store_peer_notes({{answered}, {}}));
  CHECK_THAT(line_of("till"), Catch::Contains("  silent "));
  CHECK(status_json(node)["peers"][1]["reason"].is_null());

  // Another node answers there.
  REQUIRE(node.store().store_peer_notes({{}, {AddressNote{home, kBranch.id, kNoon + seconds{9}, std::nullopt}}}));
  CHECK(status_json(node)["peers"][1]["addresses"].size() == 1);

  // A new start, with another configuration perhaps: which key is which is not known any more, nor whether an address
  // is named where nobody has answered; the rest is.
  const AddressNote in_vain{
      {"192.168.1.77", 8765}, std::nullopt, std::nullopt, PeerNote::Failed{kNoon, "no answer in time"}};
  REQUIRE(node.store().store_peer_notes({{}, {in_vain}}));
  CHECK_THAT(status(node), Catch::Contains("nobody has answered yet at 192.168.1.77:8765"));
  REQUIRE(node.store().begin_peer_notes(false));
  CHECK_THAT(status(node), !Catch::Contains("nobody has answered yet"));
  peer = status_json(node)["peers"][1];
  CHECK(peer["asked_key"].is_null());
  CHECK(peer["answered_key"].is_null());
  CHECK(peer["asked"] == "2023-11-14T22:13:20Z");
}

TEST_CASE("peer notes: status says when the old key can go") {
  PgNode node(shared_cluster(), fresh_database_name(), "CREATE TABLE item (id int PRIMARY KEY)");
  node.prepare();
  REQUIRE(node.store().begin_peer_notes(true));
  CHECK_THAT(status(node), Catch::Contains("Registration keys: this node takes two"));
  add_member(node, kTill);
  add_member(node, kBranch);
  CHECK(status_json(node)["registration_keys"] == nlohmann::json({{"two", true},
                                                                  {"current", nlohmann::json::array()},
                                                                  {"next", nlohmann::json::array()},
                                                                  {"unknown", {"branch", "till"}}}));
  CHECK_THAT(status(node), Catch::Contains("have not asked since the node started: branch, till") &&
                               Catch::Contains("Both have to stay"));

  REQUIRE(node.store().store_peer_notes({{asked_by(kTill, KeyUse::kNext), asked_by(kBranch, KeyUse::kCurrent)}, {}}));
  CHECK_THAT(status(node), Catch::Contains("come with the current one:             branch") &&
                               Catch::Contains("come with the next one:                till") &&
                               Catch::Contains("Both have to stay") && Catch::Contains("Key asked with"));
  REQUIRE(node.store().store_peer_notes({{asked_by(kBranch, KeyUse::kNext)}, {}}));
  CHECK_THAT(status(node), Catch::Contains("All other members come with the next one.") &&
                               Catch::Contains("the old one can go") && !Catch::Contains("Both have to stay"));
  REQUIRE(
      node.store().store_peer_notes({{asked_by(kTill, KeyUse::kCurrent), asked_by(kBranch, KeyUse::kCurrent)}, {}}));
  CHECK_THAT(status(node), Catch::Contains("All other members come with the current one.") &&
                               Catch::Contains("it can be removed here"));
  // With one key there is nothing to decide.
  REQUIRE(node.store().begin_peer_notes(false));
  CHECK_THAT(status(node), !Catch::Contains("Registration keys"));
  CHECK(status_json(node)["registration_keys"]["two"] == false);
}

TEST_CASE("peer notes: they stay where they are, and addresses are bounded") {
  Pair pair("CREATE TABLE item (id int PRIMARY KEY)");
  REQUIRE(pair.a.store().store_peer_notes({{asked_by(kTill, KeyUse::kCurrent)}, {}}));
  pair.exchange();
  CHECK(pair.a.scalar("SELECT count(*) FROM mbsync.peer") == "1");
  CHECK(pair.b.scalar("SELECT count(*) FROM mbsync.peer") == "0");
  CHECK(pair.a.scalar("SELECT count(*) FROM mbsync.capture") == "0");

  PeerNotes many;
  for (int i = 0; i < static_cast<int>(kAddressesKept) + 50; ++i) {
    many.addresses.push_back({{"host" + std::to_string(i), 1}, kTill.id, kNoon + seconds{i}, std::nullopt});
  }
  many.addresses.push_back({{"nobody", 1}, std::nullopt, std::nullopt, PeerNote::Failed{kNoon, "x"}});
  REQUIRE(pair.a.store().store_peer_notes(many));
  CHECK(pair.a.scalar("SELECT count(*) FROM mbsync.peer_address") == std::to_string(kAddressesKept));
  CHECK(pair.a.scalar("SELECT min(answered_at) = '2023-11-14 22:14:10+00' FROM mbsync.peer_address") == "t");
}

TEST_CASE("requests that are repeated, or come in another order than they were made, change nothing") {
  Pair pair("CREATE TABLE item (id int PRIMARY KEY)");
  pair.a.execute("INSERT INTO item VALUES (1)");
  pair.exchange();
  const auto ask = [&] {
    auto session = pair.b.store().open_pull("a");
    REQUIRE(session);
    auto request = (*session)->ask({});
    REQUIRE(request);
    return *request;
  };
  const auto known = [&] {
    return pair.a.scalar(
               "SELECT string_agg(format('%s %s %s', node, origin, counter), ',' ORDER BY node, origin) "
               "FROM mbsync.report") +
           pair.a.scalar(
               "SELECT string_agg(format('%s %s %s', origin, counter, forgotten), ',' ORDER BY origin) "
               "FROM mbsync.version_vector");
  };
  struct Nowhere : PullSink {
    Result<void> header(const PullHeader&) override { return {}; }
    Result<void> table(const TableHeader&) override { return {}; }
    Result<void> rows(std::string_view) override { return {}; }
    Result<void> table_end(std::int64_t) override { return {}; }
    Result<void> footer(const PullFooter&) override { return {}; }
  } nowhere;
  const auto old_request = ask();
  pair.a.execute("INSERT INTO item VALUES (2)");
  pair.exchange();
  const auto new_request = ask();
  REQUIRE(new_request.seen != old_request.seen);
  REQUIRE(pair.a.store().answer(new_request, nowhere));
  const auto after = known();
  for (const auto& request : {new_request, old_request, old_request, new_request, old_request}) {
    REQUIRE(pair.a.store().accept(request));
    // The old one is refused by now, since what it lacks has been forgotten; that is no harm either.
    const auto answered = pair.a.store().answer(request, nowhere);
    CHECK((answered || answered.error().kind == ErrorKind::kRejected));
    CHECK(known() == after);
  }
  pair.exchange();
  CHECK(pair.b.scalar("SELECT count(*) FROM item") == "2");
}

TEST_CASE("peer notes: that peers are not found by themselves is shown until they are, or the node starts anew") {
  PgNode node(shared_cluster(), fresh_database_name(), "CREATE TABLE item (id int PRIMARY KEY)");
  node.prepare();
  CHECK(status_json(node)["discovery_failure"].is_null());
  const PeerNotes fails{{}, {}, "the mDNS daemon does not answer (start it)"};
  REQUIRE(node.store().store_peer_notes(fails));
  CHECK(status_json(node)["discovery_failure"] == *fails.discovery);
  CHECK_THAT(status(node), Catch::Contains("Peers are not found by themselves here") &&
                               Catch::Contains("the mDNS daemon does not answer (start it)"));
  REQUIRE(node.store().store_peer_notes({{}, {}, ""}));
  CHECK(status_json(node)["discovery_failure"].is_null());
  CHECK_THAT(status(node), !Catch::Contains("by themselves"));
  REQUIRE(node.store().store_peer_notes(fails));
  REQUIRE(node.store().begin_peer_notes(false));
  CHECK(status_json(node)["discovery_failure"].is_null());
}

TEST_CASE("fleet tags: kept by the key they belong to, the smaller one of two, and gone with the key") {
  PgNode node(shared_cluster(), fresh_database_name(), "CREATE TABLE item (id int PRIMARY KEY)");
  node.prepare();
  CHECK(node.store().fleet_tags()->empty());
  const TagsByKey two{{"mbsync-v1:0a1b", "7000000000000000"}, {"mbsync-v1:2c3d", "8000000000000000"}};
  REQUIRE(node.store().store_fleet_tags(two));
  CHECK(*node.store().fleet_tags() == two);
  REQUIRE(
      node.store().store_fleet_tags({{"mbsync-v1:0a1b", "6000000000000000"}, {"mbsync-v1:2c3d", "9000000000000000"}}));
  CHECK(*node.store().fleet_tags() ==
        TagsByKey{{"mbsync-v1:0a1b", "6000000000000000"}, {"mbsync-v1:2c3d", "8000000000000000"}});
  REQUIRE(node.store().store_fleet_tags({{"mbsync-v1:2c3d", "8000000000000000"}}));
  CHECK(*node.store().fleet_tags() == TagsByKey{{"mbsync-v1:2c3d", "8000000000000000"}});
  CHECK(PgStore::read_status(parse_database_url(node.url()).value())->peers.fleet_tags == *node.store().fleet_tags());
}
