// One row that cannot be written, for whatever reason, never holds up the others (CONFLICTS.md C21): each case here
// brings such a row together with one of another table, and has nothing to do with it.
#include <fmt/format.h>

#include <catch2/catch.hpp>

#include "node_pair.h"
#include "policies.h"
#include "sql_session.h"

using namespace mbsync;
using namespace mbsync::test;

namespace {

const std::string kItem = "CREATE TABLE item (id int PRIMARY KEY, price int)";
const std::string kSlots = "CREATE TABLE item (id int PRIMARY KEY, slot int NOT NULL UNIQUE, price int)";
const std::string kPositive = "ALTER TABLE item ADD CHECK (price > 0)";
// A checks nothing; what moves up takes the value of the one before.
const std::string kMoveUp =
    "DO $$ BEGIN FOR i IN 2..(SELECT max(id) FROM item) LOOP UPDATE item SET slot = i - 1 WHERE id = i; END LOOP; END "
    "$$";

std::string raising(const std::string& kind, const std::string& timing, const std::string& code = "P0001") {
  return fmt::format(
      "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN IF NEW.price < 0 THEN RAISE EXCEPTION "
      "'negative' USING ERRCODE = '{}'; END IF; RETURN NEW; END $$; CREATE {} refusing {} FOR EACH ROW EXECUTE "
      "FUNCTION refuse()",
      code, kind, timing);
}

// Two nodes of which B alone has what `only_b` adds, with a table beside in which a row of A's waits to be pulled.
struct Poisoned : Pair {
  explicit Poisoned(const std::string& schema, const std::string& only_b = "")
      : Pair(schema + "; CREATE TABLE other (id int PRIMARY KEY)",
             schema + "; CREATE TABLE other (id int PRIMARY KEY); " + only_b) {
    exchange();
  }

  // Nothing holds up the other row.
  void check_goes_on(PgNode& to, PgNode& from) {
    from.execute("INSERT INTO other SELECT coalesce(max(id), 0) + 1 FROM other");
    const auto pulled = to.try_pull(from);
    INFO((pulled ? "" : pulled.error().text()));
    CHECK(pulled);
    CHECK(to.rows("other") == from.rows("other"));
  }
  void check_goes_on() { check_goes_on(b, a); }
};

std::string parked(PgNode& node) {
  return node.scalar("SELECT coalesce(string_agg(key, ' ' ORDER BY key), '') FROM mbsync.parked");
}

std::string items(PgNode& node) {
  return node.scalar("SELECT coalesce(string_agg(item::text, ' ' ORDER BY id), '') FROM item");
}

}  // namespace

TEST_CASE("poison: refused in many tables, by themselves (C21)", "[poison]") {
  std::string schema;
  std::string checks;
  std::string rows;
  for (int i = 0; i < 14; ++i) {
    schema += fmt::format("CREATE TABLE t{} (id int PRIMARY KEY, n int);", i);
    checks += fmt::format("ALTER TABLE t{} ADD CHECK (n > 0);", i);
    rows += fmt::format("INSERT INTO t{} VALUES (1, -1), (2, 2);", i);
  }
  Poisoned pair(schema, checks);
  pair.a.execute(rows);
  pair.check_goes_on();
  CHECK(pair.b.scalar("SELECT string_agg(id::text, ' ') FROM t13") == "2");
  CHECK(pair.b.scalar("SELECT count(*) FROM mbsync.parked") == "14");
}

TEST_CASE("poison: whatever a trigger raises, and whenever (C21)", "[poison]") {
  SECTION("at once") {
    const std::string code = GENERATE("P0001", "57014", "53100", "40001", "P0004", "XX000");
    INFO(code);
    Poisoned pair(kItem, raising("TRIGGER", "BEFORE INSERT OR UPDATE ON item", code) +
                             "; ALTER TABLE item ENABLE ALWAYS TRIGGER refusing");
    pair.a.execute("INSERT INTO item VALUES (1, -1), (2, 2)");
    pair.check_goes_on();
    CHECK(items(pair.b) == "(2,2)");
  }
  SECTION("at the end of the transaction") {
    const bool replica = GENERATE(true, false);
    const auto late = raising("CONSTRAINT TRIGGER", "AFTER INSERT OR UPDATE ON item DEFERRABLE INITIALLY DEFERRED");
    Poisoned pair(kItem, late + (replica ? "; ALTER TABLE item ENABLE ALWAYS TRIGGER refusing" : ""));
    if (!replica) {
      // Without the right to bypass constraints the application's triggers fire as they are.
      shared_cluster().execute(
          "postgres", "DO $$ BEGIN CREATE ROLE bound LOGIN; EXCEPTION WHEN duplicate_object THEN NULL; END $$");
      PgNode a(shared_cluster(), fresh_database_name(), kItem, "bound");
      PgNode b(shared_cluster(), fresh_database_name(), kItem + ";" + late, "bound");
      a.prepare();
      b.prepare();
      exchange({&a, &b});
      a.execute("INSERT INTO item VALUES (1, -1), (2, 2)");
      REQUIRE(b.try_pull(a));
      CHECK(items(b) == "(2,2)");
      CHECK(parked(b) == "1");
      return;
    }
    pair.a.execute("INSERT INTO item VALUES (1, -1), (2, 2)");
    pair.check_goes_on();
    CHECK(items(pair.b) == "(2,2)");
    CHECK(parked(pair.b) == "1");
  }
}

TEST_CASE("poison: one row of a table that takes long to write (C21)", "[poison]") {
  // What is written before it takes longer than one attempt may look for it.
  Poisoned pair(kItem, kPositive +
                           "; CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN IF NEW.id = 1 THEN "
                           "PERFORM pg_sleep(3.1); END IF; RETURN NEW; END $$; CREATE TRIGGER slow BEFORE INSERT ON "
                           "item FOR EACH ROW EXECUTE FUNCTION slow(); ALTER TABLE item ENABLE ALWAYS TRIGGER slow");
  pair.a.execute("INSERT INTO item SELECT n, CASE WHEN n = 7 THEN -1 ELSE 1 END FROM generate_series(1, 14) n");
  REQUIRE(pair.b.try_pull(pair.a));
  for (int i = 0; i < 3; ++i) {
    REQUIRE(pair.b.store().settle_unseen());
  }
  CHECK(pair.b.scalar("SELECT count(*) FROM item") == "13");
  CHECK(parked(pair.b) == "7");
}

TEST_CASE("poison: rows that exchange their values, or move up, beside one that is refused (C19, C21)", "[poison]") {
  Poisoned pair(kSlots, kPositive);
  pair.a.execute("INSERT INTO item SELECT n, n, 1 FROM generate_series(1, 30) n");
  pair.exchange();
  SECTION("two exchange") {
    pair.a.execute(
        "UPDATE item SET slot = 99 WHERE id = 1; UPDATE item SET slot = 1 WHERE id = 3; UPDATE item SET slot = 3 WHERE "
        "id = 1; UPDATE item SET price = -1 WHERE id = 2");
    pair.check_goes_on();
    CHECK(pair.b.scalar("SELECT string_agg(slot::text, ' ' ORDER BY id) FROM item WHERE id < 4") == "3 2 1");
    CHECK(parked(pair.b) == "2");
  }
  SECTION("all move up behind it") {
    pair.a.execute("UPDATE item SET slot = 1000, price = -1 WHERE id = 1;" + kMoveUp);
    pair.check_goes_on();
    CHECK(parked(pair.b) == "1");
    pair.b.execute("ALTER TABLE item DROP CONSTRAINT item_price_check");
    try_parked_again(pair.b);
    CHECK(items(pair.b) == items(pair.a));
  }
  SECTION("all move up behind one that waits from before") {
    pair.a.execute("UPDATE item SET slot = 1000, price = -1 WHERE id = 1");
    pair.check_goes_on();
    pair.a.execute(kMoveUp);
    pair.check_goes_on();
    CHECK(parked(pair.b) == "1");
    CHECK(pair.b.scalar("SELECT count(*) FROM mbsync.conflict_record") == "0");
  }
  SECTION("all move up behind one that the application holds") {
    pair.a.execute("UPDATE item SET slot = 1000 WHERE id = 1;" + kMoveUp);
    SqlSession application(pair.b.url());
    application.execute("BEGIN");
    application.execute("SELECT * FROM item WHERE id = 1 FOR UPDATE");
    pair.check_goes_on();
    CHECK(parked(pair.b).empty());
    application.execute("COMMIT");
    REQUIRE(pair.b.store().settle_unseen());
    CHECK(items(pair.b) == items(pair.a));
    CHECK(pair.b.scalar("SELECT count(*) FROM mbsync.conflict_record") == "0");
  }
}

TEST_CASE("poison: how a row that waits stands here counts for nothing (C19, C21)", "[poison]") {
  SECTION("no other gets a suffix for it") {
    const std::string schema = "CREATE TABLE item (id int PRIMARY KEY, code text UNIQUE, price int)";
    Poisoned pair(schema, kPositive);
    pair.a.execute("INSERT INTO item VALUES (1, 'x', 1)");
    pair.exchange();
    pair.a.execute("UPDATE item SET code = 'y', price = -1 WHERE id = 1");
    pair.check_goes_on();
    pair.a.execute("INSERT INTO item VALUES (2, 'x', 1)");
    pair.check_goes_on();
    CHECK(items(pair.b) == "(1,x,1)");
    pair.b.execute("ALTER TABLE item DROP CONSTRAINT item_price_check");
    try_parked_again(pair.b);
    pair.exchange();
    for (auto* node : {&pair.a, &pair.b}) {
      CHECK(items(*node) == "(1,y,-1) (2,x,1)");
      CHECK(node->scalar("SELECT count(*) FROM mbsync.conflict_record") == "0");
    }
  }
  SECTION("no other is united with it") {
    Poisoned pair(
        "CREATE TABLE person (id int PRIMARY KEY); CREATE TABLE item (id int PRIMARY KEY, person int NOT NULL UNIQUE "
        "REFERENCES person, price int)",
        kPositive);
    pair.a.execute("INSERT INTO person VALUES (1), (2); INSERT INTO item VALUES (10, 1, 1)");
    pair.exchange();
    pair.a.execute("UPDATE item SET person = 2, price = -1");
    pair.check_goes_on();
    pair.a.execute("INSERT INTO item VALUES (20, 1, 5)");
    pair.check_goes_on();
    CHECK(items(pair.b) == "(10,1,1)");
    pair.exchange();
    CHECK(items(pair.a) == "(10,2,-1) (20,1,5)");
  }
  SECTION("nor does it come back as it was deleted") {
    Poisoned pair(kItem +
                      "; CREATE TABLE part (id int PRIMARY KEY, item int NOT NULL REFERENCES item); CREATE TABLE piece "
                      "(id int PRIMARY KEY, part int NOT NULL REFERENCES part)",
                  kPositive);
    pair.a.execute("INSERT INTO item VALUES (1, 1); INSERT INTO part VALUES (1, 1)");
    pair.exchange();
    pair.a.execute("UPDATE item SET price = -1; INSERT INTO piece VALUES (1, 1)");
    pair.b.execute("DELETE FROM part; DELETE FROM item");
    pair.check_goes_on();
    CHECK(items(pair.b).empty());
    pair.b.execute("ALTER TABLE item DROP CONSTRAINT item_price_check");
    try_parked_again(pair.b);
    pair.exchange();
    for (auto* node : {&pair.a, &pair.b}) {
      CHECK(items(*node) == "(1,-1)");
      CHECK(node->scalar("SELECT piece::text FROM piece") == "(1,1)");
    }
  }
}

TEST_CASE("poison: a row that mbsync would change because of others (C15, C19, C20, C21)", "[poison]") {
  SECTION("many need one that would have to come back") {
    Poisoned pair(kItem + "; CREATE TABLE line (id int PRIMARY KEY, item int NOT NULL REFERENCES item)");
    pair.a.execute("INSERT INTO item VALUES (1, -1)");
    pair.exchange();
    pair.a.execute("INSERT INTO line SELECT n, 1 FROM generate_series(1, 20) n; INSERT INTO item VALUES (3, 3)");
    pair.b.execute("DELETE FROM item;" + kPositive);
    pair.check_goes_on();
    CHECK(items(pair.b) == "(3,3)");
    CHECK(pair.b.scalar("SELECT count(*) FROM mbsync.parked") == "20");
  }
  SECTION("many deletions would set columns of one") {
    std::string columns;
    std::string values;
    std::string whole = "true";
    for (int i = 1; i <= 14; ++i) {
      columns += fmt::format(", r{} int REFERENCES item ON DELETE SET NULL", i);
      values += fmt::format(", {}", i);
      whole += fmt::format(" AND r{} IS NOT NULL", i);
    }
    Poisoned pair(kItem + "; CREATE TABLE line (id int PRIMARY KEY" + columns + ")",
                  "ALTER TABLE line ADD CHECK (" + whole + ")");
    pair.a.execute("INSERT INTO item SELECT n FROM generate_series(1, 14) n");
    pair.exchange();
    pair.b.execute("INSERT INTO line VALUES (1" + values + ")");
    pair.a.execute("DELETE FROM item");
    pair.check_goes_on();
    CHECK(pair.b.scalar("SELECT count(*) FROM item") == "14");
  }
  SECTION("a row is kept beside another, and what it refers to waits") {
    Poisoned pair(kItem + "; CREATE TABLE log (id int PRIMARY KEY, item int REFERENCES item, note text)", kPositive);
    publish_to({&pair.a, &pair.b}, "[[table]]\nname = 'log'\nkeep_both = true\n");
    pair.b.execute("INSERT INTO log VALUES (5, NULL, 'b')");
    pair.a.execute("INSERT INTO item VALUES (1, -1); INSERT INTO log VALUES (5, 1, 'a')");
    pair.check_goes_on();
    CHECK(parked(pair.b) == "1");
  }
  SECTION("a row gets another key with what it refers to") {
    Poisoned pair(
        "CREATE TABLE person (id int PRIMARY KEY); CREATE TABLE membership (id int PRIMARY KEY, person int NOT NULL "
        "UNIQUE REFERENCES person); CREATE TABLE fee (membership int REFERENCES membership, n int, amount int, PRIMARY "
        "KEY (membership, n))");
    pair.a.execute("INSERT INTO person VALUES (1)");
    pair.exchange();
    pair.a.execute("INSERT INTO membership VALUES (10, 1)");
    REQUIRE(pair.a.store().seal_pending());
    pair.b.execute(
        "INSERT INTO membership VALUES (20, 1); INSERT INTO fee VALUES (20, 1, 0); ALTER TABLE fee ADD CHECK (amount > "
        "0) NOT VALID");
    pair.check_goes_on();
    CHECK(pair.b.scalar("SELECT fee::text FROM fee") == "(20,1,0)");
  }
  SECTION("a table that does not take part refuses what follows from a deletion") {
    Poisoned pair(
        kItem +
        "; CREATE TABLE gone (item int REFERENCES item ON DELETE CASCADE, t text UNIQUE); CREATE TABLE deeper (t text "
        "REFERENCES gone (t))");
    pair.a.execute("INSERT INTO item VALUES (1, 1), (2, 2)");
    pair.exchange();
    pair.b.execute("INSERT INTO gone VALUES (1, 'x'); INSERT INTO deeper VALUES ('x')");
    pair.a.execute("DELETE FROM item WHERE id = 1");
    pair.check_goes_on();
    CHECK(items(pair.b) == "(1,1) (2,2)");
    CHECK(parked(pair.b) == "1");
  }
  SECTION("two counters that become one too large") {
    Poisoned pair(
        "CREATE TABLE product (id int PRIMARY KEY); CREATE TABLE stock (id int PRIMARY KEY, product int NOT NULL "
        "UNIQUE "
        "REFERENCES product, qty smallint NOT NULL DEFAULT 0)");
    pair.a.execute("INSERT INTO product VALUES (1)");
    pair.exchange();
    publish_to({&pair.a, &pair.b}, "[[table]]\nname = 'stock'\n[table.columns]\nqty = 'sum'\n");
    pair.a.execute("INSERT INTO stock VALUES (10, 1, 0)");
    pair.b.execute("INSERT INTO stock VALUES (20, 1, 0)");
    REQUIRE(pair.a.store().seal_pending());
    REQUIRE(pair.b.store().seal_pending());
    pair.a.execute("UPDATE stock SET qty = qty + 30000");
    pair.b.execute("UPDATE stock SET qty = qty + 30000");
    pair.check_goes_on();
  }
  SECTION("a chain of cascades without end") {
    Poisoned pair("CREATE TABLE item (id int PRIMARY KEY, reply_to int REFERENCES item ON DELETE CASCADE)");
    pair.a.execute("INSERT INTO item VALUES (1, NULL)");
    pair.exchange();
    pair.a.execute("DELETE FROM item");
    pair.b.execute("INSERT INTO item SELECT n, n - 1 FROM generate_series(2, 220) n");
    pair.check_goes_on(pair.a, pair.b);
    CHECK(items(pair.a).empty());
  }
}

TEST_CASE("poison: values that no expression, type or key of this database takes (C13, C21)", "[poison]") {
  const std::string kind = "CREATE TYPE kind AS ENUM ('a'); ";
  SECTION("columns of two writes make no range") {
    Poisoned pair(
        "CREATE TABLE booking (id int PRIMARY KEY, lo int, hi int, EXCLUDE USING gist (int4range(lo, hi) WITH &&))");
    pair.a.execute("INSERT INTO booking VALUES (1, 10, 20), (2, 30, 40)");
    pair.exchange();
    pair.a.execute("UPDATE booking SET hi = 12 WHERE id = 1");
    pair.b.execute("UPDATE booking SET lo = 15 WHERE id = 1");
    pair.check_goes_on();
    CHECK_THAT(pair.b.scalar("SELECT reason FROM mbsync.parked"), Catch::Contains("range lower bound"));
  }
  SECTION("a label in a unique key") {
    Poisoned pair(kind + "CREATE TABLE item (id int PRIMARY KEY, k kind, name text, UNIQUE (k, name))");
    pair.a.execute("ALTER TYPE kind ADD VALUE 'b'");
    pair.a.execute("INSERT INTO item VALUES (1, 'a', 'x'), (2, 'b', 'x')");
    pair.check_goes_on();
    CHECK(items(pair.b) == "(1,a,x)");
    CHECK(parked(pair.b) == "2");
    pair.b.execute("ALTER TYPE kind ADD VALUE 'b'");
    try_parked_again(pair.b);
    CHECK(items(pair.b) == "(1,a,x) (2,b,x)");
  }
  SECTION("a label in a referenced column") {
    Poisoned pair(
        kind +
        "CREATE TABLE item (id int PRIMARY KEY, k kind UNIQUE); CREATE TABLE line (id int PRIMARY KEY, k kind "
        "REFERENCES item (k))");
    pair.a.execute("INSERT INTO item VALUES (1, 'a')");
    pair.exchange();
    pair.a.execute("ALTER TYPE kind ADD VALUE 'b'");
    pair.a.execute("UPDATE item SET k = 'b'; INSERT INTO line VALUES (1, 'b')");
    pair.check_goes_on();
  }
  SECTION("a label in a key") {
    Poisoned pair(kind + "CREATE TABLE item (id kind PRIMARY KEY, name text)");
    pair.a.execute("ALTER TYPE kind ADD VALUE 'b'");
    pair.a.execute("INSERT INTO item VALUES ('a', 'x'), ('b', 'y')");
    pair.check_goes_on();
    CHECK(items(pair.b) == "(a,x)");
    CHECK(parked(pair.b) == "b");
    pair.b.execute("ALTER TYPE kind ADD VALUE 'b'");
    try_parked_again(pair.b);
    CHECK(items(pair.b) == "(a,x) (b,y)");
  }
  SECTION("a domain's rule for a key") {
    const std::string table = "; CREATE TABLE item (id code PRIMARY KEY, name text)";
    Poisoned pair("CREATE DOMAIN code AS text" + table, "ALTER DOMAIN code ADD CHECK (length(VALUE) < 3)");
    pair.a.execute("INSERT INTO item VALUES ('long', 'x'), ('b', 'y')");
    pair.check_goes_on();
    CHECK(items(pair.b) == "(b,y)");
    CHECK(parked(pair.b) == "long");
  }
  SECTION("what a deleted row had before a column's type changed") {
    const bool by_reference = GENERATE(false, true);
    Poisoned pair(
        "CREATE TABLE item (id int PRIMARY KEY, n text, m int); CREATE TABLE line (id int PRIMARY KEY, item int NOT "
        "NULL REFERENCES item)");
    pair.a.execute("INSERT INTO item VALUES (1, 'abc', 1)");
    pair.exchange();
    pair.a.execute("DELETE FROM item");
    pair.b.execute(by_reference ? "INSERT INTO line VALUES (1, 1)" : "UPDATE item SET m = 2");
    for (auto* node : {&pair.a, &pair.b}) {
      REQUIRE(node->store().seal_pending());
      node->execute("ALTER TABLE item ALTER n TYPE int USING length(n)");
      REQUIRE(node->store().refresh());
    }
    pair.check_goes_on(pair.b, pair.a);
    pair.check_goes_on(pair.a, pair.b);
  }
}

TEST_CASE("poison: keys that are equal and look different (C19, C21)", "[poison]") {
  Poisoned pair("CREATE EXTENSION IF NOT EXISTS citext; CREATE TABLE item (id citext PRIMARY KEY, name text)");
  pair.a.execute("INSERT INTO item VALUES ('abc', 'of a')");
  pair.b.execute("INSERT INTO item VALUES ('ABC', 'of b')");
  pair.check_goes_on();
  CHECK(items(pair.b) == "(ABC,\"of b\")");
  CHECK_THAT(pair.b.scalar("SELECT reason FROM mbsync.parked"),
             Catch::Contains("row ABC has the same value, and one of the two has to be deleted"));
  pair.check_goes_on(pair.a, pair.b);
  for (auto* node : {&pair.a, &pair.b}) {
    CHECK(node->scalar("SELECT string_agg(key || kind || is_open, ' ') FROM mbsync.conflict") == "ABCuniquetrue");
  }
  pair.b.execute("DELETE FROM item");
  pair.exchange();
  try_parked_again(pair.b);
  pair.exchange();
  for (auto* node : {&pair.a, &pair.b}) {
    CHECK(items(*node) == "(abc,\"of a\")");
  }
}

TEST_CASE("poison: one long row excludes many short ones (C19, C21)", "[poison]") {
  Poisoned pair(
      "CREATE TABLE booking (id int PRIMARY KEY, lo int, hi int, EXCLUDE USING gist (int4range(lo, hi) WITH &&))");
  pair.b.execute("INSERT INTO booking SELECT n, n * 10, n * 10 + 5 FROM generate_series(1, 20) n");
  REQUIRE(pair.b.store().seal_pending());
  pair.a.execute("INSERT INTO booking VALUES (100, 0, 1000)");
  pair.check_goes_on(pair.a, pair.b);
  CHECK(pair.a.scalar("SELECT count(*) FROM mbsync.parked") == "20");
  pair.exchange();
  // However the rows are written further, a person has each to decide once.
  pair.b.execute("UPDATE booking SET hi = hi + 1");
  pair.exchange();
  pair.a.execute("UPDATE booking SET lo = 1");
  pair.exchange();
  for (auto* node : {&pair.a, &pair.b}) {
    CHECK(node->scalar("SELECT count(*) FROM mbsync.conflict WHERE is_open") == "20");
  }
}
