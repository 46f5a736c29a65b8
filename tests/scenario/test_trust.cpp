// Who may take part: a fleet that changes its key while it works, and nodes that are not on a list.
#include <fmt/format.h>

#include <catch2/catch.hpp>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>

#include "child_process.h"
#include "fleet.h"
#include "wait_until.h"

using namespace mbsync::test;

namespace {

constexpr const char* kSchema = "CREATE TABLE item (id text PRIMARY KEY)";
constexpr const char* kOldKey = kFleetKey;
constexpr const char* kNewKey = "MK2W-7PDX-T4QZ-H9CB-3VNR-L6FJ";

std::string status(Node& node, std::vector<std::string> arguments = {}) {
  arguments.insert(arguments.begin(), "status");
  const auto finished = run_program(
      mbsync_program(),
      clean_options(std::move(arguments), {{"DATABASE_URL", node.url()}}, std::filesystem::temp_directory_path()));
  INFO(finished.err);
  REQUIRE(finished.exit_code <= 2);  // what it says of the node is not what is looked at here
  return finished.out;
}

std::string id_of(Node& node) {
  return node.scalar("SELECT lpad(to_hex(id), 16, '0') FROM mbsync.node WHERE is_self");
}

void await_status(Node& node, const std::string& text) {
  const bool seen = wait_until(
      seconds{60}, [&] { return status(node).find(text) != std::string::npos; }, milliseconds{200});
  INFO(status(node) << node.log_end());
  CHECK(seen);
}

}  // namespace

TEST_CASE("trust: a fleet changes its key machine by machine, and at no time does a write not arrive") {
  Fleet fleet;
  auto& cluster = Fleet::shared_cluster();
  Node& a = fleet.add_node(cluster, "a", kSchema);
  Node& b = fleet.add_node(cluster, "b", kSchema);
  Node& c = fleet.add_node(cluster, "c", kSchema);
  fleet.connect(a, b);
  fleet.connect(b, c);
  for (Node* node : {&a, &b, &c}) {
    node->start_ready();
  }
  int number = 0;
  const auto check = [&](const std::string& step) {
    INFO(step);
    // Each end writes, and both go through the one in the middle.
    for (Node* node : {&a, &c}) {
      node->execute(fmt::format("INSERT INTO item VALUES ('{} {}')", node->name(), ++number));
    }
    fleet.await_converged({&a, &b, &c}, seconds{60});
  };
  const auto change = [&](Node& node, const std::string& key, const std::string& next) {
    node.stop();
    node.set("SYNC_REGISTRATION_KEY", key);
    node.set("SYNC_REGISTRATION_KEY_NEXT", next);
    node.start_ready();
    check(fmt::format("{} has {} and {}", node.name(), key == kOldKey ? "old" : "new",
                      next.empty()      ? "none"
                      : next == kOldKey ? "old"
                                        : "new"));
  };
  check("one key");
  CHECK_THAT(status(b), !Catch::Contains("Registration keys"));

  // The next one everywhere, in any order.
  change(b, kOldKey, kNewKey);
  change(a, kOldKey, kNewKey);
  change(c, kOldKey, kNewKey);
  await_status(b, "All other members come with the current one.");
  // It becomes the current one. With the old one as the next, or, where nobody has been forgotten, without.
  change(c, kNewKey, kOldKey);
  change(a, kNewKey, "");
  await_status(b, "All other members come with the next one.");
  const auto keys = nlohmann::json::parse(status(b, {"--json"}))["registration_keys"];
  CHECK(keys["next"] == nlohmann::json({"a", "c"}));
  change(b, kNewKey, kOldKey);
  await_status(b, "All other members come with the current one.");
  await_status(c, "come with the current one:");
  // The old one goes.
  change(c, kNewKey, "");
  change(b, kNewKey, "");

  // Who has slept through it all is told so.
  a.stop();
  a.set("SYNC_REGISTRATION_KEY", kOldKey);
  a.start_ready();
  a.await_log("its SYNC_REGISTRATION_KEY differs");
  for (Node* node : {&a, &b, &c}) {
    for (const char* key : {kOldKey, kNewKey}) {
      CHECK(node->count_in_log(key) == 0);
      CHECK(status(*node).find(key) == std::string::npos);
    }
  }
}

TEST_CASE("trust: a fleet comes to have one tag for its key, over those between, and keeps it") {
  Fleet fleet;
  auto& cluster = Fleet::shared_cluster();
  Node& a = fleet.add_node(cluster, "a", kSchema);
  Node& b = fleet.add_node(cluster, "b", kSchema);
  Node& c = fleet.add_node(cluster, "c", kSchema);
  fleet.connect(a, b);
  fleet.connect(b, c);
  const auto tag_of = [](Node& node) {
    return node.scalar(
        "SELECT coalesce(string_agg(value, ' '), '') FROM mbsync.settings WHERE name LIKE 'fleet_tag %'");
  };
  // By themselves each makes one of its own.
  a.start_ready();
  REQUIRE(wait_until(seconds{20}, [&] { return tag_of(a).size() == 16; }));
  const auto first = tag_of(a);
  b.start_ready();
  c.start_ready();
  const auto agree = [&] {
    const std::set<std::string> tags{tag_of(a), tag_of(b), tag_of(c)};
    return tags.size() == 1 && tags.begin()->size() == 16;
  };
  REQUIRE(wait_until(seconds{40}, agree));
  const auto agreed = tag_of(a);
  CHECK(agreed <= first);

  a.stop();
  a.start_ready();
  a.await_log("peer: in step");
  CHECK(agree());
  CHECK(tag_of(a) == agreed);

  // Another key: another tag, which nobody could have found from the key or from the one before.
  a.stop();
  a.set("SYNC_REGISTRATION_KEY", kNewKey);
  a.start_ready();
  REQUIRE(wait_until(seconds{20}, [&] { return tag_of(a) != agreed; }));
  CHECK(tag_of(a).size() == 16);
  a.await_log("its SYNC_REGISTRATION_KEY differs");
  CHECK(tag_of(b) == agreed);
  CHECK(tag_of(c) == agreed);
}

TEST_CASE("trust: weak and equal next keys are refused by name") {
  Fleet fleet;
  Node& node = fleet.add_node(Fleet::shared_cluster(), "wrong", kSchema);
  for (const auto& [key, reason] : std::vector<std::pair<std::string, std::string>>{
           {"password12345678", "is too easy to guess"}, {kOldKey, "is the same as SYNC_REGISTRATION_KEY"}}) {
    node.set("SYNC_REGISTRATION_KEY_NEXT", key);
    node.start();
    CHECK(node.wait(seconds{20}).value_or(-1) == 2);
    CHECK_THAT(node.log(), Catch::Contains("SYNC_REGISTRATION_KEY_NEXT " + reason) && !Catch::Contains(key));
  }
}

TEST_CASE("trust: with a list of nodes, others neither get anything nor bring anything, and both sides say so") {
  Fleet fleet;
  auto& cluster = Fleet::shared_cluster();
  Node& a = fleet.add_node(cluster, "a", kSchema);
  Node& b = fleet.add_node(cluster, "b", kSchema);
  fleet.connect(a, b);
  a.start();
  b.start();
  fleet.await_met({&a, &b});
  const std::string id = id_of(b);
  a.stop();
  b.stop();

  a.set("SYNC_ALLOWED_NODES", "00000000000000ff");
  a.start_ready();
  b.start_ready();
  a.execute("INSERT INTO item VALUES ('of a')");
  b.execute("INSERT INTO item VALUES ('of b')");
  const std::string reason = fmt::format("node {} ('b') is not among those that 'a' exchanges with", id);
  const std::string hint = fmt::format("add {} to SYNC_ALLOWED_NODES on 'a'", id);
  // Of a: it does not answer b, and does not take what b would bring.
  a.await_log("request refused");
  a.await_log(reason, seconds{20}, 2);
  b.await_log(reason);
  INFO("a: " << a.log() << "b: " << b.log());
  CHECK(a.count_in_log(hint) == 2);
  CHECK(b.count_in_log(hint) == 1);
  CHECK(a.count_in_log("request refused") == 1);
  CHECK(a.scalar("SELECT count(*) FROM item") == "1");
  CHECK(b.scalar("SELECT count(*) FROM item") == "1");

  a.stop();
  a.set("SYNC_ALLOWED_NODES", "00000000000000ff, " + id);
  a.start_ready();
  fleet.await_converged({&a, &b});
  CHECK(a.scalar("SELECT count(*) FROM item") == "2");
}

namespace {

struct Diagnosis {
  int exit_code = 0;
  std::string text;
  nlohmann::json document;

  [[nodiscard]] std::string reasons() const {
    std::string all;
    for (const auto& finding : document["findings"]) {
      CHECK_FALSE(finding["next"].get<std::string>().empty());
      all += (all.empty() ? "" : " ") + finding["reason"].get<std::string>();
    }
    return all;
  }
};

/// By the machine of `node`; it does not look on the network, as its node does not.
/// `expected`: the reasons that it comes to before long.
Diagnosis diagnose(Node& node, const std::string& target, const std::string& key = kFleetKey,
                   const std::optional<std::string>& expected = {}) {
  const auto run = [&](std::vector<std::string> more) {
    more.insert(more.begin(), {"peers", "--diagnose", target});
    return run_program(
        mbsync_program(),
        clean_options(std::move(more),
                      {{"DATABASE_URL", node.url()}, {"SYNC_REGISTRATION_KEY", key}, {"SYNC_BIND", "127.0.0.1"}},
                      std::filesystem::temp_directory_path()));
  };
  auto json = run({"--json"});
  if (expected) {
    // What the node has met stands in the database a moment after it is in its own status.
    static_cast<void>(wait_until(
        seconds{30},
        [&] {
          json = run({"--json"});
          return Diagnosis{json.exit_code, "", nlohmann::json::parse(json.out)}.reasons() == *expected;
        },
        milliseconds{250}));
  }
  const auto text = run({});
  INFO(json.out << json.err);
  CHECK(text.exit_code == json.exit_code);
  CHECK_THAT(json.out + json.err + text.out + text.err, !Catch::Contains(key));
  return {json.exit_code, text.out, nlohmann::json::parse(json.out)};
}

}  // namespace

TEST_CASE("peers: why a machine is not reached is said step by step, and what to do") {
  Fleet fleet;
  auto& cluster = Fleet::shared_cluster();
  Node& a = fleet.add_node(cluster, "a", kSchema);
  Node& b = fleet.add_node(cluster, "b", kSchema);
  a.add_peer(b.port());
  b.add_peer(a.port());
  a.start_ready();
  b.start_ready();
  a.await_log("peer: in step");
  b.await_log("peer: in step");
  const auto address_of = [](const Node& node) { return fmt::format("127.0.0.1:{}", node.port()); };

  const auto reached = diagnose(a, address_of(b));
  INFO(reached.text);
  CHECK(reached.exit_code == 0);
  CHECK(reached.document["reached"] == true);
  CHECK(reached.document["address"] == address_of(b));
  CHECK(reached.document["node"]["id"] == id_of(b));
  CHECK(reached.document["steps"].size() == 4);
  CHECK(reached.document["advertised"]["looked"] == false);

  // By what the running node has written down, its name or its id will do.
  REQUIRE(wait_until(seconds{30}, [&] {
    return a.scalar("SELECT count(*) FROM mbsync.peer_address WHERE answered_at IS NOT NULL") == "1";
  }));
  for (const auto& target : {std::string("b"), id_of(b)}) {
    const auto by_name = diagnose(a, target);
    INFO(by_name.text);
    CHECK(by_name.exit_code == 0);
    CHECK(by_name.document["address"] == address_of(b));
    CHECK(by_name.document["ways"][0]["known_from"] == nlohmann::json({"remembered"}));
  }

  // What it is asked in its own name, the running node takes for a copy of its database.
  const auto itself = run_program(mbsync_program(), clean_options({"peers", "--diagnose", address_of(a)},
                                                                  {{"DATABASE_URL", a.url()},
                                                                   {"SYNC_REGISTRATION_KEY", kFleetKey},
                                                                   {"SYNC_BIND", "127.0.0.1"},
                                                                   {"SYNC_PORT", std::to_string(a.port())}},
                                                                  std::filesystem::temp_directory_path()));
  CHECK(itself.exit_code == 2);
  CHECK_THAT(itself.err, Catch::Contains("'" + address_of(a) + "' is this machine itself: at " + address_of(a) +
                                         " listens its own node, a (" + id_of(a) + ")"));
  CHECK(a.count_in_log("both nodes have the identity") == 0);

  const auto other_key = diagnose(a, address_of(b), kNewKey);
  CHECK(other_key.exit_code == 1);
  CHECK(other_key.reasons() == "other_key");
  CHECK_THAT(other_key.text, Catch::Contains("key   FAILED") && Catch::Contains("Next: set the same SYNC_REG"));

  // Of one that was never heard of.
  const auto nobody = diagnose(a, "00000000000000ff");
  CHECK(nobody.exit_code == 1);
  CHECK(nobody.reasons() == "no_discovery");
  CHECK_THAT(nobody.text, Catch::Contains("Advertised: not looked for") && Catch::Contains("SYNC_PEERS"));
  const auto unknown = diagnose(a, "no-such-machine.invalid");
  CHECK(unknown.exit_code == 1);
  CHECK(unknown.reasons() == "name_unknown");

  // Something is there that only one of the two has.
  a.execute("CREATE TABLE extra (id int PRIMARY KEY); INSERT INTO extra VALUES (1)");
  await_status(b, "unreachable, schema differs");
  const auto schema = diagnose(b, "a", kFleetKey, "schema_differs");
  INFO(schema.text);
  CHECK(schema.exit_code == 1);
  CHECK(schema.reasons() == "schema_differs");
  CHECK_THAT(schema.text, Catch::Contains("extra exists on a but not here") && Catch::Contains("migrations"));
  b.execute("CREATE TABLE extra (id int PRIMARY KEY)");
  await_status(b, "Peers Connected: 1");
  CHECK(diagnose(b, "a", kFleetKey, "").exit_code == 0);

  b.stop();
  await_status(a, "unreachable, port closed");
  await_status(a, "b does not answer, port closed: ");
  const auto closed = diagnose(a, address_of(b), kFleetKey, "port_closed");
  CHECK(closed.exit_code == 1);
  CHECK(closed.reasons() == "port_closed");
  CHECK_THAT(closed.text,
             Catch::Contains("port  FAILED") && Catch::Contains("Next: that machine is there, but nothing"));
  CHECK(diagnose(a, "b", kFleetKey, "port_closed").reasons() == "port_closed");

  // It comes back with a list on which a is not.
  b.set("SYNC_ALLOWED_NODES", "00000000000000ff");
  b.start_ready();
  await_status(a, "unreachable, not allowed");
  CHECK(diagnose(a, "b", kFleetKey, "not_allowed").reasons() == "not_allowed");
  b.stop();
  b.set("SYNC_REGISTRATION_KEY", kNewKey);
  b.start_ready();
  await_status(a, "unreachable, other key");
  CHECK(diagnose(a, "b", kFleetKey, "other_key").reasons() == "other_key");

  const auto list = run_program(mbsync_program(), clean_options({"peers", "--json"}, {{"DATABASE_URL", a.url()}},
                                                                std::filesystem::temp_directory_path()));
  CHECK(list.exit_code == 0);
  CHECK(nlohmann::json::parse(list.out)["peers"][0]["reason"] == "other_key");
}
