// Machines on a local network that know nothing of each other but the fleet's key.
#include <fmt/format.h>

#include <catch2/catch.hpp>
#include <cstdlib>

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

  Fleet fleet;
  Lan lan;
  std::vector<Node*> nodes;
};

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

TEST_CASE("lan: without an mDNS daemon that is said once, what is known goes on, and it is used when it comes") {
  Office office(2);
  office.meet();
  office.lan.host(0).kill_mdns();
  office.nodes[0]->await_log("peers cannot be found by themselves", seconds{30});
  office.write(0, "without");
  office.write(1, "also without");
  CHECK(office.arrives("without"));
  CHECK(office.arrives("also without"));
  CHECK(office.nodes[0]->count_in_log("not in step") == 0);

  office.lan.host(0).start_mdns();
  office.nodes[0]->await_log("peers are looked for source=mdns", seconds{60}, 2);
  CHECK(office.nodes[0]->count_in_log("peers cannot be found by themselves") == 1);
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
