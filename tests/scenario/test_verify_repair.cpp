// mbsync verify --repair between real nodes: the rules decide among values that have drifted, and whatever loses is on
// record, also while everybody writes.
#include <fmt/format.h>

#include <atomic>
#include <catch2/catch.hpp>
#include <fstream>
#include <set>
#include <thread>

#include "fleet.h"
#include "say_verify.h"
#include "wait_until.h"

using namespace mbsync::test;

TEST_CASE("verify: --repair lets the rules decide, keeps what has lost, and brings missing rows back") {
  Pair pair;
  pair.a.execute("INSERT INTO item SELECT 'k' || i, 'note ' || i, i FROM generate_series(1, 1000) i");
  pair.start();
  pair.fleet.await_quiet({&pair.a, &pair.b});
  pair.b.execute(std::string(kBehind) +
                 "UPDATE item SET note = 'drifted' WHERE id IN ('k1', 'k500', 'k1000'); DELETE FROM item WHERE id = "
                 "'k2'; INSERT INTO item VALUES ('only b', 'x', 1)");
  const auto report = verify(pair.a, 0, {"--repair"});
  CHECK(report["result"] == "equal");
  CHECK(report["peers"][0]["rows_repaired"] == 5);
  CHECK(report["peers"][0]["repair_trouble"].empty());
  CHECK(table_of(report, "public.item")["repaired"].size() == 5);
  pair.fleet.await_quiet({&pair.a, &pair.b});
  pair.fleet.await_converged({&pair.a, &pair.b});
  for (Node* node : {&pair.a, &pair.b}) {
    INFO(node->name());
    // The later write wins, and the one of the node that was asked is later by a microsecond.
    CHECK(node->scalar("SELECT count(*) FROM item WHERE note LIKE 'note %'") == "1000");
    CHECK(node->scalar("SELECT note FROM item WHERE id = 'only b'") == "x");
    CHECK(node->scalar("SELECT count(*) FROM item") == "1001");
    // What has lost is on record, and can be brought back.
    CHECK(node->scalar("SELECT count(*) FROM mbsync.conflict_value WHERE column_name = 'note' AND losers @> "
                       "'[{\"value\": \"drifted\"}]'") == "3");
    CHECK(node->scalar("SELECT count(*) FROM mbsync.armed") == "0");
  }
  CHECK(verify(pair.b, 0)["result"] == "equal");
}

TEST_CASE("verify: --repair while both applications write the rows concerned keeps what has lost and ends equal") {
  Pair pair;
  pair.a.execute("INSERT INTO item SELECT 'k' || i, 'note ' || i, 0 FROM generate_series(1, 60) i");
  pair.start();
  pair.fleet.await_quiet({&pair.a, &pair.b});
  pair.b.execute(std::string(kBehind) + "UPDATE item SET note = 'drifted ' || id");
  std::atomic<bool> over = false;
  std::set<std::string> repaired;
  {
    const auto write = [&](Node& node) {
      auto session = node.connect();
      for (int i = 0; !over; ++i) {
        session.execute(fmt::format("UPDATE item SET amount = amount + 1 WHERE id = 'k{}'", i % 20 + 1));
        std::this_thread::sleep_for(milliseconds{20});
      }
    };
    std::jthread one([&] { write(pair.a); });
    std::jthread two([&] { write(pair.b); });
    struct Over {
      std::atomic<bool>& flag;
      ~Over() { flag = true; }
    };
    const Over end{over};
    // A row that changes in the very moment is left for the next time.
    REQUIRE(wait_until(seconds{120}, [&] {
      const auto said = json::parse(say_verify(pair.a, {"--json", "--rows-per-s", "0", "--repair"}).out);
      for (const auto& entry : table_of(said, "public.item")["repaired"]) {
        repaired.insert(entry["key"].get<std::string>());
      }
      return said["peers"][0]["rows_different"] == 0 && said["peers"][0]["repair_trouble"].empty();
    }));
  }
  pair.fleet.await_quiet({&pair.a, &pair.b});
  pair.fleet.await_converged({&pair.a, &pair.b});
  // Some rows have become equal with the application's own writes: an answer brings all of a row. Of all others one
  // value stands, and the other is on record. Which one: the application may have written the row in that very moment.
  for (int i = 21; i <= 60; ++i) {  // that nobody writes
    CHECK(repaired.contains(fmt::format("k{}", i)));
  }
  for (Node* node : {&pair.a, &pair.b}) {
    CHECK(node->scalar("SELECT count(*) FROM mbsync.armed") == "0");
  }
  for (const auto& key : repaired) {
    INFO(key);
    const auto stands = pair.a.scalar(fmt::format("SELECT note FROM item WHERE id = '{}'", key));
    const auto mine = "note " + key.substr(1);
    const auto drifted = "drifted " + key;
    CHECK((stands == mine || stands == drifted));
    CHECK(pair.a.scalar(fmt::format("SELECT count(*) > 0 FROM mbsync.conflict_value WHERE column_name = 'note' AND key "
                                    "= '{}' AND losers @> '[{{\"value\": \"{}\"}}]'",
                                    key, stands == mine ? drifted : mine)) == "t");
  }
  CHECK(verify(pair.b, 0)["result"] == "equal");
}

TEST_CASE("verify: of a counter no rule knows which total is right, and the other rows are repaired all the same") {
  Pair pair;
  pair.a.execute("INSERT INTO item SELECT 'k' || i, 'note', 10 FROM generate_series(1, 10) i");
  for (Node* node : {&pair.a, &pair.b}) {
    node->execute("ALTER TABLE item ALTER COLUMN amount SET DEFAULT 0, ALTER COLUMN amount SET NOT NULL");
  }
  pair.start();
  const auto rules = pair.fleet.directory() / "rules.toml";
  std::ofstream(rules) << "[[table]]\nname = \"item\"\n[table.columns]\namount = \"sum\"\n";
  const auto applied = run_program(
      mbsync_program(), clean_options({"rules", "apply", rules.string(), "--yes"}, {{"DATABASE_URL", pair.a.url()}},
                                      std::filesystem::temp_directory_path()));
  INFO(applied.out << applied.err);
  REQUIRE(applied.exit_code == 0);
  REQUIRE(wait_until(seconds{20}, [&] {
    return pair.b.scalar("SELECT count(*) FROM mbsync.policy") == "1" &&
           pair.b.scalar(
               "SELECT count(*) FROM pg_proc "
               "WHERE pronamespace = 'mbsync'::regnamespace AND prosrc LIKE '%sums%'") != "0";
  }));
  // Both sell: the shares add up on both sides, and are compared as they show.
  pair.a.execute("UPDATE item SET amount = amount - 2 WHERE id = 'k1'");
  pair.b.execute("UPDATE item SET amount = amount - 3 WHERE id = 'k1'");
  pair.fleet.await_quiet({&pair.a, &pair.b});
  pair.fleet.await_converged({&pair.a, &pair.b});
  CHECK(pair.a.scalar("SELECT amount FROM item WHERE id = 'k1'") == "5");
  CHECK(verify(pair.a, 0)["result"] == "equal");
  pair.b.execute(std::string(kBehind) +
                 "UPDATE item SET amount = 77 WHERE id = 'k1'; UPDATE item SET note = 'drifted' WHERE id = 'k2'");
  const auto report = verify(pair.a, 1, {"--repair"});
  INFO(report.dump(2));
  CHECK(report["peers"][0]["rows_repaired"] == 1);
  CHECK(report["peers"][0]["rows_different"] == 1);
  REQUIRE(report["peers"][0]["repair_trouble"].size() == 1);
  CHECK(report["peers"][0]["repair_trouble"][0].get<std::string>().find("adds up") != std::string::npos);
  CHECK(table_of(report, "public.item")["differences"][0]["columns"] == json{"amount"});
}

TEST_CASE("verify: --repair asks all machines, keeps a third one's value, and does nothing while one is away") {
  Fleet fleet;
  auto& cluster = Fleet::shared_cluster();
  auto& a = fleet.add_node(cluster, "a", kItemSchema);
  auto& b = fleet.add_node(cluster, "b", kItemSchema);
  auto& c = fleet.add_node(cluster, "c", kItemSchema);
  fleet.connect(a, b);
  fleet.connect(a, c);
  fleet.connect(b, c);
  a.execute("INSERT INTO item SELECT 'k' || i, 'note ' || i, i FROM generate_series(1, 100) i");
  for (Node* node : {&a, &b, &c}) {
    node->start();
  }
  fleet.await_met({&a, &b, &c});
  fleet.await_quiet({&a, &b, &c});
  b.execute(std::string(kBehind) + "UPDATE item SET note = 'of b' WHERE id IN ('k1', 'k2')");
  c.execute(std::string(kBehind) + "UPDATE item SET note = 'of c' WHERE id IN ('k1', 'k3')");
  c.stop();
  auto report = verify(a, 1, {"b", "--repair"});
  CHECK(report["peers"][0]["rows_repaired"] == 0);
  CHECK(report["peers"][0]["rows_different"] == 2);
  REQUIRE(report["peers"][0]["repair_trouble"].size() == 1);
  CHECK(report["peers"][0]["repair_trouble"][0].get<std::string>().find("c may show a third value") !=
        std::string::npos);
  c.start_ready();
  // A row that the application holds is left, and what was found is said all the same.
  auto holder = a.connect();
  holder.execute("BEGIN");
  holder.execute("SELECT * FROM item WHERE id = 'k2' FOR UPDATE");
  REQUIRE(wait_until(seconds{60}, [&] {
    report = json::parse(say_verify(a, {"--json", "--rows-per-s", "0", "b", "--repair"}).out);
    return report["peers"][0]["rows_repaired"] == 1;
  }));
  INFO(report.dump(2));
  CHECK(table_of(report, "public.item")["differences"] == json{row("k2", "values", {"note"})});
  CHECK(report["peers"][0]["repair_trouble"].size() == 1);
  holder.execute("COMMIT");
  verify(a, 0, {"--repair"});
  fleet.await_quiet({&a, &b, &c});
  fleet.await_converged({&a, &b, &c});
  for (Node* node : {&a, &b, &c}) {
    INFO(node->name());
    CHECK(node->scalar("SELECT count(*) FROM item WHERE note LIKE 'note %'") == "100");
    CHECK(node->scalar("SELECT string_agg(DISTINCT v.key || (l ->> 'value'), ' ') FROM "
                       "mbsync.conflict_value v, jsonb_array_elements(v.losers) l WHERE v.column_name = 'note'") ==
          "k1of b k1of c k2of b k3of c");
    CHECK(node->scalar("SELECT count(*) FROM mbsync.armed") == "0");
  }
}
