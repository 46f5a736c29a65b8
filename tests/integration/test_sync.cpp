// Two and three nodes on real databases: what one writes, the others hold.
#include <catch2/catch.hpp>

#include "pg_node.h"

using namespace mbsync;
using namespace mbsync::test;

namespace {

TempCluster& cluster() {
  static TempCluster shared;
  return shared;
}

std::string fresh_name() {
  static int number = 0;
  return "db" + std::to_string(++number);
}

constexpr const char* kShop = R"sql(
CREATE TYPE "Status" AS ENUM ('NEW', 'PAID', 'sent off');
CREATE TABLE "Customer" (id text PRIMARY KEY, email text UNIQUE, "fullName" text NOT NULL);
CREATE TABLE "Order" (id uuid PRIMARY KEY, "customerId" text NOT NULL REFERENCES "Customer" ON DELETE CASCADE,
                      total numeric(12,2), status "Status" NOT NULL DEFAULT 'NEW', note text, placed timestamp(3));
)sql";

// Nothing may be left to tell once everybody has told everybody.
void check_forgotten(std::initializer_list<PgNode*> nodes) {
  for (auto* node : nodes) {
    REQUIRE(node->store().forget_stable());
  }
  for (auto* node : nodes) {
    CHECK(node->scalar("SELECT count(*) FROM mbsync.change") == "0");
  }
}

}  // namespace

TEST_CASE("rows written on one node arrive on the other, and back", "[sync]") {
  PgNode a(cluster(), fresh_name(), kShop);
  PgNode b(cluster(), fresh_name(), kShop);
  const auto report = a.prepare();
  CHECK(report.created);
  CHECK(report.tables == 2);
  CHECK(report.bypasses_constraints);
  b.prepare();

  a.execute("INSERT INTO \"Customer\" VALUES ('c1', 'a@b.c', 'Ada \"the\" Ä')");
  a.execute(
      "INSERT INTO \"Order\" VALUES ('00000000-0000-0000-0000-000000000001', 'c1', 12.30, 'sent off', E'tab\\t "
      "back\\\\ nl\\n', now())");
  b.pull(a);
  CHECK(a.rows("\"Customer\"") == b.rows("\"Customer\""));
  CHECK(a.rows("\"Order\"") == b.rows("\"Order\""));
  CHECK(b.scalar("SELECT count(*) FROM \"Order\"") == "1");

  b.execute("UPDATE \"Order\" SET note = NULL, total = 99");
  a.pull(b);
  CHECK(a.scalar("SELECT total FROM \"Order\"") == "99.00");
  CHECK(a.rows("\"Order\"") == b.rows("\"Order\""));

  a.execute("DELETE FROM \"Customer\"");
  b.pull(a);
  CHECK(b.scalar("SELECT count(*) FROM \"Order\"") == "0");
  CHECK(b.scalar("SELECT count(*) FROM \"Customer\"") == "0");
  exchange({&a, &b});
  check_forgotten({&a, &b});
  CHECK(a.scalar("SELECT count(*) FROM mbsync.conflict_value") == "0");
}

TEST_CASE("rows that are there before mbsync take part; equal ones are no conflict", "[sync]") {
  PgNode a(cluster(), fresh_name(), kShop);
  PgNode b(cluster(), fresh_name(), kShop);
  const char* same =
      "INSERT INTO \"Customer\" SELECT 'c' || i, i || '@x.y', 'name ' || i FROM generate_series(1, 1000) i";
  a.execute(same);
  b.execute(same);
  a.execute("INSERT INTO \"Customer\" VALUES ('only a', 'a', 'A')");
  b.execute("INSERT INTO \"Customer\" VALUES ('only b', 'b', 'B')");
  b.execute("UPDATE \"Customer\" SET \"fullName\" = 'differs' WHERE id = 'c7'");
  CHECK(a.prepare().rows_adopted == 1001);
  b.prepare();
  exchange({&a, &b});
  CHECK(a.rows("\"Customer\"") == b.rows("\"Customer\""));
  CHECK(a.scalar("SELECT count(*) FROM \"Customer\"") == "1002");
  CHECK(a.scalar("SELECT count(*) FROM mbsync.conflict_value") == "1");
  CHECK(a.scalar("SELECT id::text || winner::text || losers::text FROM mbsync.conflict_value") ==
        b.scalar("SELECT id::text || winner::text || losers::text FROM mbsync.conflict_value"));
  check_forgotten({&a, &b});
}

TEST_CASE("concurrent changes of different columns both survive; of one column the later wins and the other is kept",
          "[sync]") {
  PgNode a(cluster(), fresh_name(), kShop);
  PgNode b(cluster(), fresh_name(), kShop);
  a.prepare();
  b.prepare();
  a.execute("INSERT INTO \"Customer\" VALUES ('c1', 'a@b.c', 'first')");
  exchange({&a, &b});

  a.execute("UPDATE \"Customer\" SET email = 'new@a' WHERE id = 'c1'");
  b.execute("UPDATE \"Customer\" SET \"fullName\" = 'from b' WHERE id = 'c1'");
  exchange({&a, &b});
  CHECK(a.rows("\"Customer\"") == "(c1,new@a,\"from b\")");
  CHECK(b.rows("\"Customer\"") == "(c1,new@a,\"from b\")");
  CHECK(a.scalar("SELECT count(*) FROM mbsync.conflict_value") == "0");

  a.execute("UPDATE \"Customer\" SET \"fullName\" = 'loses' WHERE id = 'c1'");
  b.execute("UPDATE \"Customer\" SET \"fullName\" = 'wins' WHERE id = 'c1'");
  exchange({&a, &b});
  CHECK(a.rows("\"Customer\"") == "(c1,new@a,wins)");
  CHECK(b.rows("\"Customer\"") == "(c1,new@a,wins)");
  CHECK(a.scalar("SELECT losers -> 0 ->> 'value' FROM mbsync.conflict_value") == "loses");
  CHECK(b.scalar("SELECT losers -> 0 ->> 'value' FROM mbsync.conflict_value") == "loses");
  CHECK(b.scalar("SELECT winner ->> 'value' FROM mbsync.conflict_value") == "wins");
  check_forgotten({&a, &b});
}

TEST_CASE("an update beats a concurrent delete, on both sides", "[sync]") {
  PgNode a(cluster(), fresh_name(), kShop);
  PgNode b(cluster(), fresh_name(), kShop);
  a.prepare();
  b.prepare();
  a.execute("INSERT INTO \"Customer\" VALUES ('c1', 'a@b.c', 'first')");
  exchange({&a, &b});
  a.execute("DELETE FROM \"Customer\"");
  b.execute("UPDATE \"Customer\" SET email = 'still@here'");
  exchange({&a, &b});
  CHECK(a.rows("\"Customer\"") == "(c1,still@here,first)");
  CHECK(b.rows("\"Customer\"") == "(c1,still@here,first)");
  CHECK(a.scalar("SELECT rule FROM mbsync.conflict_value WHERE column_name IS NULL") == "update-wins");
  check_forgotten({&a, &b});
}

TEST_CASE("in a line A-B-C, what A writes reaches C through B", "[sync]") {
  PgNode a(cluster(), fresh_name(), kShop);
  PgNode b(cluster(), fresh_name(), kShop);
  PgNode c(cluster(), fresh_name(), kShop);
  a.prepare();
  b.prepare();
  c.prepare();
  const auto line = [&] {
    for (int round = 0; round < 3; ++round) {
      b.pull(a);
      b.pull(c);
      a.pull(b);
      c.pull(b);
    }
  };
  a.execute("INSERT INTO \"Customer\" SELECT 'c' || i, NULL, 'n' FROM generate_series(1, 100) i");
  line();
  CHECK(c.scalar("SELECT count(*) FROM \"Customer\"") == "100");
  c.execute("UPDATE \"Customer\" SET \"fullName\" = 'c was here' WHERE id = 'c5'");
  a.execute("UPDATE \"Customer\" SET email = 'a' WHERE id = 'c5'");
  a.execute("DELETE FROM \"Customer\" WHERE id = 'c6'");
  line();
  CHECK(a.rows("\"Customer\"") == c.rows("\"Customer\""));
  CHECK(a.rows("\"Customer\"") == b.rows("\"Customer\""));
  CHECK(a.scalar("SELECT email || \"fullName\" FROM \"Customer\" WHERE id = 'c5'") == "ac was here");
  line();
  check_forgotten({&a, &b, &c});
}

TEST_CASE("a node that comes after writes were forgotten gets every row, and its own old rows give way", "[sync]") {
  PgNode a(cluster(), fresh_name(), kShop);
  PgNode b(cluster(), fresh_name(), kShop);
  a.prepare();
  b.prepare();
  a.execute("INSERT INTO \"Customer\" VALUES ('c1', 'a@b.c', 'fleet'), ('c2', 'x', 'y')");
  exchange({&a, &b});
  check_forgotten({&a, &b});

  PgNode c(cluster(), fresh_name(), kShop);
  c.execute("INSERT INTO \"Customer\" VALUES ('c1', 'a@b.c', 'stale'), ('c3', 'only c', 'z')");
  c.prepare();
  c.execute("UPDATE \"Customer\" SET \"fullName\" = 'edited' WHERE id = 'c3'");
  exchange({&c, &a, &b}, 3);
  CHECK(a.rows("\"Customer\"") == "(c1,a@b.c,fleet)\n(c2,x,y)\n(c3,\"only c\",edited)");
  CHECK(a.rows("\"Customer\"") == c.rows("\"Customer\""));
  CHECK(b.rows("\"Customer\"") == c.rows("\"Customer\""));
  CHECK(c.scalar("SELECT losers -> 0 ->> 'value' FROM mbsync.conflict_value") == "stale");
  check_forgotten({&a, &b, &c});
}

TEST_CASE("values of a unique column that move between rows arrive", "[sync]") {
  PgNode a(cluster(), fresh_name(), kShop);
  PgNode b(cluster(), fresh_name(), kShop);
  a.prepare();
  b.prepare();
  a.execute("INSERT INTO \"Customer\" VALUES ('c1', 'one', 'x'), ('c2', 'two', 'y')");
  exchange({&a, &b});
  a.execute(
      "BEGIN; UPDATE \"Customer\" SET email = NULL WHERE id = 'c1'; UPDATE \"Customer\" SET email = 'one' WHERE id = "
      "'c2'; "
      "UPDATE \"Customer\" SET email = 'two' WHERE id = 'c1'; COMMIT");
  b.pull(a);
  CHECK(b.rows("\"Customer\"") == "(c1,two,x)\n(c2,one,y)");
}

TEST_CASE("a key that is changed is a delete and an insert; a swap of keys too", "[sync]") {
  PgNode a(cluster(), fresh_name(), "CREATE TABLE t (a int, b text, v int, PRIMARY KEY (a, b))");
  PgNode b(cluster(), fresh_name(), "CREATE TABLE t (a int, b text, v int, PRIMARY KEY (a, b))");
  a.prepare();
  b.prepare();
  a.execute("INSERT INTO t VALUES (1, 'x,\"y\"', 1), (2, '', 2)");
  exchange({&a, &b});
  CHECK(a.rows("t") == b.rows("t"));
  a.execute("UPDATE t SET a = 5 WHERE a = 1");
  b.pull(a);
  CHECK(b.rows("t") == "(2,\"\",2)\n(5,\"x,\"\"y\"\"\",1)");
  a.execute(
      "BEGIN; UPDATE t SET a = 9 WHERE a = 2; UPDATE t SET a = 2, b = '' WHERE a = 5; UPDATE t SET a = 5, b = "
      "'x,\"y\"' WHERE a = 9; COMMIT");
  exchange({&a, &b});
  CHECK(a.rows("t") == b.rows("t"));
  CHECK(b.scalar("SELECT v FROM t WHERE a = 2") == "1");
}

TEST_CASE("TRUNCATE deletes every row on the other side", "[sync]") {
  PgNode a(cluster(), fresh_name(), kShop);
  PgNode b(cluster(), fresh_name(), kShop);
  a.prepare();
  b.prepare();
  a.execute("INSERT INTO \"Customer\" SELECT 'c' || i, NULL, 'n' FROM generate_series(1, 50) i");
  exchange({&a, &b});
  a.execute("TRUNCATE \"Customer\" CASCADE");
  exchange({&a, &b});
  CHECK(b.scalar("SELECT count(*) FROM \"Customer\"") == "0");
}

TEST_CASE("a migration that drops a column the triggers name never breaks the application, and no row is missed",
          "[sync]") {
  const char* schema = "CREATE TABLE t (id int PRIMARY KEY, gone text, kept text)";
  PgNode a(cluster(), fresh_name(), schema);
  PgNode b(cluster(), fresh_name(), schema);
  a.prepare();
  b.prepare();
  a.execute("INSERT INTO t SELECT i, 'g', 'k' FROM generate_series(1, 5) i");
  exchange({&a, &b});
  a.execute("ALTER TABLE t DROP COLUMN gone; ALTER TABLE t ADD COLUMN fresh int DEFAULT 7");
  a.execute(
      "UPDATE t SET kept = 'changed meanwhile' WHERE id = 1; DELETE FROM t WHERE id = 2; INSERT INTO t VALUES (9, "
      "'new', 1)");
  const auto refused = b.try_pull(a);
  REQUIRE_FALSE(refused);
  CHECK(refused.error().message.find("public.t") != std::string::npos);
  b.execute("ALTER TABLE t DROP COLUMN gone; ALTER TABLE t ADD COLUMN fresh int DEFAULT 7");
  REQUIRE(a.store().refresh());
  REQUIRE(b.store().refresh());
  exchange({&a, &b});
  CHECK(a.rows("t") == b.rows("t"));
  CHECK(b.scalar("SELECT count(*) FROM t WHERE kept = 'changed meanwhile' AND id = 1") == "1");
  CHECK(b.scalar("SELECT string_agg(id::text, ',' ORDER BY id) FROM t") == "1,3,4,5,9");
}
