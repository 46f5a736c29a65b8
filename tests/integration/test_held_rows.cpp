// Rows that an application transaction holds while a peer's writes of them arrive (CONFLICTS.md C10): everything else
// goes on, and once the transaction has ended both sides agree, with nothing lost.
#include <catch2/catch.hpp>

#include "node_pair.h"
#include "sql_session.h"

using namespace mbsync;
using namespace mbsync::test;

namespace {

constexpr const char* kSchema = R"sql(
CREATE TABLE customer (id text PRIMARY KEY, email text UNIQUE, name text);
CREATE TABLE orders (id text PRIMARY KEY, customer text NOT NULL REFERENCES customer ON DELETE CASCADE, note text);
CREATE TABLE item (id int PRIMARY KEY, orders text NOT NULL REFERENCES orders ON DELETE CASCADE, note text);
)sql";
constexpr const char* kRows = R"sql(
INSERT INTO customer SELECT 'c' || i, 'c' || i || '@x.y', 'name' FROM generate_series(1, 30) i;
INSERT INTO orders SELECT 'o' || i, 'c' || i, 'old' FROM generate_series(1, 30) i;
INSERT INTO item SELECT i, 'o' || i, 'old' FROM generate_series(1, 30) i;
)sql";

struct Shop : Pair {
  Shop() : Pair(kSchema) {
    a.execute(kRows);
    exchange();
    check_forgotten();
  }

  std::int64_t settle(PgNode& node) {
    const auto waiting = node.store().settle_unseen();
    INFO((waiting ? std::string() : waiting.error().text()));
    REQUIRE(waiting);
    return waiting->waiting;
  }
  void check_equal() {
    for (const char* table : {"customer", "orders", "item"}) {
      CHECK(rows(a, table) == rows(b, table));
    }
  }
  /// All is settled, equal and forgotten on both sides.
  void check_end() {
    CHECK(settle(a) == 0);
    CHECK(settle(b) == 0);
    exchange();
    check_equal();
    check_forgotten();
    CHECK(a.scalar("SELECT string_agg(id::text || winner || losers, '' ORDER BY id) FROM mbsync.conflict_value") ==
          b.scalar("SELECT string_agg(id::text || winner || losers, '' ORDER BY id) FROM mbsync.conflict_value"));
  }
};

}  // namespace

TEST_CASE("held rows: everything else arrives; after the commit the two writes are siblings (C10)") {
  Shop shop;
  SqlSession holder{shop.a.url()};
  holder.execute("BEGIN; UPDATE orders SET note = 'held' WHERE id = 'o1'");
  shop.b.execute(
      "UPDATE orders SET note = 'of b' WHERE id IN ('o1', 'o2'); INSERT INTO item VALUES (100, 'o1', 'new')");
  const auto outcome = shop.a.pull(shop.b);
  CHECK(outcome.set_aside == 1);
  CHECK(shop.a.scalar("SELECT note FROM orders WHERE id = 'o2'") == "of b");
  CHECK(shop.a.scalar("SELECT count(*) FROM item WHERE id = 100") == "1");
  CHECK(shop.a.scalar("SELECT note FROM orders WHERE id = 'o1'") == "old");
  const auto status = PgStore::read_status(*parse_database_url(shop.a.url()));
  REQUIRE(status);
  CHECK(status->unseen_rows == 1);
  CHECK(shop.settle(shop.a) == 1);

  // b hears that a has everything, but not so that it would forget what a has not shown yet.
  shop.b.pull(shop.a);
  shop.a.pull(shop.b);
  REQUIRE(shop.b.store().forget_stable());
  CHECK(shop.b.scalar("SELECT count(*) FROM mbsync.change WHERE key = 'o1'") == "1");

  // News of the same row replace the older ones.
  shop.b.execute("UPDATE orders SET note = 'of b again' WHERE id = 'o1'");
  CHECK(shop.a.pull(shop.b).set_aside == 1);
  CHECK(shop.a.scalar("SELECT count(*) FROM mbsync.change WHERE key = 'o1'") == "1");

  holder.execute("COMMIT");
  // The application writes again before mbsync looks: still without having seen b's write.
  shop.a.execute("UPDATE orders SET note = note || ' and held' WHERE id = 'o1'");
  CHECK(shop.settle(shop.a) == 0);
  CHECK(shop.a.scalar("SELECT count(*) FROM mbsync.conflict_value WHERE table_name = 'orders' AND key = 'o1'") == "1");
  CHECK(shop.a.scalar("SELECT note FROM orders WHERE id = 'o1'") == "held and held");
  CHECK(shop.a.scalar("SELECT losers -> 0 ->> 'value' FROM mbsync.conflict_value") == "of b again");
  shop.check_end();
  CHECK(shop.b.scalar("SELECT note FROM orders WHERE id = 'o1'") == "held and held");
}

TEST_CASE("held rows: a newcomer that joins meanwhile has the conflict on record (C9, C10)") {
  Shop shop;
  SqlSession holder{shop.a.url()};
  holder.execute("BEGIN; UPDATE orders SET note = 'held' WHERE id = 'o1'");
  shop.b.execute("UPDATE orders SET note = 'of b' WHERE id = 'o1'");
  CHECK(shop.a.pull(shop.b).set_aside == 1);
  holder.execute("COMMIT");
  PgNode newcomer(shared_cluster(), fresh_database_name(), kSchema);
  newcomer.prepare();
  newcomer.pull(shop.a);  // where the two have not been judged yet
  CHECK(newcomer.scalar("SELECT note FROM orders WHERE id = 'o1'") == "of b");
  const std::string record = "SELECT string_agg(id::text || value || losers, '') FROM mbsync.conflict_value";
  CHECK(newcomer.scalar(record).find("held") != std::string::npos);
  CHECK(shop.settle(shop.a) == 0);
  exchange({&shop.a, &shop.b, &newcomer}, 3);
  CHECK(newcomer.scalar(record) == shop.a.scalar(record));
  CHECK(newcomer.scalar("SELECT count(*) FROM mbsync.conflict_record") == "1");
  CHECK(Pair::rows(newcomer, "orders") == Pair::rows(shop.b, "orders"));
}

TEST_CASE("held rows: after a rollback the peer's write stands, and there was no conflict (C10)") {
  Shop shop;
  SqlSession holder{shop.a.url()};
  holder.execute("BEGIN; DELETE FROM orders WHERE id = 'o1'");  // and its item
  shop.b.execute("UPDATE orders SET note = 'of b' WHERE id = 'o1'; UPDATE item SET note = 'of b' WHERE id = 1");
  CHECK(shop.a.pull(shop.b).set_aside == 2);
  CHECK(shop.settle(shop.a) == 2);
  holder.execute("ROLLBACK");
  CHECK(shop.settle(shop.a) == 0);
  CHECK(shop.a.scalar("SELECT note FROM orders WHERE id = 'o1'") == "of b");
  CHECK(shop.a.scalar("SELECT note FROM item WHERE id = 1") == "of b");
  shop.check_end();
  CHECK(shop.a.scalar("SELECT count(*) FROM mbsync.conflict_value") == "0");
}

TEST_CASE("held rows: a write of other columns and the peer's write both stand (C10)") {
  Shop shop;
  SqlSession holder{shop.a.url()};
  holder.execute("BEGIN; UPDATE customer SET name = 'held' WHERE id = 'c1'");
  shop.b.execute("UPDATE customer SET email = 'b@b' WHERE id = 'c1'");
  CHECK(shop.a.pull(shop.b).set_aside == 1);
  holder.execute("COMMIT");
  CHECK(shop.settle(shop.a) == 0);
  CHECK(shop.a.scalar("SELECT email || name FROM customer WHERE id = 'c1'") == "b@bheld");
  shop.check_end();
  CHECK(shop.a.scalar("SELECT count(*) FROM mbsync.conflict_value") == "0");
}

TEST_CASE("held rows: a deletion waits for whoever refers to the row, and all that goes with it stays consistent") {
  Shop shop;
  SqlSession holder{shop.a.url()};
  // Holds the order against deletion, since a new item refers to it.
  holder.execute("BEGIN; INSERT INTO item VALUES (200, 'o1', 'held')");
  shop.b.execute("DELETE FROM customer WHERE id IN ('c1', 'c2')");
  const auto outcome = shop.a.pull(shop.b);
  CHECK(outcome.set_aside > 0);
  CHECK(shop.a.scalar("SELECT count(*) FROM customer WHERE id = 'c2'") == "0");
  CHECK(shop.a.scalar("SELECT count(*) FROM orders WHERE id = 'o2'") == "0");
  CHECK(shop.a.scalar(
            "SELECT count(*) FROM orders o WHERE NOT EXISTS (SELECT FROM customer c WHERE c.id = o.customer)") == "0");
  CHECK(shop.a.scalar("SELECT count(*) FROM orders WHERE id = 'o1'") == "1");
  CHECK(shop.a.scalar("SELECT count(*) FROM customer WHERE id = 'c1'") == "1");
  CHECK(shop.settle(shop.a) > 0);
  holder.execute("ROLLBACK");
  CHECK(shop.settle(shop.a) == 0);
  CHECK(shop.a.scalar("SELECT count(*) FROM customer WHERE id = 'c1'") == "0");
  shop.check_end();
}

TEST_CASE("held rows: a key that is being inserted on both sides, and what refers to it") {
  const bool commits = GENERATE(false, true);
  Shop shop;
  SqlSession holder{shop.a.url()};
  holder.execute("BEGIN; INSERT INTO customer VALUES ('new', 'held@a', 'held')");
  shop.b.execute(
      "INSERT INTO customer VALUES ('new', 'held@a', 'of b'), ('free', NULL, 'of b'); INSERT INTO orders VALUES ('n', "
      "'new', 'of b'), ('f', 'free', 'of b'); INSERT INTO item SELECT i, CASE WHEN i > 50 THEN 'n' ELSE 'f' END, 'of "
      "b' "
      "FROM generate_series(40, 60) i");
  const auto outcome = shop.a.pull(shop.b);
  CHECK(outcome.set_aside == 1 + 1 + 10);
  CHECK(shop.a.scalar("SELECT count(*) FROM orders WHERE id = 'f'") == "1");
  CHECK(shop.a.scalar("SELECT count(*) FROM item WHERE orders = 'f'") == "11");
  CHECK(shop.a.scalar("SELECT count(*) FROM orders WHERE id = 'n'") == "0");
  // What refers to a row that waits comes later, and waits as well.
  shop.b.execute("INSERT INTO item VALUES (70, 'n', 'later'), (71, 'f', 'later')");
  CHECK(shop.a.pull(shop.b).set_aside == 1);
  CHECK(shop.a.scalar("SELECT string_agg(id::text, ',') FROM item WHERE note = 'later'") == "71");
  CHECK(shop.settle(shop.a) == 13);
  holder.execute(commits ? "COMMIT" : "ROLLBACK");
  CHECK(shop.settle(shop.a) == 0);
  CHECK(shop.a.scalar("SELECT count(*) FROM item WHERE orders = 'n'") == "11");
  CHECK(shop.a.scalar("SELECT count(*) FROM mbsync.conflict_value") == (commits ? "1" : "0"));
  shop.check_end();
}

TEST_CASE("held rows: a third node gets them through the one where they wait") {
  Shop shop;
  PgNode c(shared_cluster(), fresh_database_name(), kSchema);
  c.prepare();
  exchange({&c, &shop.a, &shop.b}, 3);
  SqlSession holder{shop.a.url()};
  holder.execute("BEGIN; UPDATE orders SET note = 'held' WHERE id = 'o1'; INSERT INTO customer VALUES ('new')");
  shop.b.execute(
      "UPDATE orders SET note = 'of b' WHERE id = 'o1'; DELETE FROM item WHERE id = 1; INSERT INTO customer VALUES "
      "('new', 'e', 'of b')");
  CHECK(shop.a.pull(shop.b).set_aside == 2);
  c.pull(shop.a);
  CHECK(c.scalar("SELECT note FROM orders WHERE id = 'o1'") == "of b");
  CHECK(c.scalar("SELECT name FROM customer WHERE id = 'new'") == "of b");
  CHECK(c.scalar("SELECT count(*) FROM item WHERE id = 1") == "0");
  c.execute("UPDATE customer SET name = 'of c' WHERE id = 'new'");
  CHECK(shop.a.pull(c).set_aside == 1);
  holder.execute("COMMIT");
  CHECK(shop.settle(shop.a) == 0);
  exchange({&c, &shop.a, &shop.b}, 3);
  for (const char* table : {"customer", "orders", "item"}) {
    CHECK(Pair::rows(c, table) == Pair::rows(shop.a, table));
  }
  for (auto* node : {&shop.a, &shop.b, &c}) {
    REQUIRE(node->store().forget_stable());
    CHECK(node->scalar("SELECT count(*) FROM mbsync.change") == "0");
  }
}

TEST_CASE("held rows: a node that joins through one where rows wait gets what they will be") {
  Shop shop;
  SqlSession holder{shop.a.url()};
  holder.execute("BEGIN; UPDATE orders SET note = 'held' WHERE id = 'o1'; INSERT INTO customer VALUES ('new')");
  shop.b.execute("UPDATE orders SET note = 'of b' WHERE id = 'o1'; INSERT INTO customer VALUES ('new', 'e', 'of b')");
  CHECK(shop.a.pull(shop.b).set_aside == 2);
  PgNode c(shared_cluster(), fresh_database_name(), kSchema);
  c.prepare();
  c.pull(shop.a);
  CHECK(c.scalar("SELECT note FROM orders WHERE id = 'o1'") == "of b");
  CHECK(c.scalar("SELECT name FROM customer WHERE id = 'new'") == "of b");
  holder.execute("ROLLBACK");
  CHECK(shop.settle(shop.a) == 0);
  exchange({&c, &shop.a, &shop.b}, 3);
  CHECK(Pair::rows(c, "orders") == Pair::rows(shop.a, "orders"));
  CHECK(Pair::rows(c, "customer") == Pair::rows(shop.a, "customer"));
}

TEST_CASE("held rows: without the right to bypass constraints, too") {
  const std::string role = "plain_holder";
  shared_cluster().execute(
      "postgres", "DO $$ BEGIN CREATE ROLE plain_holder LOGIN; EXCEPTION WHEN duplicate_object THEN NULL; END $$");
  PgNode a(shared_cluster(), fresh_database_name(), kSchema, role);
  PgNode b(shared_cluster(), fresh_database_name(), kSchema, role);
  CHECK_FALSE(a.prepare().bypasses_constraints);
  b.prepare();
  a.execute(kRows);
  exchange({&a, &b});
  SqlSession holder{a.url()};
  // The new order's customer is locked as an application does that is about to change it: a foreign key must wait.
  holder.execute(
      "BEGIN; SELECT * FROM customer WHERE id = 'c3' FOR UPDATE; UPDATE orders SET note = 'held' WHERE id = 'o1'");
  b.execute(
      "UPDATE orders SET note = 'of b' WHERE id IN ('o1', 'o2'); INSERT INTO orders VALUES ('p', 'c3', 'of b'), ('q', "
      "'c4', 'of b'); INSERT INTO item VALUES (80, 'p', 'of b'), (81, 'q', 'of b')");
  const auto outcome = a.pull(b);
  CHECK(outcome.set_aside == 3);
  CHECK(a.scalar("SELECT note FROM orders WHERE id = 'o2'") == "of b");
  CHECK(a.scalar("SELECT count(*) FROM item WHERE id = 81") == "1");
  CHECK(a.scalar("SELECT count(*) FROM item WHERE id = 80") == "0");
  holder.execute("COMMIT");
  const auto waiting = a.store().settle_unseen();
  REQUIRE(waiting);
  CHECK(waiting->waiting == 0);
  CHECK(a.scalar("SELECT count(*) FROM item WHERE id = 80") == "1");
  exchange({&a, &b});
  CHECK(Pair::rows(a, "orders") == Pair::rows(b, "orders"));
  CHECK(Pair::rows(a, "item") == Pair::rows(b, "item"));
}

TEST_CASE("held rows: many keys that both sides insert hold up the others for a moment only") {
  Shop shop;
  SqlSession holder{shop.a.url()};
  holder.execute("BEGIN; INSERT INTO customer SELECT 'n' || i FROM generate_series(1, 3000) i");
  shop.b.execute(
      "INSERT INTO customer SELECT 'n' || i, NULL, 'of b' FROM generate_series(1, 3000) i; INSERT INTO customer SELECT "
      "'other' || i, NULL, 'of b' FROM generate_series(1, 50) i; UPDATE orders SET note = 'of b'");
  const auto started = std::chrono::steady_clock::now();
  const auto outcome = shop.a.pull(shop.b);
  const auto took = std::chrono::steady_clock::now() - started;
  CHECK(outcome.set_aside >= 3000);
  CHECK(took < std::chrono::seconds{20});
  CHECK(shop.a.scalar("SELECT count(*) FROM orders WHERE note = 'of b'") == "30");
  holder.execute("ROLLBACK");
  CHECK(shop.settle(shop.a) == 0);
  shop.check_end();
}

TEST_CASE("held rows: a long chain of rows that refer to each other waits for its first") {
  const char* schema = "CREATE TABLE node (id int PRIMARY KEY, up int REFERENCES node, note text)";
  Pair pair(schema);
  SqlSession holder{pair.a.url()};
  holder.execute("BEGIN; INSERT INTO node VALUES (1)");
  pair.b.execute(
      "INSERT INTO node SELECT i, NULLIF(i - 1, 0), 'of b' FROM generate_series(1, 40) i; INSERT INTO node VALUES "
      "(100)");
  CHECK(pair.a.pull(pair.b).set_aside == 40);
  CHECK(pair.a.scalar("SELECT string_agg(id::text, ',') FROM node") == "100");
  holder.execute("COMMIT");
  const auto waiting = pair.a.store().settle_unseen();
  REQUIRE(waiting);
  CHECK(waiting->waiting == 0);
  pair.exchange();
  CHECK(Pair::rows(pair.a, "node") == Pair::rows(pair.b, "node"));
}

TEST_CASE("held rows: one that clashes by then is mended (C19), and the others do not wait for it") {
  Shop shop;
  SqlSession holder{shop.a.url()};
  holder.execute("BEGIN; UPDATE customer SET name = 'held' WHERE id IN ('c1', 'c2')");
  shop.b.execute(
      "UPDATE customer SET email = 'taken' WHERE id = 'c1'; UPDATE customer SET email = 'free' WHERE id = 'c2'");
  CHECK(shop.a.pull(shop.b).set_aside == 2);
  holder.execute("COMMIT");
  shop.a.execute("INSERT INTO customer VALUES ('other', 'taken', 'x')");
  const auto settled = shop.a.store().settle_unseen();
  REQUIRE(settled);
  CHECK(settled->waiting == 0);
  CHECK(settled->parked.empty());
  CHECK(shop.a.scalar("SELECT email || name FROM customer WHERE id = 'c2'") == "freeheld");
  CHECK(shop.a.scalar("SELECT email FROM customer WHERE id = 'c1'") == "taken");
  CHECK(shop.a.scalar("SELECT email FROM customer WHERE id = 'other'") == "taken~795f");
  shop.exchange();
  shop.check_end();
}

TEST_CASE("held rows: a key that is checked at the end of a transaction is kept, whoever commits first (C10, C19)") {
  const std::string late = GENERATE("sku text UNIQUE DEFERRABLE INITIALLY DEFERRED, id int PRIMARY KEY",
                                    "sku text, id int PRIMARY KEY DEFERRABLE INITIALLY DEFERRED");
  const bool by_sku = late.starts_with("sku text UNIQUE");
  Pair pair("CREATE TABLE part (" + late + ", note text); CREATE TABLE other (id int PRIMARY KEY)");
  SqlSession holder{pair.a.url()};
  holder.execute("BEGIN; INSERT INTO part VALUES ('x', 1, 'of a')");
  pair.b.execute(by_sku ? "INSERT INTO part VALUES ('x', 2, 'of b'); INSERT INTO other VALUES (1)"
                        : "INSERT INTO part VALUES ('y', 1, 'of b'); INSERT INTO other VALUES (1)");
  CHECK(pair.a.pull(pair.b).set_aside == 1);
  CHECK(pair.a.scalar("SELECT count(*) FROM other") == "1");
  holder.execute("COMMIT");
  REQUIRE(pair.a.store().settle_unseen());
  pair.exchange();
  for (auto* node : {&pair.a, &pair.b}) {
    CHECK(node->scalar("SELECT count(*) = count(DISTINCT id) AND count(*) = count(DISTINCT sku) FROM part") == "t");
    CHECK(node->scalar("SELECT count(*) FROM part") == (by_sku ? "2" : "1"));
  }
  CHECK(pair.a.rows("part") == pair.b.rows("part"));
}
