// mbsync resolve as a user meets it, on real databases: what is printed, exit codes, many at once, and the walk.
#include <catch2/catch.hpp>
#include <csignal>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <sstream>

#include "child_process.h"
#include "commands/resolve_walk.h"
#include "free_port.h"
#include "node_pair.h"
#include "resolution.h"
#include "wait_until.h"

using namespace mbsync;
using namespace mbsync::test;

namespace {

constexpr const char* kSchema = "CREATE TABLE t (id text PRIMARY KEY, v text, w text UNIQUE)";

Finished run(PgNode& node, std::vector<std::string> arguments) {
  arguments.insert(arguments.begin(), "resolve");
  return run_program(MBSYNC_PROGRAM, {.arguments = std::move(arguments),
                                      .environment = {{"DATABASE_URL", node.url()}},
                                      .unset = {"SYNC_REGISTRATION_KEY"},
                                      .working_directory = std::filesystem::temp_directory_path()});
}

nlohmann::json json_of(const Finished& finished) {
  INFO(finished.err);
  REQUIRE_FALSE(finished.out.empty());
  return nlohmann::json::parse(finished.out);
}

// Conflicts of v in rows k1, k2 ... on both nodes, all open: a wrote 'a k1', b, later, 'b k1'.
void conflicts(Pair& pair, int rows) {
  pair.a.execute("INSERT INTO t SELECT 'k' || i, 'first', NULL FROM generate_series(1, " + std::to_string(rows) +
                 ") i");
  pair.exchange();
  pair.a.execute("UPDATE t SET v = 'a ' || id");
  pair.b.execute("UPDATE t SET v = 'b ' || id");
  pair.exchange();
  pair.a.execute("UPDATE mbsync.conflict_record SET is_open = true");
  pair.exchange();
}

std::string id_of(PgNode& node, const std::string& key) {
  return node.scalar("SELECT id FROM mbsync.conflict WHERE key = '" + key + "'");
}

std::string values(PgNode& node) {
  return node.scalar("SELECT string_agg(coalesce(v, 'NULL'), ',' ORDER BY id) FROM t");
}

}  // namespace

TEST_CASE("resolve: list and show, as text and as JSON", "[resolve]") {
  Pair pair(kSchema);
  auto empty = run(pair.a, {});
  CHECK(empty.exit_code == 0);
  CHECK(empty.out == "No conflict waits for a decision.\n\n0 open, 0 decided by rules, 0 resolved by people.\n");
  conflicts(pair, 2);
  pair.a.execute("UPDATE mbsync.conflict_record SET is_open = false WHERE key = 'k2'");
  const auto id = id_of(pair.a, "k1");

  // Not at a terminal, resolve alone lists.
  for (const auto& arguments : {std::vector<std::string>{}, std::vector<std::string>{"list"}}) {
    const auto list = run(pair.a, arguments);
    CHECK(list.exit_code == 0);
    CHECK_THAT(list.out, Catch::StartsWith("Id ") && Catch::Contains(id.substr(0, 8)) && Catch::Contains("public.t") &&
                             Catch::Contains("k1") && !Catch::Contains("k2") &&
                             Catch::Contains("1 open, 1 decided by rules, 0 resolved by people."));
  }
  const auto document = json_of(run(pair.a, {"list", "--all", "--json"}));
  CHECK(document["open"] == 1);
  CHECK(document["decided"] == 1);
  CHECK(document["resolved"] == 0);
  CHECK(document["more"] == false);
  REQUIRE(document["conflicts"].size() == 2);
  for (const char* member : {"id", "state", "kind", "schema", "table", "key", "columns", "nodes", "rules", "at",
                             "recorded_at", "resolution"}) {
    CHECK(document["conflicts"][0].contains(member));
  }
  CHECK(json_of(run(pair.a, {"list", "--decided", "--json"}))["conflicts"][0]["key"] == "k2");
  CHECK(json_of(run(pair.a, {"--json", "--table", "t", "--limit", "1"}))["conflicts"].size() == 1);

  pair.a.execute("UPDATE t SET w = E'tab\\t\\x1b[2J' WHERE id = 'k1'");
  const auto show = run(pair.a, {"show", id.substr(0, 8)});
  CHECK(show.exit_code == 0);
  CHECK_THAT(show.out, Catch::Contains("Version 1") && Catch::Contains("a k1") && Catch::Contains("b k1 (stands)") &&
                           Catch::Contains("Row now") && Catch::Contains("last-writer-wins") &&
                           Catch::Contains("wrote w at") && Catch::Contains("not sealed yet"));
  const auto details = json_of(run(pair.a, {"show", id, "--json"}));
  CHECK(details["conflict"]["id"] == id);
  CHECK(details["versions"].size() == 2);
  CHECK(details["versions"][0]["node"]["name"] == pair.a.database());
  CHECK(details["versions"][0]["values"] == nlohmann::json{{"v", "a k1"}});
  CHECK(details["outcome"]["columns"]["v"]["version"] == 2);
  CHECK(details["row"]["values"] == nlohmann::json{{"id", "k1"}, {"v", "b k1"}, {"w", "tab\t\x1b[2J"}});
  CHECK(details["after"]["writes"][0]["columns"] == nlohmann::json{"w"});
  CHECK(details["after"]["writes"][0]["counter"].is_null());
  CHECK(details["after"]["conflicts"].empty());
}

TEST_CASE("resolve: accept, keep, set and undo, and what they end with", "[resolve]") {
  Pair pair(kSchema);
  conflicts(pair, 3);
  const auto k1 = id_of(pair.a, "k1");
  const auto k2 = id_of(pair.a, "k2");
  const auto k3 = id_of(pair.a, "k3");
  CHECK(run(pair.a, {"accept", k1}).exit_code == 0);
  const auto kept = run(pair.a, {"keep", k2, "--node", pair.a.database()});
  CHECK(kept.exit_code == 0);
  CHECK(kept.out == k2.substr(0, 8) + "  public.t k2: keep, row updated\n  v: b k2 -> a k2\n");
  const auto set = json_of(run(pair.a, {"set", k3, "v=it's = \"x\"", "w:=null", "--json"}));
  CHECK(set["done"] == 1);
  CHECK(set["failed"] == 0);
  CHECK(set["results"][0]["row"] == "updated");
  CHECK(set["results"][0]["changed"] == nlohmann::json{{{"column", "v"}, {"from", "b k3"}, {"to", "it's = \"x\""}}});
  CHECK(values(pair.a) == "b k1,a k2,it's = \"x\"");
  CHECK(run(pair.a, {"undo", k3}).exit_code == 0);
  CHECK(run(pair.a, {"set", k3, "--null", "v"}).exit_code == 0);
  CHECK(values(pair.a) == "b k1,a k2,NULL");

  const auto twice = run(pair.a, {"accept", k1});
  CHECK(twice.exit_code == 1);
  CHECK_THAT(twice.err, Catch::StartsWith("mbsync: conflict " + k1 + " has been resolved already") &&
                            Catch::Contains("what to do: undo that first"));
  const auto twice_json = json_of(run(pair.a, {"accept", k1, "--json"}));
  CHECK(twice_json["error"]["kind"] == "rejected");
  CHECK(run(pair.a, {"undo", k1}).exit_code == 0);
  pair.a.execute("UPDATE t SET v = 'meanwhile' WHERE id = 'k1'");
  const auto changed = run(pair.a, {"keep", k1, "--version", "1"});
  CHECK(changed.exit_code == 1);
  CHECK_THAT(changed.err, Catch::Contains("--force"));
  CHECK(run(pair.a, {"keep", k1, "--version", "1", "--force"}).exit_code == 0);
  pair.a.execute("INSERT INTO t VALUES ('other', NULL, 'taken')");
  CHECK(run(pair.a, {"undo", k1}).exit_code == 0);
  const auto taken = run(pair.a, {"set", k1, "w=taken"});
  CHECK(taken.exit_code == 1);
  CHECK_THAT(taken.err, Catch::Contains("duplicate key value") && Catch::Contains("another row has this value"));
  CHECK(run(pair.a, {"show", "0000000000"}).exit_code == 1);
  CHECK(run(pair.a, {"show", "no"}).exit_code == 2);
  CHECK(run(pair.a, {"list", "--since", "tomorrowish"}).exit_code == 2);
  CHECK(run(pair.a, {"list", "--node", "nobody"}).exit_code == 1);
}

TEST_CASE("resolve: many at once, each for itself", "[resolve]") {
  Pair pair(kSchema);
  conflicts(pair, 6);
  pair.a.execute("UPDATE t SET v = 'meanwhile' WHERE id = 'k3'");
  const auto asked = run(pair.a, {"keep", "--all", "--node", pair.a.database()});
  CHECK(asked.exit_code == 2);
  CHECK_THAT(asked.err, Catch::Contains("6 conflicts would be decided") && Catch::Contains("--yes"));
  CHECK(run(pair.a, {"accept", "--all", "--table", "none*", "--yes"}).exit_code == 1);

  const auto some = run(pair.a, {"accept", "--all", "--key", "k6", "--yes"});
  CHECK(some.exit_code == 0);
  const auto all = run(pair.a, {"keep", "--all", "--node", pair.a.database(), "--yes", "--json"});
  CHECK(all.exit_code == 1);  // k3
  const auto document = json_of(all);
  CHECK(document["done"] == 4);
  CHECK(document["failed"] == 1);
  CHECK(values(pair.a) == "a k1,a k2,meanwhile,a k4,a k5,b k6");
  for (const auto& result : document["results"]) {
    if (result["done"] == false) {
      CHECK(result["id"] == id_of(pair.a, "k3"));
      CHECK(result["error"]["kind"] == "rejected");
    }
  }
  CHECK(pair.a.scalar("SELECT string_agg(key, ',') FROM mbsync.conflict WHERE is_open") == "k3");

  // What was resolved is what undo takes.
  const auto undone = run(pair.a, {"undo", "--all", "--yes"});
  CHECK(undone.exit_code == 0);
  CHECK_THAT(undone.out, Catch::EndsWith("\n\n5 done, 0 failed.\n"));
  CHECK(values(pair.a) == "b k1,b k2,meanwhile,b k4,b k5,b k6");
  CHECK(run(pair.a, {"set", "--all", "v=same", "--force", "--yes"}).exit_code == 0);
  pair.exchange();
  CHECK(values(pair.b) == "same,same,same,same,same,same");
  CHECK(pair.b.scalar("SELECT count(*) FROM mbsync.open_conflict") == "0");
}

TEST_CASE("resolve: a walk through what is open", "[resolve]") {
  Pair pair(kSchema);
  conflicts(pair, 5);
  auto opened = ConflictDesk::open(*parse_database_url(pair.a.url()));
  REQUIRE(opened);
  auto& desk = **opened;
  ConflictFilter filter;
  filter.states = {ConflictState::kOpen};
  const auto list = desk.list(filter);
  REQUIRE(list);
  REQUIRE(list->conflicts.size() == 5);
  const auto key = [&](std::size_t i) { return list->conflicts[i].key; };
  const auto value = [&](std::size_t i) { return pair.a.scalar("SELECT v FROM t WHERE id = '" + key(i) + "'"); };

  std::istringstream in("what?\naccept\nk " + pair.a.database() +
                        "\ns v\ns v=chosen = by hand\nw:=NULL\n\nn\nk 9\nq\n");
  std::ostringstream out;
  const auto walked = walk_conflicts(desk, filter, in, out);
  REQUIRE(walked);
  CHECK(walked->resolved == 3);
  CHECK(walked->skipped == 1);
  CHECK(walked->left == 1);
  CHECK(value(0) == "b " + key(0));
  CHECK(value(1) == "a " + key(1));
  CHECK(value(2) == "chosen = by hand");
  CHECK(value(4) == "b " + key(4));
  CHECK_THAT(out.str(), Catch::Contains("--- 1 of 5 ---") && Catch::Contains("[a]ccept") &&
                            Catch::Contains("keep: the row becomes what version 2 says") &&
                            Catch::Contains("'v' is no column=value") && Catch::Contains("Not done: conflict") &&
                            Catch::EndsWith("\n3 resolved, 1 skipped, 1 left.\n"));

  // Refused, since the row went to where undo cannot follow; forced. Then the person is gone.
  pair.a.execute("UPDATE t SET w = 'taken' WHERE id = '" + key(0) + "'");
  std::istringstream second("s w=taken\n\nk 1\ns v=lost\n");
  std::ostringstream more;
  const auto again = walk_conflicts(desk, filter, second, more);
  REQUIRE(again);
  CHECK(again->resolved == 1);
  CHECK(again->left == 1);
  CHECK_THAT(more.str(), Catch::Contains("duplicate key value"));
  CHECK(pair.a.scalar("SELECT count(*) FROM t WHERE v = 'lost'") == "0");

  // The same at a terminal.
  const auto terminal = run_program(
      "/usr/bin/script", {.arguments = {"-qec", "'" + std::string(MBSYNC_PROGRAM) + "' resolve", "/dev/null"},
                          .environment = {{"DATABASE_URL", pair.b.url()}},
                          .input = "n\nn\nn\nn\na\n"});
  CHECK(terminal.exit_code == 0);
  CHECK_THAT(terminal.out, Catch::Contains("--- 5 of 5 ---") && Catch::Contains("1 resolved, 4 skipped, 0 left."));

  std::istringstream nothing;
  std::ostringstream none;
  filter.table = "elsewhere";
  REQUIRE(walk_conflicts(desk, filter, nothing, none));
  CHECK_THAT(none.str(), Catch::StartsWith("No conflict waits for a decision among those"));
}

TEST_CASE("run: old conflicts leave the record of a node that runs", "[resolve]") {
  const auto days = GENERATE("0", "30");
  std::string database;
  {
    Pair pair(kSchema);
    conflicts(pair, 3);
    pair.check_forgotten();
    pair.a.execute(
        "SET mbsync.applying = 'on'; UPDATE mbsync.conflict_record SET is_open = key = 'k1', recorded_at = now() - "
        "interval '31 days' WHERE key <> 'k2'; UPDATE mbsync.conflict_record SET is_open = false WHERE key = 'k2'");
    database = pair.a.database();
  }
  const auto left = [&] {
    return shared_cluster().scalar(database, "SELECT string_agg(key, ' ' ORDER BY key) FROM mbsync.conflict_record");
  };
  const auto data = std::filesystem::temp_directory_path() / ("mbsync-retention-" + database);
  ChildProcess node(MBSYNC_PROGRAM, {.arguments = {"run"},
                                     .environment = {{"DATABASE_URL", shared_cluster().url(database)},
                                                     {"SYNC_REGISTRATION_KEY", "K7QX-2MWE-ZJ4T-V5HD-QXNB-5R3L-TEST"},
                                                     {"SYNC_PORT", std::to_string(free_port())},
                                                     {"SYNC_BIND", "127.0.0.1"},
                                                     {"SYNC_DATA_DIR", data.string()},
                                                     {"SYNC_CONFLICT_RETENTION_DAYS", days}},
                                     .working_directory = std::filesystem::temp_directory_path()});
  if (std::string(days) == "30") {
    CHECK(wait_until(std::chrono::seconds{20}, [&] { return left() == "k1 k2"; }));
    CHECK(
        wait_until(std::chrono::seconds{5}, [&] { return node.err().find("entries=1 days=30") != std::string::npos; }));
  } else {
    CHECK(wait_until(std::chrono::seconds{20}, [&] { return node.err().find("listening") != std::string::npos; }));
    node.signal(SIGTERM);
    CHECK(node.wait(std::chrono::seconds{20}) == 0);
    CHECK(left() == "k1 k2 k3");
  }
  node.kill();
  std::filesystem::remove_all(data);
}
