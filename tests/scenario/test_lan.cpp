// Machines on a local network that know nothing of each other but the fleet's key.
#include <fmt/format.h>

#include <catch2/catch.hpp>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <set>

#include "fleet.h"
#include "lan.h"
#include "wait_until.h"

using namespace mbsync::test;
using Clock = std::chrono::steady_clock;

namespace {

constexpr const char* kSchema = "CREATE TABLE item (id text PRIMARY KEY, note text)";
constexpr std::uint16_t kPort = 8765;

void skip_without_lan() {
  if (const auto lacks = Lan::missing_mdns()) {
    fmt::print("skipped: {}\n", *lacks);
    std::exit(77);
  }
}

struct Office {
  explicit Office(std::size_t machines) {
    skip_without_lan();
    for (std::size_t i = 0; i < machines; ++i) {
      auto& host = lan.add_host();
      host.start_mdns();
      auto& node = fleet.add_node(Fleet::shared_cluster(), fmt::format("till-{}", i + 1), kSchema);
      node.launch_by(host.launcher());
      node.set("DATABASE_URL", node.cluster().socket_url(node.database()));
      node.set("SYNC_BIND", "0.0.0.0");
      node.set("SYNC_PORT", std::to_string(kPort));
      for (const auto& [name, value] : host.environment()) {
        node.set(name, value);
      }
      nodes.push_back(&node);
    }
  }

  void start() {
    for (auto* node : nodes) {
      node->start();
    }
    for (auto* node : nodes) {
      node->await_ready();
    }
  }
  // Each has found each.
  void meet() {
    start();
    for (auto* node : nodes) {
      node->await_log("peer: in step", seconds{30}, nodes.size() - 1);
    }
  }
  void write(std::size_t index, const std::string& id) {
    nodes[index]->execute(fmt::format("INSERT INTO item VALUES ('{}', 'by {}')", id, nodes[index]->name()));
  }
  // Whether all have this row before the time is up.
  bool arrives(const std::string& id, milliseconds timeout = seconds{60}) {
    return wait_until(timeout, [&] {
      return std::all_of(nodes.begin(), nodes.end(), [&](Node* node) {
        return node->scalar(fmt::format("SELECT count(*) FROM item WHERE id = '{}'", id)) == "1";
      });
    });
  }

  // mbsync with these arguments, on the machine of a node.
  Finished run(std::size_t index, std::vector<std::string> arguments) {
    const auto& host = lan.host(index);
    const auto launcher = host.launcher();
    std::vector<std::string> all(launcher.begin() + 1, launcher.end());
    all.push_back(mbsync_program());
    all.insert(all.end(), arguments.begin(), arguments.end());
    auto environment = host.environment();
    auto& node = *nodes[index];
    environment.emplace_back("DATABASE_URL", node.cluster().socket_url(node.database()));
    environment.emplace_back("SYNC_REGISTRATION_KEY", kFleetKey);
    return run_program(launcher.front(),
                       clean_options(std::move(all), environment, std::filesystem::temp_directory_path()));
  }
  nlohmann::json diagnose(std::size_t index, const std::string& target) {
    const auto finished = run(index, {"peers", "--diagnose", target, "--json"});
    INFO(finished.out << finished.err);
    REQUIRE(finished.exit_code <= 1);
    auto document = nlohmann::json::parse(finished.out);
    document["exit_code"] = finished.exit_code;
    return document;
  }
  void await_status(std::size_t index, const std::string& text) {
    const bool seen = wait_until(
        seconds{60}, [&] { return run(index, {"status"}).out.find(text) != std::string::npos; }, milliseconds{500});
    INFO(run(index, {"status"}).out << nodes[index]->log_end());
    CHECK(seen);
  }
  std::string tag_of(std::size_t index) {
    return nodes[index]->scalar(
        "SELECT coalesce(string_agg(value, ' '), '') FROM mbsync.settings WHERE name LIKE 'fleet_tag %'");
  }

  Fleet fleet;
  Lan lan;
  std::vector<Node*> nodes;
};

std::set<std::string> reasons_of(const nlohmann::json& diagnosis) {
  std::set<std::string> reasons;
  for (const auto& finding : diagnosis["findings"]) {
    CHECK_FALSE(finding["next"].get<std::string>().empty());
    reasons.insert(finding["reason"]);
  }
  return reasons;
}

/// The diagnosis on the first machine. What its node has met it knows from the database, where the node, which status
/// asks itself, writes it a moment later.
nlohmann::json await_reasons(Office& office, const std::string& target, const std::set<std::string>& expected) {
  auto diagnosis = office.diagnose(0, target);
  static_cast<void>(wait_until(
      seconds{30},
      [&] {
        diagnosis = office.diagnose(0, target);
        return reasons_of(diagnosis) == expected;
      },
      milliseconds{250}));
  return diagnosis;
}

}  // namespace

TEST_CASE("lan: nodes that have nothing but the key find each other") {
  Office office(3);
  office.start();
  const auto ready = Clock::now();
  for (auto* node : office.nodes) {
    node->await_log("peer: in step", seconds{30}, 2);
  }
  const auto took = std::chrono::duration_cast<milliseconds>(Clock::now() - ready);
  report(fmt::format("lan discovery: three nodes in step {} ms after they listened", took.count()));
  CHECK(took < seconds{5});
  office.write(0, "one");
  CHECK(office.arrives("one", seconds{10}));
  // Each hears its own announcement, and takes no notice of it.
  CHECK(office.nodes[0]->count_in_log("node's own") == 0);
  CHECK(office.nodes[0]->count_in_log("warning") == 0);

  // Each began with a tag of its own. They have one now, and say so on the network.
  CHECK(wait_until(seconds{40}, [&] {
    const std::set<std::string> tags{office.tag_of(0), office.tag_of(1), office.tag_of(2)};
    return tags.size() == 1 && tags.begin()->size() == 16;
  }));
  CHECK(wait_until(seconds{90}, [&] {
    const auto diagnosis = office.diagnose(0, "till-3");
    const auto& seen = diagnosis["advertised"]["announcements"];
    return diagnosis["exit_code"] == 0 && !seen.empty() && seen[0]["our_fleet"] == true;
  }));
}

TEST_CASE("lan: why a machine is not there is said by what the network says of it") {
  Office office(2);
  office.nodes[0]->start_ready();

  // Nobody has ever seen it.
  auto never = office.diagnose(0, "till-2");
  CHECK(never["exit_code"] == 1);
  CHECK(never["advertised"]["looked"] == true);
  CHECK(never["advertised"]["seen"] == false);
  CHECK(reasons_of(never).contains("not_advertised"));

  office.nodes[1]->start_ready();
  office.nodes[0]->await_log("peer: in step", seconds{30});
  const auto there = office.diagnose(0, "till-2");
  INFO(there);
  CHECK(there["exit_code"] == 0);
  CHECK(there["advertised"]["announcements"][0]["name"] == "till-2");
  CHECK(there["address"] == fmt::format("{}:{}", office.lan.host(1).address(), kPort));
  CHECK(office.diagnose(0, office.lan.host(1).address())["exit_code"] == 0);

  SECTION("it is advertised by an address that does not answer") {
    office.lan.set_all({0, milliseconds{0}, true});
    office.await_status(0, "unreachable, address silent");
    const auto silent = await_reasons(office, "till-2", {"address_silent"});
    INFO(silent);
    CHECK(silent["exit_code"] == 1);
    CHECK(silent["advertised"]["seen"] == true);
    CHECK(reasons_of(silent) == std::set<std::string>{"address_silent"});
    CHECK_THAT(
        office.run(0, {"peers", "--diagnose", "till-2"}).out,
        Catch::Contains("it is advertised by 10.77.0.2:8765, which does not answer") && Catch::Contains("firewall"));
  }
  SECTION("it is stopped, and takes its announcement along") {
    office.nodes[1]->stop();
    office.await_status(0, "unreachable, not advertised");
    const auto gone = await_reasons(office, "till-2", {"not_advertised", "port_closed"});
    INFO(gone);
    CHECK(gone["exit_code"] == 1);
    CHECK(reasons_of(gone) == std::set<std::string>{"not_advertised", "port_closed"});
  }
  SECTION("this machine has no mDNS daemon, and that is no matter while it knows the way") {
    office.lan.host(0).stop_mdns();
    const auto blind = office.diagnose(0, "till-2");
    INFO(blind);
    CHECK(blind["exit_code"] == 0);
    CHECK(reasons_of(blind) == std::set<std::string>{"no_discovery"});
    const auto stranger = office.run(0, {"peers", "--diagnose", "00000000000000ff"});
    CHECK(stranger.exit_code == 1);
    CHECK_THAT(stranger.out, Catch::Contains("this machine cannot look on its network") &&
                                 Catch::Contains("start avahi-daemon") && Catch::Contains("SYNC_PEERS"));
  }
}

TEST_CASE("lan: a machine of another fleet is asked seldom, and at once when it has the right key") {
  Office office(3);
  constexpr const char* kOtherKey = "MK2W-7PDX-T4QZ-H9CB-3VNR-L6FJ";
  auto& stranger = *office.nodes[2];
  stranger.set("SYNC_REGISTRATION_KEY", kOtherKey);
  office.start();
  office.nodes[0]->await_log("peer: in step", seconds{30});
  office.nodes[0]->await_log("it advertises another fleet", seconds{30});
  const auto id = stranger.scalar("SELECT id FROM mbsync.node WHERE is_self");
  const auto failed_at = [&] {
    return office.nodes[0]->scalar(
        fmt::format("SELECT coalesce(max(failed_at)::text, '') FROM mbsync.peer WHERE node = {}", id));
  };
  REQUIRE(wait_until(seconds{20}, [&] { return !failed_at().empty(); }));
  CHECK_THAT(office.run(0, {"peers"}).out, Catch::Contains("does not answer, advertises another fleet: "));
  const auto diagnosis = office.diagnose(0, "till-3");
  INFO(diagnosis);
  CHECK(diagnosis["exit_code"] == 1);
  CHECK(diagnosis["advertised"]["announcements"][0]["our_fleet"] == false);
  CHECK(reasons_of(diagnosis).contains("other_fleet"));
  CHECK_FALSE(reasons_of(diagnosis).contains("other_key"));

  // What is tried again is written down within ten seconds. (Otherwise it would be tried after two, four and eight.)
  const auto last = failed_at();
  CHECK_FALSE(wait_until(seconds{15}, [&] { return failed_at() != last; }));

  stranger.stop();
  stranger.set("SYNC_REGISTRATION_KEY", kFleetKey);
  const auto met = office.nodes[0]->count_in_log("peer: in step");
  stranger.start_ready();
  const auto ready = Clock::now();
  office.nodes[0]->await_log("peer: in step", seconds{30}, met + 1);
  const auto took = std::chrono::duration_cast<milliseconds>(Clock::now() - ready);
  report(fmt::format("lan: in step {} ms after it was started with the right key", took.count()));
  CHECK(took < seconds{5});
}

TEST_CASE("lan: a node that vanishes is noticed, and found again, at another address too") {
  Office office(2);
  office.meet();

  SECTION("its process is killed, and started again") {
    office.nodes[1]->kill9();
    office.nodes[0]->await_log("not in step", seconds{30});
    office.write(0, "while");
    office.nodes[1]->start();
    CHECK(office.arrives("while"));
  }
  SECTION("its cable is out, and back") {
    office.lan.host(1).plug(false);
    office.nodes[0]->await_log("not in step", seconds{60});
    office.write(0, "while");
    office.write(1, "there");
    office.lan.host(1).plug(true);
    CHECK(office.arrives("while"));
    CHECK(office.arrives("there"));
  }
  SECTION("it is given another address") {
    office.lan.host(1).move_to("10.77.0.99");
    office.write(0, "after");
    office.write(1, "moved");
    CHECK(office.arrives("after", seconds{120}));
    CHECK(office.arrives("moved", seconds{120}));
    office.nodes[0]->await_log("10.77.0.99", seconds{120});
  }
}

TEST_CASE("lan: who announces a node's identity is a copy of its database only if one answers there") {
  constexpr const char* kTold = "another machine says that it is this node";
  constexpr const char* kAsked = "asked who announces this node's identity";
  Office office(2);
  auto& node = *office.nodes[0];
  auto& copy = *office.nodes[1];
  node.start_ready();
  node.stop();
  const auto id = node.scalar("SELECT lpad(to_hex(id), 16, '0') FROM mbsync.node WHERE is_self");
  copy.cluster().execute("postgres", fmt::format("CREATE DATABASE cloned TEMPLATE \"{}\"", node.database()));
  copy.set("DATABASE_URL", copy.cluster().socket_url("cloned"));
  for (auto* each : office.nodes) {
    each->set("LOG_LEVEL", "debug");
    each->set("SYNC_INTERVAL", "2000");
  }
  copy.start_ready();
  REQUIRE(wait_until(seconds{60}, [&] { return office.diagnose(0, id)["advertised"]["seen"] == true; }));
  // Announced, and nobody answers: as what a daemon remembers of earlier.
  copy.signal(SIGSTOP);
  node.start_ready();
  node.await_log(kAsked, seconds{90});
  CHECK(node.count_in_log(kTold) == 0);
  copy.signal(SIGCONT);
  node.await_log(kTold, seconds{90});
  copy.await_log(kTold, seconds{90});
}

TEST_CASE("lan: without an mDNS daemon that is said once, what is known goes on, and it is used when it comes") {
  Office office(2);
  office.meet();
  // It may have met the other one by being asked, before it looked itself.
  office.nodes[0]->await_log("peers are looked for source=mdns", seconds{30});
  office.lan.host(0).kill_mdns();
  office.nodes[0]->await_log("peers cannot be found by themselves", seconds{30});
  office.await_status(0, "Peers are not found by themselves here");
  office.write(0, "without");
  office.write(1, "also without");
  CHECK(office.arrives("without"));
  CHECK(office.arrives("also without"));
  CHECK(office.nodes[0]->count_in_log("not in step") == 0);

  office.lan.host(0).start_mdns();
  office.nodes[0]->await_log("peers are looked for source=mdns", seconds{60}, 2);
  CHECK(office.nodes[0]->count_in_log("peers cannot be found by themselves") == 1);
  CHECK(wait_until(seconds{10}, [&] {
    return office.run(0, {"status"}).out.find("Peers are not found by themselves here") == std::string::npos;
  }));
}

TEST_CASE("lan: where there is no daemon at all, one names the other, and both remember that") {
  Office office(2);
  for (std::size_t i = 0; i < 2; ++i) {
    office.lan.host(i).stop_mdns();
  }
  office.nodes[0]->set("SYNC_PEERS", office.lan.host(1).address());
  office.start();
  office.write(0, "named");
  office.write(1, "has heard of it by being asked");
  CHECK(office.arrives("named"));
  CHECK(office.arrives("has heard of it by being asked"));
  office.nodes[0]->await_log("peers cannot be found by themselves", seconds{30});

  for (auto* node : office.nodes) {
    REQUIRE(wait_until(seconds{30}, [&] {
      return node->scalar("SELECT count(*) FROM mbsync.peer_address WHERE answered_at IS NOT NULL") == "1";
    }));
    node->stop();
  }
  office.nodes[0]->set("SYNC_PEERS", "");
  office.start();
  office.write(0, "remembered");
  office.write(1, "remembered too");
  CHECK(office.arrives("remembered"));
  CHECK(office.arrives("remembered too"));
}

TEST_CASE("lan: packets that are lost, late, or go one way only") {
  Office office(2);
  office.meet();

  SECTION("a fifth is lost, and all take 300 ms more") {
    office.lan.set_all({0.2, milliseconds{300}, false});
    office.write(0, "late");
    office.write(1, "late too");
    CHECK(office.arrives("late", seconds{120}));
    CHECK(office.arrives("late too", seconds{120}));
  }
  SECTION("one way is cut, and open again") {
    office.lan.set(office.lan.host(0), office.lan.host(1), {0, milliseconds{0}, true});
    office.nodes[1]->await_log("not in step", seconds{60});
    office.write(0, "cut");
    office.write(1, "cut too");
    office.lan.set_all({});
    CHECK(office.arrives("cut"));
    CHECK(office.arrives("cut too"));
  }
}
