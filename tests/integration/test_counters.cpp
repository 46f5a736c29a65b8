// Columns whose changes add up, on real databases (libsync/core/CONFLICTS.md C16).
#include <fmt/format.h>

#include <catch2/catch.hpp>

#include "node_pair.h"
#include "policies.h"
#include "rng.h"
#include "sql_session.h"
#include "wait_until.h"

using namespace mbsync;
using namespace mbsync::test;

namespace {

constexpr const char* kStock =
    "CREATE TABLE item (id int PRIMARY KEY, stock int NOT NULL DEFAULT 0, points numeric NOT NULL DEFAULT 0, small "
    "smallint NOT "
    "NULL DEFAULT 0, name text)";
constexpr const char* kAddUp =
    "[[table]]\nname = 'item'\n[table.columns]\nstock = 'sum'\npoints = 'sum'\nsmall = 'sum'\n";

struct Shop {
  PgNode a{shared_cluster(), fresh_database_name(), kStock};
  PgNode b{shared_cluster(), fresh_database_name(), kStock};
  PgNode c{shared_cluster(), fresh_database_name(), kStock};

  Shop() {
    for (auto* node : {&a, &b, &c}) {
      node->prepare();
    }
    all();
    publish_to({&a, &b, &c}, kAddUp);
    a.execute("INSERT INTO item (id, stock, points) VALUES (1, 10, 1.50), (2, 100, 0)");
    all();
  }
  void all() { exchange({&a, &b, &c}); }
  void check(const std::string& query, const std::string& expected) {
    for (auto* node : {&a, &b, &c}) {
      CHECK(node->scalar(query) == expected);
    }
  }
  void check_forgotten() {
    for (auto* node : {&a, &b, &c}) {
      REQUIRE(node->store().forget_stable());
      CHECK(node->scalar("SELECT count(*) FROM mbsync.change") == "0");
    }
  }
};

}  // namespace

TEST_CASE("counters: concurrent changes add up, through a relay and again after forgetting (C16)", "[counters]") {
  Shop shop;
  for (int round = 0; round < 3; ++round) {
    shop.a.execute("UPDATE item SET stock = stock - 2, points = points + 0.25 WHERE id = 1");
    shop.a.execute("UPDATE item SET stock = stock - 1 WHERE id = 1");
    shop.b.execute("UPDATE item SET stock = stock - 3 WHERE id = 1");
    shop.c.execute("UPDATE item SET stock = stock + 2, name = 'counted' WHERE id = 1");
    shop.b.pull(shop.a);
    shop.c.pull(shop.b);
    shop.b.execute("UPDATE item SET stock = stock - 1 WHERE id = 1");
    shop.a.pull(shop.c);
    shop.all();
    shop.check("SELECT stock || ' ' || points FROM item WHERE id = 1",
               fmt::format("{} {:.2f}", 10 - 5 * (round + 1), 1.50 + 0.25 * (round + 1)));
    shop.check_forgotten();
  }
  shop.check("SELECT count(*) FROM mbsync.conflict", "0");
}

TEST_CASE("counters: a plain write, a correction and other columns take part as what they are (C16)", "[counters]") {
  Shop shop;
  shop.a.execute("UPDATE item SET stock = 12 WHERE id = 1");  // a count: two more
  shop.b.execute("UPDATE item SET stock = stock - 3, name = 'b' WHERE id = 1");
  shop.c.execute("UPDATE item SET name = 'c' WHERE id = 1");
  shop.all();
  shop.check("SELECT stock || name FROM item WHERE id = 1", "9c");
  shop.check("SELECT string_agg(columns::text, ',') FROM mbsync.conflict", "{name}");
}

TEST_CASE("counters: sums in the same transaction as inserts, deletes and key changes (C16)", "[counters]") {
  Shop shop;
  shop.a.execute(
      "BEGIN; INSERT INTO item (id, stock) VALUES (3, 5); UPDATE item SET stock = stock + 1 WHERE id = 3; COMMIT");
  shop.all();
  shop.b.execute("UPDATE item SET stock = stock - 4 WHERE id = 3");
  shop.all();
  shop.check("SELECT stock FROM item WHERE id = 3", "2");

  // The row goes and comes again under the same key while somebody else sells.
  shop.a.execute("DELETE FROM item WHERE id = 3; INSERT INTO item (id, stock) VALUES (3, 50)");
  shop.b.execute("UPDATE item SET stock = stock - 1 WHERE id = 3");
  shop.all();
  shop.check("SELECT stock FROM item WHERE id = 3", "49");
  shop.c.execute("UPDATE item SET id = 4 WHERE id = 3");
  shop.b.execute("UPDATE item SET stock = stock - 1 WHERE id = 2");
  shop.all();
  shop.check("SELECT string_agg(id || ':' || stock, ' ' ORDER BY id) FROM item", "1:10 2:99 4:49");
  shop.check_forgotten();
}

TEST_CASE("counters: a sale brings back a row that was deleted, with its stock (C3, C16)", "[counters]") {
  Shop shop;
  shop.c.execute("UPDATE item SET stock = stock - 1 WHERE id = 2");
  shop.all();
  shop.a.execute("DELETE FROM item WHERE id = 2");
  shop.b.execute("UPDATE item SET stock = stock - 5 WHERE id = 2");
  shop.all();
  shop.check("SELECT stock FROM item WHERE id = 2", "94");
  shop.check_forgotten();
}

TEST_CASE("counters: two nodes that insert one key agree on one base, and what was sold since adds up (C16)",
          "[counters]") {
  Shop shop;
  shop.a.execute("INSERT INTO item (id, stock) VALUES (7, 10); UPDATE item SET stock = stock - 1 WHERE id = 7");
  REQUIRE(shop.a.store().seal_pending());
  shop.a.execute("UPDATE item SET stock = stock - 1 WHERE id = 7");
  shop.b.execute("INSERT INTO item (id, stock) VALUES (7, 20)");
  REQUIRE(shop.b.store().seal_pending());
  shop.b.execute("UPDATE item SET stock = stock - 3 WHERE id = 7");
  shop.all();
  // A's first two came in one seal; however they are split, the base and the shares are 9 - 1 and 20 - 3.
  shop.check("SELECT stock FROM item WHERE id = 7", "15");
  shop.check("SELECT count(*) FROM mbsync.conflict WHERE columns @> '{stock}'", "1");
}

TEST_CASE("counters: rows that the application holds (C10, C16)", "[counters]") {
  Shop shop;
  SqlSession session(shop.a.url());
  session.execute("BEGIN");
  session.execute("UPDATE item SET stock = stock - 2 WHERE id = 1");
  shop.b.execute("UPDATE item SET stock = stock - 3 WHERE id = 1");
  shop.a.pull(shop.b);
  CHECK(shop.a.scalar("SELECT stock FROM item WHERE id = 1") == "10");
  shop.c.pull(shop.a);  // C hears of it from A, whose row does not show it
  CHECK(shop.c.scalar("SELECT stock FROM item WHERE id = 1") == "7");
  session.execute("COMMIT");
  REQUIRE(shop.a.store().settle_unseen());
  CHECK(shop.a.scalar("SELECT stock FROM item WHERE id = 1") == "5");
  shop.all();
  shop.check("SELECT stock FROM item WHERE id = 1", "5");
}

TEST_CASE("counters: a newcomer gets rows and shares (C9, C16)", "[counters]") {
  Shop shop;
  shop.a.execute("UPDATE item SET stock = stock - 2 WHERE id = 1");
  shop.b.execute("UPDATE item SET stock = stock - 3 WHERE id = 1");
  shop.all();
  shop.check_forgotten();
  PgNode d(shared_cluster(), fresh_database_name(), kStock);
  d.prepare();
  d.pull(shop.a);
  REQUIRE(d.store().refresh());
  CHECK(d.scalar("SELECT stock FROM item WHERE id = 1") == "5");
  shop.b.execute("UPDATE item SET stock = stock - 1 WHERE id = 1");
  d.execute("UPDATE item SET stock = stock + 10 WHERE id = 1");
  exchange({&shop.a, &shop.b, &shop.c, &d});
  shop.check("SELECT stock FROM item WHERE id = 1", "14");
  CHECK(d.scalar("SELECT stock FROM item WHERE id = 1") == "14");
}

TEST_CASE("counters: a newcomer that shows what the fleet does is in no conflict with it (C9, C16)", "[counters]") {
  Shop shop;
  shop.a.execute("UPDATE item SET stock = stock - 2");
  shop.b.execute("UPDATE item SET stock = stock - 3 WHERE id = 1");
  shop.all();
  if (GENERATE(true, false)) {
    shop.check_forgotten();
  }
  PgNode d(shared_cluster(), fresh_database_name(), kStock);
  d.execute("INSERT INTO item (id, stock, points) VALUES (1, 5, 1.50), (2, 97, 0)");
  d.prepare();
  d.pull(shop.a);
  REQUIRE(d.store().refresh());
  CHECK(d.scalar("SELECT string_agg(stock::text, ' ' ORDER BY id) FROM item") == "5 98");
  // The row that it has differently is on record, and nothing else of these.
  CHECK(d.scalar("SELECT string_agg(concat(key, ' ', columns), ', ') FROM mbsync.conflict_record") == "2 {stock}");
  shop.b.execute("UPDATE item SET stock = stock - 1 WHERE id = 1");
  d.execute("UPDATE item SET stock = stock + 10 WHERE id = 1");
  exchange({&shop.a, &shop.b, &shop.c, &d});
  shop.check("SELECT stock FROM item WHERE id = 1", "14");
  CHECK(d.scalar("SELECT stock FROM item WHERE id = 1") == "14");
}

TEST_CASE("counters: a sum that the column cannot hold is parked, and comes when there is room (C16, C21)",
          "[counters]") {
  Shop shop;
  shop.a.execute("UPDATE item SET small = 30000 WHERE id = 1");
  shop.b.execute("UPDATE item SET small = 30000 WHERE id = 1");
  shop.all();
  CHECK(shop.a.scalar("SELECT small FROM item WHERE id = 1") == "30000");
  CHECK_THAT(shop.a.scalar("SELECT reason FROM mbsync.parked"), Catch::Contains("out of range"));
  shop.c.execute("UPDATE item SET small = small - 30000 WHERE id = 1");
  shop.all();
  CHECK(wait_until(std::chrono::seconds(10), [&] {  // where it is parked, until it is tried again
    return shop.c.store().settle_unseen() && shop.c.scalar("SELECT small FROM item WHERE id = 1") == "30000";
  }));
  shop.check("SELECT small FROM item WHERE id = 1", "30000");
}

TEST_CASE("counters: the rule may come and go (C11, C16)", "[counters]") {
  Shop shop;
  shop.a.execute("UPDATE item SET stock = stock - 2 WHERE id = 1");
  shop.b.execute("UPDATE item SET stock = stock - 3 WHERE id = 1");
  shop.all();
  publish_to({&shop.a, &shop.b, &shop.c}, "[[table]]\nname = 'item'\n[table.columns]\nstock = 'max'\n");
  shop.a.execute("UPDATE item SET stock = 4 WHERE id = 1");
  shop.b.execute("UPDATE item SET stock = 3 WHERE id = 1");
  shop.all();
  shop.check("SELECT stock FROM item WHERE id = 1", "4");
  publish_to({&shop.a, &shop.b, &shop.c}, kAddUp);
  shop.a.execute("UPDATE item SET stock = stock - 2 WHERE id = 1");
  shop.c.execute("UPDATE item SET stock = stock - 1 WHERE id = 1");
  shop.all();
  shop.check("SELECT stock FROM item WHERE id = 1", "1");
  shop.check_forgotten();
}

TEST_CASE("counters: nothing is lost among many sales, pulls and forgetting (C16)", "[counters]") {
  Shop shop;
  Rng rng(20261125);
  const auto nodes = std::vector<PgNode*>{&shop.a, &shop.b, &shop.c};
  int stock[2] = {10, 100};
  for (int step = 0; step < 120; ++step) {
    auto& node = *nodes[rng.below(3)];
    const auto by = static_cast<int>(rng.below(9)) - 4;
    const auto id = rng.below(2);
    switch (rng.below(6)) {
      case 0:
        node.pull(*nodes[(rng.below(2) + 1 +
                          static_cast<std::size_t>(std::find(nodes.begin(), nodes.end(), &node) - nodes.begin())) %
                         3]);
        break;
      case 1:
        REQUIRE(node.store().forget_stable());
        break;
      case 2:
        node.execute(fmt::format("UPDATE item SET name = '{}' WHERE id = {}", step, id + 1));
        break;
      default:
        node.execute(fmt::format("UPDATE item SET stock = stock + {} WHERE id = {}", by, id + 1));
        stock[id] += by;
    }
  }
  shop.all();
  shop.check("SELECT string_agg(stock::text, ' ' ORDER BY id) FROM item", fmt::format("{} {}", stock[0], stock[1]));
}

TEST_CASE("counters: a row that comes back for the sake of another has all that was added to it (C16, C20)",
          "[counters]") {
  const char* const schema =
      "CREATE TABLE item (id int PRIMARY KEY, stock int NOT NULL); CREATE TABLE line (id int PRIMARY KEY, item int NOT "
      "NULL "
      "REFERENCES item)";
  Pair pair(schema);
  pair.exchange();
  publish_to({&pair.a, &pair.b}, "[[table]]\nname = 'item'\n[table.columns]\nstock = 'sum'\n");
  pair.a.execute("INSERT INTO item VALUES (1, 10)");
  pair.exchange();
  pair.b.execute("UPDATE item SET stock = stock - 3");
  pair.exchange();
  pair.a.execute("UPDATE item SET stock = stock - 2");
  pair.a.execute("DELETE FROM item");
  pair.b.execute("INSERT INTO line VALUES (1, 1)");
  pair.exchange();
  pair.exchange();
  for (auto* node : {&pair.a, &pair.b}) {
    CHECK(node->scalar("SELECT stock FROM item") == "5");
  }
  pair.b.execute("UPDATE item SET stock = stock - 1");
  pair.exchange();
  CHECK(pair.a.scalar("SELECT stock FROM item") == "4");
  pair.check_forgotten();
}
