// Machines that are gone: the fleet is told to go on without one, it turns up after all, it is kept out.
#include <catch2/catch.hpp>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "child_process.h"
#include "fleet.h"
#include "wait_until.h"

using namespace mbsync::test;

namespace {

constexpr const char* kSchema = "CREATE TABLE item (id text PRIMARY KEY, note text)";

struct Said {
  int exit_code;
  std::string out;
  std::string err;
};

Said say(Node& node, std::vector<std::string> arguments) {
  const auto finished = run_program(
      mbsync_program(),
      clean_options(std::move(arguments), {{"DATABASE_URL", node.url()}}, std::filesystem::temp_directory_path()));
  return {finished.exit_code, finished.out, finished.err};
}

std::string id_of(Node& node) {
  return node.scalar("SELECT lpad(to_hex(id), 16, '0') FROM mbsync.node WHERE is_self");
}

/// As if nobody had heard of anybody for an hour.
void silence(Node& node) {
  node.execute(
      "UPDATE mbsync.node SET last_seen = now() - interval '1 hour'; UPDATE mbsync.peer SET asked_at = now() - "
      "interval "
      "'1 hour', answered_at = now() - interval '1 hour'");
}

/// What the node has seen itself it notes down some seconds later, so that it may be silent but again.
Said forget_silent(Node& node, const std::string& name) {
  Said said;
  const auto done = [&] {
    silence(node);
    said = say(node, {"peers", "forget", name});
    return said.exit_code == 0;
  };
  static_cast<void>(wait_until(seconds{60}, done, milliseconds{500}));
  return said;
}

void await(const std::string& what, Node& node, const std::string& sql, const std::string& expected) {
  const bool done = wait_until(
      seconds{60}, [&] { return node.scalar(sql) == expected; }, milliseconds{100});
  INFO(what << ": " << node.scalar(sql) << "\n" << node.log_end());
  CHECK(done);
}

constexpr const char* kLiveWrites = "SELECT count(*) FROM mbsync.change";

/// Three that are in step.
struct Shops {
  Fleet fleet;
  Node& a = fleet.add_node(Fleet::shared_cluster(), "office", kSchema);
  Node& b = fleet.add_node(Fleet::shared_cluster(), "till", kSchema);
  Node& c = fleet.add_node(Fleet::shared_cluster(), "branch", kSchema);

  Shops() {
    fleet.connect(a, b);
    fleet.connect(b, c);
    fleet.connect(a, c);
    for (Node* node : {&a, &b, &c}) {
      node->set("SYNC_INTERVAL", "500");  // how long it takes to hear of what is no write
      node->start_ready();
    }
    a.execute("INSERT INTO item SELECT 'item ' || i, 'old' FROM generate_series(1, 100) i");
    fleet.await_converged({&a, &b, &c});
    fleet.await_met({&a, &b, &c});
    fleet.await_quiet({&a, &b, &c});
  }
};

}  // namespace

TEST_CASE("membership: a machine that is gone is forgotten, and comes back with all that only it has") {
  Shops shops;
  auto& [fleet, a, b, c] = shops;
  const auto was = id_of(c);

  // What cannot be said is refused by name, with exit codes for scripts.
  const auto unknown = say(a, {"peers", "forget", "nobody"});
  CHECK(unknown.exit_code == 1);
  CHECK_THAT(unknown.err, Catch::Contains("no member of the fleet is called \"nobody\"") &&
                              Catch::Contains("'mbsync peers' shows all by name and id"));
  CHECK(say(a, {"peers", "forget"}).exit_code == 2);
  CHECK(say(a, {"peers", "forget", "branch", "ban"}).exit_code == 2);
  CHECK(say(a, {"peers", "ban", "office"}).exit_code == 1);
  const auto not_banned = say(a, {"peers", "unban", "branch"});
  CHECK(not_banned.exit_code == 0);
  CHECK_THAT(not_banned.out, Catch::Contains("is not banned."));

  c.kill9();
  c.execute("INSERT INTO item VALUES ('of the branch', 'nobody else has it')");
  c.execute("UPDATE item SET note = 'changed at the branch' WHERE id = 'item 1'");

  const auto too_soon = say(a, {"peers", "forget", "branch"});
  CHECK(too_soon.exit_code == 1);
  CHECK_THAT(too_soon.err, Catch::Contains("branch (" + was + ") is there: it was heard of"));
  const auto said = forget_silent(a, "branch");
  INFO(said.err);
  REQUIRE(said.exit_code == 0);
  CHECK_THAT(said.out, Catch::Contains("branch (" + was + ") is taken for away"));
  a.execute("DELETE FROM item WHERE id IN ('item 2', 'item 3')");
  b.execute("UPDATE item SET note = 'changed at the till' WHERE id = 'item 4'");
  await("nothing is kept", a, kLiveWrites, "0");
  await("nothing is kept", b, kLiveWrites, "0");
  // Its own write may not have been seen yet when nothing was kept.
  const auto away = "branch (" + was + ") is not waited for any more";
  CHECK(wait_until(seconds{30}, [&] { return say(b, {"status"}).out.find(away) != std::string::npos; }));
  CHECK_THAT(say(b, {"status"}).out, Catch::Contains("branch (" + was +
                                                     ") is not waited for any more (forgotten, said on "
                                                     "office at "));
  CHECK(say(b, {"peers", "forget", was}).out == "branch (" + was + ") is taken for away already.\n");

  c.start_ready();
  c.await_log("it comes back as another", seconds{60});
  fleet.await_converged({&a, &b, &c}, seconds{60});
  CHECK(a.scalar("SELECT note FROM item WHERE id = 'of the branch'") == "nobody else has it");
  CHECK(b.scalar("SELECT note FROM item WHERE id = 'item 1'") == "changed at the branch");
  CHECK(c.scalar("SELECT count(*) FROM item WHERE id IN ('item 2', 'item 3')") == "0");
  const auto now = id_of(c);
  CHECK(now != was);
  CHECK(a.scalar("SELECT count(*) FROM item") == "99");
  CHECK_THAT(say(c, {"status"}).out, Catch::Contains("Node branch (" + now + ")") && !Catch::Contains(was));

  // It is a member like any other, in both directions.
  c.await_log("starting anew under another identity");
  for (Node* node : {&a, &b, &c}) {
    node->execute("INSERT INTO item VALUES ('afterwards ' || random(), 'x')");
  }
  fleet.await_converged({&a, &b, &c}, seconds{60});
  fleet.await_quiet({&a, &b, &c});
  const auto members = nlohmann::json::parse(say(a, {"peers", "--json"}).out)["members"];
  REQUIRE(members.size() == 4);
  for (const auto& member : members) {
    CHECK((member["id"] == was) == member["away"].get<bool>());
    CHECK((member["id"] == was) == member["agreed"].get<bool>());
  }
}

TEST_CASE("membership: a machine that turns out to be there is taken back") {
  Shops shops;
  auto& [fleet, a, b, c] = shops;
  c.stop();
  b.stop();  // so that not all others can hear it
  REQUIRE(forget_silent(a, "branch").exit_code == 0);
  CHECK_THAT(say(a, {"status"}).out, Catch::Contains("and not all others have heard that yet"));
  const auto was = id_of(c);
  c.start_ready();
  c.execute("INSERT INTO item VALUES ('here I am', 'x')");
  await("it is taken back", a, "SELECT away FROM mbsync.membership", "f");
  b.start_ready();
  fleet.await_converged({&a, &b, &c}, seconds{60});
  fleet.await_quiet({&a, &b, &c});
  CHECK(id_of(c) == was);
  CHECK(wait_until(seconds{30}, [&] { return say(a, {"status"}).out.find("away") == std::string::npos; }));
}

TEST_CASE("membership: a machine that is banned is kept out until it is not") {
  Shops shops;
  auto& [fleet, a, b, c] = shops;
  const auto said = say(a, {"peers", "ban", "branch", "--json"});
  REQUIRE(said.exit_code == 0);
  CHECK(nlohmann::json::parse(said.out)["changed"] == true);
  c.await_log("says that this node is banned from the fleet", seconds{60});
  c.execute("INSERT INTO item VALUES ('from outside', 'x')");
  a.execute("INSERT INTO item VALUES ('from inside', 'x')");
  await("the others go on", b, "SELECT count(*) FROM item WHERE id = 'from inside'", "1");
  await("nothing is kept for it", b, kLiveWrites, "0");
  CHECK(c.scalar("SELECT count(*) FROM item WHERE id = 'from inside'") == "0");
  CHECK(b.scalar("SELECT count(*) FROM item WHERE id = 'from outside'") == "0");
  CHECK_THAT(say(b, {"status"}).out, Catch::Contains("is banned (banned, said on office at "));
  CHECK(
      wait_until(seconds{30}, [&] { return say(c, {"status"}).out.find("unreachable, banned") != std::string::npos; }));

  const auto unbanned = say(b, {"peers", "unban", "branch"});
  REQUIRE(unbanned.exit_code == 0);
  fleet.await_converged({&a, &b, &c}, seconds{90});
  CHECK(a.scalar("SELECT count(*) FROM item WHERE id = 'from outside'") == "1");
  CHECK(c.scalar("SELECT count(*) FROM item WHERE id = 'from inside'") == "1");
}
