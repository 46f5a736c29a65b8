// mbsync verify between real nodes: drift that is made behind mbsync's back is found and named, whatever the type of
// the key or the value; what is on its way is never taken for it, however much is written meanwhile.
#include <fmt/format.h>

#include <atomic>
#include <catch2/catch.hpp>
#include <set>
#include <thread>

#include "fleet.h"
#include "rng.h"
#include "say_verify.h"
#include "wait_until.h"

using namespace mbsync::test;

TEST_CASE("verify: equal tables are equal, and one byte, a row too few and one too many are named on both sides") {
  Pair pair;
  pair.a.execute("INSERT INTO item SELECT 'k' || i, 'note ' || i, i FROM generate_series(1, 5000) i");
  pair.start();
  pair.fleet.await_quiet({&pair.a, &pair.b});
  auto report = verify(pair.a, 0);
  CHECK(report["result"] == "equal");
  CHECK(table_of(report, "public.item")["rows_compared"] == 5000);
  CHECK(health(pair.a)["status"] == "healthy");

  pair.b.execute(std::string(kBehind) +
                 "UPDATE item SET note = 'Note 17' WHERE id = 'k17'; DELETE FROM item WHERE id = 'k2500'; INSERT INTO "
                 "item VALUES ('zz', 'extra', 1), ('', 'before all others', 2)");
  report = verify(pair.a, 1);
  CHECK(report["result"] == "different");
  CHECK(report["peers"][0]["rows_different"] == 4);
  CHECK(table_of(report, "public.item")["rows_compared"] == 5002);
  auto differences = table_of(report, "public.item")["differences"];
  std::sort(differences.begin(), differences.end());
  json expected{row("", "missing here"), row("k17", "values", {"note"}), row("k2500", "missing there"),
                row("zz", "missing here")};
  std::sort(expected.begin(), expected.end());
  CHECK(differences == expected);

  // What was found stays known until it is looked at again, and wants a person.
  json document;
  REQUIRE(wait_until(seconds{10}, [&] { return (document = health(pair.a))["status"] == "degraded"; }));
  CHECK(document["causes"][0]["kind"] == "rows_differ");
  CHECK(document["causes"][0]["count"] == 4);
  CHECK(document["verified"][0]["rows_different"] == 4);
  const auto page = ask(pair.a.local_port(), "/metrics").body;
  CHECK(page.find("mbsync_verify_rows_different{peer=\"b\"") != std::string::npos);
  CHECK(pair.a.count_in_log("rows differ") == 1);
  CHECK(pair.a.count_in_log("k2500") == 0);  // what is in rows is in no log
  const auto text = say_verify(pair.b, {"a"});
  CHECK(text.exit_code == 1);
  CHECK(text.out.find("key k17: differs in note") != std::string::npos);
  CHECK(text.out.find("key k2500: missing here") != std::string::npos);

  pair.b.execute(std::string(kBehind) +
                 "UPDATE item SET note = 'note 17' WHERE id = 'k17'; INSERT INTO item VALUES ('k2500', 'note 2500', "
                 "2500); DELETE FROM item WHERE id IN ('zz', '')");
  CHECK(verify(pair.a, 0)["result"] == "equal");
  REQUIRE(wait_until(seconds{10}, [&] { return health(pair.a)["status"] == "healthy"; }));
}

TEST_CASE("verify: keys and values of many types, compared in databases that write and sort them otherwise") {
  Fleet fleet;
  auto& cluster = Fleet::shared_cluster();
  const std::string schema =
      "CREATE TYPE mood AS ENUM ('sad', 'ok', 'happy'); CREATE DOMAIN code AS text CHECK (value <> ''); "
      "CREATE TABLE by_number (id bigint PRIMARY KEY, f float8, n numeric, b bytea, t timestamptz, j jsonb, a text[], "
      "i "
      "interval, m mood, big text);"
      "CREATE TABLE by_uuid (id uuid PRIMARY KEY, v int);"
      "CREATE TABLE by_two (a int, b text, v int, PRIMARY KEY (b, a));"
      "CREATE TABLE by_mood (id mood PRIMARY KEY, v int);"
      "CREATE TABLE by_code (id code PRIMARY KEY, v int);"
      "CREATE TABLE by_numeric (id numeric PRIMARY KEY, v int);"
      "CREATE TABLE by_time (id timestamptz PRIMARY KEY, v int);"
      "CREATE TABLE keyless (v int)";
  auto& a = fleet.add_node(cluster, "a", schema);
  auto& b = fleet.add_node(cluster, "b", schema);
  fleet.connect(a, b);
  b.execute(
      "DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET datestyle = ''German''; ALTER DATABASE %1$I SET "
      "timezone = ''Asia/Tokyo''; ALTER DATABASE %1$I SET extra_float_digits = -5; ALTER DATABASE %1$I SET "
      "bytea_output = ''escape''; ALTER DATABASE %1$I SET intervalstyle = ''iso_8601''', current_database()); END "
      "$$");
  a.execute(
      "INSERT INTO by_number SELECT i, i / 3.0, i / 7.0, decode(md5(i::text), 'hex'), '2024-01-01'::timestamptz + i * "
      "interval '1 hour', jsonb_build_object('a', i), ARRAY['x', NULL, i::text], i * interval '1 minute', 'ok', "
      "repeat('ä', CASE WHEN i = 500 THEN 1500000 ELSE 3 END) FROM generate_series(-500, 500) i;"
      "INSERT INTO by_uuid SELECT md5(i::text)::uuid, i FROM generate_series(1, 300) i;"
      "INSERT INTO by_two SELECT i % 7, CASE i % 3 WHEN 0 THEN 'Ä' WHEN 1 THEN 'a,\"b\"' ELSE 'Z' END || i, i FROM "
      "generate_series(1, 300) i;"
      "INSERT INTO by_mood VALUES ('sad', 1), ('happy', 2);"
      "INSERT INTO by_code SELECT 'c' || i, i FROM generate_series(1, 300) i;"
      "INSERT INTO by_numeric SELECT i / 10.0, i FROM generate_series(1, 300) i;"
      "INSERT INTO by_time SELECT '2024-01-01'::timestamptz + i * interval '7 minutes', i FROM generate_series(1, 300) "
      "i");
  a.start();
  b.start();
  fleet.await_met({&a, &b});
  fleet.await_quiet({&a, &b});
  auto report = verify(a, 1);
  CHECK(report["result"] == "incomplete");  // one table cannot be compared
  CHECK(report["peers"][0]["rows_compared"] == 1001 + 300 + 300 + 2 + 300 + 300 + 300);
  CHECK(report["peers"][0]["tables_not_compared"] == 1);
  CHECK(table_of(report, "public.keyless")["result"] == "not compared");
  CHECK(verify(a, 0, {"--tables", "by_*"})["result"] == "equal");

  // Each column, each kind of key.
  b.execute(std::string(kBehind) +
            "UPDATE by_number SET f = f + 1e-13 WHERE id = 1; UPDATE by_number SET n = n * 1.0 WHERE id = 2;"
            "UPDATE by_number SET b = b || '\\x00' WHERE id = 3; UPDATE by_number SET t = t + interval '1 microsecond' "
            "WHERE id = 4; UPDATE by_number SET a[2] = '' WHERE id = 5; UPDATE by_number SET i = NULL WHERE id = 6;"
            "UPDATE by_number SET m = 'sad', j = '{}' WHERE id = 7; UPDATE by_number SET big = overlay(big PLACING 'o' "
            "FROM 777777) WHERE id = 500;"
            "UPDATE by_uuid SET v = 0 WHERE v = 77; UPDATE by_two SET v = 0 WHERE v = 100; UPDATE by_mood SET v = 3 "
            "WHERE id = 'happy'; UPDATE by_code SET v = 0 WHERE id = 'c300'; UPDATE by_numeric SET v = 0 WHERE id = "
            "0.1; DELETE FROM by_time WHERE v = 300");
  report = verify(a, 1, {"--tables", "by_*"});
  auto numbers = table_of(report, "public.by_number")["differences"];
  std::sort(numbers.begin(), numbers.end(), [](const json& x, const json& y) { return x["key"] < y["key"]; });
  CHECK(numbers == json{row("1", "values", {"f"}), row("2", "values", {"n"}), row("3", "values", {"b"}),
                        row("4", "values", {"t"}), row("5", "values", {"a"}), row("500", "values", {"big"}),
                        row("6", "values", {"i"}), row("7", "values", {"j", "m"})});
  for (const char* table : {"by_uuid", "by_two", "by_mood", "by_code", "by_numeric"}) {
    INFO(table);
    const auto& found = table_of(report, std::string("public.") + table)["differences"];
    REQUIRE(found.size() == 1);
    CHECK(found[0]["columns"] == json{"v"});
  }
  CHECK(table_of(report, "public.by_time")["differences"][0]["what"] == "missing there");
}

TEST_CASE("verify: drift at the first row, the last and every one about the blocks' borders is found under traffic") {
  Pair pair;
  pair.a.execute("CREATE TABLE place (id int PRIMARY KEY, v int NOT NULL)");
  pair.b.execute("CREATE TABLE place (id int PRIMARY KEY, v int NOT NULL)");
  pair.a.execute("INSERT INTO place SELECT i, 0 FROM generate_series(1, 8001) i; ANALYZE place");
  pair.start();
  pair.fleet.await_converged({&pair.a, &pair.b});
  const auto seed = seed_from_environment();
  INFO("MBSYNC_SEED=" << seed);
  // Rows that drift are those that nobody writes: all that end with 0 or 1.
  std::set<int> drifted{1, 8001};
  for (const int border : {200, 600, 1400, 2000, 3400, 4000, 5400, 6000, 7400}) {
    drifted.insert({border, border + 1});
  }
  std::string list;
  for (const int id : drifted) {
    list += fmt::format("{}{}", list.empty() ? "" : ",", id);
  }
  std::atomic<bool> over = false;
  const auto write = [&](Node& node, std::uint64_t own_seed) {
    auto session = node.connect();
    Rng rng(own_seed);
    while (!over) {
      const auto id = 10 * rng.below(800) + 2 + rng.below(8);
      switch (rng.below(4)) {
        case 0:
          session.execute(fmt::format("DELETE FROM place WHERE id = {}", id));
          break;
        case 1:
          session.execute(fmt::format("INSERT INTO place VALUES ({}, 1) ON CONFLICT DO NOTHING", id));
          break;
        default:
          session.execute(
              fmt::format("UPDATE place SET v = v + 1 WHERE id BETWEEN {0} AND {0} + 2 AND id % 10 > 1", id));
      }
    }
  };
  {
    std::jthread one([&] { write(pair.a, seed); });
    std::jthread two([&] { write(pair.b, seed + 1); });
    struct Over {
      std::atomic<bool>& flag;
      ~Over() { flag = true; }
    };
    const Over end{over};
    // Nothing has drifted: whatever is under way, nothing may be said to differ.
    for (int i = 0; i < 3; ++i) {
      const auto said = say_verify(pair.a, {"--json", "--rows-per-s", "0", "--tables", "place"});
      const auto report = json::parse(said.out);
      INFO(report.dump(2));
      CHECK(report["peers"][0]["rows_different"] == 0);
      CHECK(report["peers"][0]["rows_compared"].get<int>() > 1600);
    }
    pair.b.execute(fmt::format("{} UPDATE place SET v = -1 WHERE id IN ({})", kBehind, list));
    const auto report = verify(pair.a, 1, {"--tables", "place"});
    std::set<int> found;
    for (const auto& entry : table_of(report, "public.place")["differences"]) {
      CHECK(entry["columns"] == json{"v"});
      found.insert(std::stoi(entry["key"].get<std::string>()));
    }
    CHECK(found == drifted);
  }
  // Once it is quiet all is compared.
  pair.fleet.await_quiet({&pair.a, &pair.b});
  const auto report = verify(pair.b, 1, {"--tables", "place"});
  CHECK(report["peers"][0]["rows_undecided"] == 0);
  CHECK(report["peers"][0]["rows_different"].get<std::size_t>() == drifted.size());
}

TEST_CASE("verify: what a peer has not heard of yet is on its way, and equal once it has arrived") {
  Pair pair;
  pair.a.execute("INSERT INTO item SELECT 'k' || i, 'note', i FROM generate_series(1, 100) i");
  pair.start();
  pair.fleet.await_quiet({&pair.a, &pair.b});
  // A row that b's application holds: what a writes to it waits there.
  auto holder = pair.b.connect();
  holder.execute("BEGIN");
  holder.execute("SELECT * FROM item WHERE id = 'k5' FOR UPDATE");
  pair.a.execute("UPDATE item SET note = 'news' WHERE id = 'k5'");
  REQUIRE(
      wait_until(seconds{10}, [&] { return pair.b.scalar("SELECT count(*) FROM mbsync.change WHERE unseen") == "1"; }));
  std::jthread frees([&] {
    std::this_thread::sleep_for(seconds{2});  // while it is being looked at again
    holder.execute("COMMIT");
  });
  const auto report = verify(pair.a, 0);
  CHECK(report["result"] == "equal");
  CHECK(report["peers"][0]["rows_compared"] == 100);
}

TEST_CASE("verify: a peer that is away, unknown names, and another shape are said, and are not equal") {
  Pair pair;
  pair.a.execute("INSERT INTO item SELECT 'k' || i, 'note', i FROM generate_series(1, 10) i");
  pair.start();
  pair.fleet.await_quiet({&pair.a, &pair.b});
  auto said = say_verify(pair.a, {"nobody"});
  CHECK(said.exit_code == 1);
  CHECK(said.out.find("there is no other member called 'nobody'") != std::string::npos);
  said = say_verify(pair.a, {"--tables", "no_such"});
  CHECK(said.exit_code == 1);
  CHECK(said.out.find("no table fits") != std::string::npos);

  pair.b.execute("ALTER TABLE item ADD COLUMN colour text");
  REQUIRE(wait_until(seconds{20}, [&] {
    const auto report = json::parse(say_verify(pair.a, {"--json"}).out);
    return table_of(report, "public.item").value("why_not", json()).is_string() &&
           table_of(report, "public.item")["why_not"].get<std::string>().find("column \"colour\" is missing here") !=
               std::string::npos;
  }));
  pair.b.stop();
  said = say_verify(pair.a, {"b"});
  INFO(said.out);
  CHECK(said.exit_code == 1);
  CHECK(said.out.find("b could not be compared with: ") != std::string::npos);
  CHECK(said.out.find("No row is known to differ, but not all could be compared.") != std::string::npos);
  // No node at all.
  pair.a.stop();
  CHECK(say_verify(pair.a, {}).exit_code == 1);
}

TEST_CASE("verify: a node stops at once while it compares, and a comparison can be ended") {
  Pair pair;
  pair.a.execute("INSERT INTO item SELECT 'k' || i, 'note', i FROM generate_series(1, 20000) i; ANALYZE item");
  pair.start();
  pair.fleet.await_quiet({&pair.a, &pair.b});
  const auto begin = [&] {
    const auto answer = ask(pair.a.local_port(), "/api/sync/service", R"({"action":"verify","rows_per_second":100})");
    CHECK(answer.status == 202);
    REQUIRE(wait_until(seconds{10}, [&] {
      const auto now = json::parse(ask(pair.a.local_port(), "/api/sync/verify").body);
      return now["running"].is_object() && now["running"]["rows"] > 0;
    }));
  };
  begin();
  CHECK(ask(pair.a.local_port(), "/api/sync/service", R"({"action":"verify"})").status == 503);
  CHECK(say_verify(pair.a, {"--stop"}).out.find("being ended") != std::string::npos);
  REQUIRE(wait_until(seconds{5}, [&] {
    const auto now = json::parse(ask(pair.a.local_port(), "/api/sync/verify").body);
    return now["running"].is_null() && now["last"]["failure"].is_string();
  }));
  begin();
  CHECK(pair.a.stop() < kStopBound);
}

TEST_CASE("verify: once a day a node compares by itself, and what it finds is in its status") {
  Pair pair;
  pair.a.execute("INSERT INTO item SELECT 'k' || i, 'note', i FROM generate_series(1, 100) i");
  pair.b.set("SYNC_VERIFY_INTERVAL_HOURS", "0");
  pair.start();
  pair.fleet.await_quiet({&pair.a, &pair.b});
  pair.b.execute(std::string(kBehind) + "UPDATE item SET amount = -1 WHERE id = 'k7'");
  // It was compared two days ago, and was off since; a node that never was waits for ten minutes first.
  pair.a.stop();
  pair.a.execute(
      "INSERT INTO mbsync.verification SELECT id, now() - interval '2 days' FROM mbsync.node WHERE NOT is_self");
  pair.a.start_ready();
  json document;
  REQUIRE(wait_until(seconds{40}, [&] {
    document = health(pair.a);
    return std::any_of(document["causes"].begin(), document["causes"].end(),
                       [](const json& cause) { return cause["kind"] == "rows_differ"; });
  }));
  CHECK(document["verified"][0]["finished_at"].is_string());
  CHECK(json::parse(ask(pair.a.local_port(), "/api/sync/verify").body)["last"]["scheduled"] == true);
  CHECK(health(pair.b)["verified"].empty());
}

TEST_CASE("verify: how fast it goes without a limit, and that it keeps to one") {
  const int rows = long_form() ? 1'000'000 : 100'000;
  Pair pair;
  for (Node* node : {&pair.a, &pair.b}) {
    node->execute(
        "CREATE TABLE big (id bigint PRIMARY KEY, name text, price numeric(10,2), at timestamptz, note text)");
  }
  pair.a.execute(fmt::format(
      "INSERT INTO big SELECT i, 'item ' || i, i / 7.0, '2024-01-01'::timestamptz + i * interval '1 second', "
      "repeat('x', 60) FROM generate_series(1, {}) i; ANALYZE big",
      rows));
  pair.start();
  pair.fleet.await_quiet({&pair.a, &pair.b}, seconds{300});
  auto begun = std::chrono::steady_clock::now();
  CHECK(verify(pair.a, 0, {"--tables", "big"})["peers"][0]["rows_compared"] == rows);
  const auto took = since(begun);
  report(fmt::format("verify, {} rows of 130 bytes, no limit: {} ms, {:.0f} rows/s on each side", rows, took.count(),
                     1000.0 * rows / static_cast<double>(took.count())));
  // A limit is kept to.
  begun = std::chrono::steady_clock::now();
  const auto said = say_verify(pair.a, {"--json", "--tables", "big", "--rows-per-s", std::to_string(rows / 5)});
  CHECK(said.exit_code == 0);
  CHECK(since(begun) >= seconds{4});
}
