// Rows that cannot stand together: a parent deleted here and referred to there (CONFLICTS.md C18, C20).
#include <fmt/format.h>

#include <catch2/catch.hpp>

#include "node_pair.h"
#include "policies.h"
#include "sql_session.h"
#include "wait_until.h"

using namespace mbsync;
using namespace mbsync::test;

namespace {

std::string schema(const std::string& action, const std::string& column = "parent int") {
  return "CREATE TABLE parent (id int PRIMARY KEY, name text, up int REFERENCES parent ON DELETE " + action +
         "); CREATE TABLE child (id int PRIMARY KEY, " + column + " REFERENCES parent ON DELETE " + action +
         ", note text); CREATE TABLE grandchild (id int PRIMARY KEY, child int NOT NULL REFERENCES child ON DELETE "
         "CASCADE)";
}

std::string dangling(PgNode& node) {
  return node.scalar(
      "SELECT (SELECT count(*) FROM child c WHERE parent IS NOT NULL AND NOT EXISTS (SELECT FROM parent p WHERE p.id = "
      "c.parent)) + (SELECT count(*) FROM grandchild g WHERE NOT EXISTS (SELECT FROM child c WHERE c.id = g.child)) + "
      "(SELECT count(*) FROM parent c WHERE up IS NOT NULL AND NOT EXISTS (SELECT FROM parent p WHERE p.id = c.up))");
}

void check_equal(PgNode& a, PgNode& b) {
  for (const char* table : {"parent", "child", "grandchild"}) {
    CHECK(Pair::rows(a, table) == Pair::rows(b, table));
  }
  for (auto* node : {&a, &b}) {
    CHECK(dangling(*node) == "0");
    CHECK(node->scalar("SELECT count(*) FROM mbsync.parked") == "0");
  }
  const char* const record =
      "SELECT string_agg(id::text || versions || outcome, ' ' ORDER BY id) FROM mbsync.conflict WHERE kind = "
      "'reference'";
  CHECK(a.scalar(record) == b.scalar(record));
}

// Which of the two hears of the other first.
void meet(Pair& pair, bool a_first) {
  if (a_first) {
    pair.a.pull(pair.b);
  } else {
    pair.b.pull(pair.a);
  }
  CHECK(dangling(pair.a) == "0");
  CHECK(dangling(pair.b) == "0");
  pair.exchange();
  pair.exchange();
}

}  // namespace

TEST_CASE("repair: a parent that is referred to elsewhere comes back, as it was (C20)") {
  const bool a_first = GENERATE(true, false);
  const std::string action = GENERATE("RESTRICT", "NO ACTION");
  Pair pair(schema(action));
  pair.a.execute("INSERT INTO parent VALUES (1, 'one')");
  pair.exchange();
  pair.a.execute("DELETE FROM parent");
  pair.b.execute("INSERT INTO child VALUES (1, 1, 'of b')");
  meet(pair, a_first);
  check_equal(pair.a, pair.b);
  CHECK(pair.a.scalar("SELECT name FROM parent") == "one");
  CHECK(pair.a.scalar("SELECT note FROM child") == "of b");
  CHECK(pair.a.scalar("SELECT outcome ->> 'rule' FROM mbsync.conflict WHERE kind = 'reference'") == "restrict");
  pair.check_forgotten();
}

TEST_CASE("repair: a cascade takes along what it did not know (C20)") {
  const bool a_first = GENERATE(true, false);
  Pair pair(schema("CASCADE"));
  pair.a.execute("INSERT INTO parent VALUES (1, 'one'); INSERT INTO child VALUES (1, 1)");
  pair.exchange();
  pair.a.execute("DELETE FROM parent");
  pair.b.execute(
      "INSERT INTO child VALUES (2, 1, 'of b'); INSERT INTO grandchild VALUES (1, 2), (2, 1); INSERT INTO parent "
      "VALUES "
      "(2, 'two', 1)");
  meet(pair, a_first);
  check_equal(pair.a, pair.b);
  CHECK(pair.a.scalar("SELECT (SELECT count(*) FROM parent) + (SELECT count(*) FROM child) + (SELECT count(*) FROM "
                      "grandchild)") == "0");
  CHECK(pair.b.scalar("SELECT versions -> 0 -> 'values' ->> 'note' FROM mbsync.conflict WHERE table_name = 'child' AND "
                      "kind = 'reference' AND key = '2'") == "of b");
  pair.check_forgotten();
}

TEST_CASE("repair: SET NULL and SET DEFAULT (C20)") {
  const bool a_first = GENERATE(true, false);
  const bool to_default = GENERATE(true, false);
  INFO("a first: " << a_first << ", default: " << to_default);
  Pair pair(schema(to_default ? "SET DEFAULT" : "SET NULL", to_default ? "parent int DEFAULT 7" : "parent int"));
  pair.a.execute("INSERT INTO parent VALUES (1, 'one'), (7, 'the default')");
  pair.exchange();
  pair.a.execute("DELETE FROM parent WHERE id = 1");
  pair.b.execute("INSERT INTO child VALUES (1, 1, 'of b')");
  meet(pair, a_first);
  check_equal(pair.a, pair.b);
  CHECK(pair.a.scalar("SELECT coalesce(parent::text, 'NULL') || note FROM child") ==
        (to_default ? "7of b" : "NULLof b"));
  CHECK(pair.a.scalar("SELECT count(*) FROM parent") == "1");
  CHECK(pair.b.scalar(
            "SELECT outcome -> 'columns' -> 'parent' ->> 'rule' FROM mbsync.conflict WHERE kind = 'reference'") ==
        (to_default ? "set-default" : "set-null"));
  pair.check_forgotten();
}

TEST_CASE("repair: SET DEFAULT brings the parent back where the default leads to no row (C20)") {
  const bool a_first = GENERATE(true, false);
  // The row of the default was never there, or is deleted together with the other.
  const bool was_there = GENERATE(true, false);
  INFO("a first: " << a_first << ", was there: " << was_there);
  Pair pair(schema("SET DEFAULT", "parent int DEFAULT 7"));
  pair.a.execute("INSERT INTO parent VALUES (1, 'one')");
  if (was_there) {
    pair.a.execute("INSERT INTO parent VALUES (7, 'the default')");
  }
  pair.exchange();
  pair.a.execute("DELETE FROM parent");
  pair.b.execute("INSERT INTO child VALUES (1, 1, 'of b')");
  meet(pair, a_first);
  check_equal(pair.a, pair.b);
  CHECK(pair.a.scalar("SELECT parent || note FROM child") == "1of b");
  CHECK(pair.a.scalar("SELECT id || name FROM parent") == "1one");
  pair.check_forgotten();
}

TEST_CASE("repair: two references to one row that is gone are both on record (C18, C20)") {
  const bool a_first = GENERATE(true, false);
  Pair pair(schema("SET NULL") + "; ALTER TABLE child ADD COLUMN seller int REFERENCES parent ON DELETE SET NULL");
  pair.a.execute("INSERT INTO parent VALUES (1, 'one')");
  pair.exchange();
  pair.a.execute("DELETE FROM parent WHERE id = 1");
  pair.b.execute("INSERT INTO child VALUES (1, 1, 'of b', 1)");
  meet(pair, a_first);
  check_equal(pair.a, pair.b);
  CHECK(pair.a.scalar("SELECT note || num_nulls(parent, seller) FROM child") == "of b2");
  CHECK(pair.a.scalar("SELECT string_agg(column_name || ' ' || rule || ' ' || (losers -> 0 ->> 'value'), ', ' ORDER BY "
                      "column_name) FROM mbsync.conflict_value WHERE kind = 'reference'") ==
        "parent set-null 1, seller set-null 1");
}

TEST_CASE("repair: two unique values of one other row are both on record (C18, C19)") {
  Pair pair("CREATE TABLE product (id int PRIMARY KEY, sku text UNIQUE, name text UNIQUE)");
  pair.a.execute("INSERT INTO product VALUES (1, 'X', 'chair')");
  pair.b.execute("INSERT INTO product VALUES (2, 'X', 'chair')");
  pair.exchange();
  pair.exchange();
  CHECK(pair.a.rows("product") == pair.b.rows("product"));
  CHECK(pair.a.scalar("SELECT string_agg(column_name || ' ' || value, ', ' ORDER BY column_name) FROM "
                      "mbsync.conflict_value WHERE kind = 'unique'") == "name chair~c81e, sku X~c81e");
}

TEST_CASE("repair: SET NULL on a column that cannot be NULL brings the parent back (C20)") {
  const bool a_first = GENERATE(true, false);
  Pair pair(schema("SET NULL", "parent int NOT NULL"));
  pair.a.execute("INSERT INTO parent VALUES (1, 'one')");
  pair.exchange();
  pair.a.execute("DELETE FROM parent WHERE id = 1");
  pair.b.execute("INSERT INTO child VALUES (1, 1, 'of b')");
  meet(pair, a_first);
  check_equal(pair.a, pair.b);
  CHECK(pair.a.scalar("SELECT name FROM parent") == "one");
  pair.check_forgotten();
}

TEST_CASE("repair: a chain comes back whole, through a self reference (C20)") {
  const bool a_first = GENERATE(true, false);
  Pair pair(schema("RESTRICT"));
  pair.a.execute("INSERT INTO parent VALUES (1, 'one', NULL), (2, 'two', 1), (3, 'three', 2)");
  pair.exchange();
  pair.a.execute("DELETE FROM parent WHERE id = 3; DELETE FROM parent WHERE id = 2; DELETE FROM parent WHERE id = 1");
  pair.b.execute("INSERT INTO child VALUES (1, 3)");
  meet(pair, a_first);
  check_equal(pair.a, pair.b);
  CHECK(pair.a.scalar("SELECT string_agg(name, ' ' ORDER BY id) FROM parent") == "one two three");
  pair.check_forgotten();
}

TEST_CASE("repair: a cascade that would take away what must stay does not happen at all (C20)") {
  const bool a_first = GENERATE(true, false);
  Pair pair(
      "CREATE TABLE parent (id int PRIMARY KEY, name text, up int); CREATE TABLE child (id int PRIMARY KEY, parent int "
      "REFERENCES parent ON DELETE CASCADE); CREATE TABLE grandchild (id int PRIMARY KEY, child int NOT NULL "
      "REFERENCES "
      "child ON DELETE RESTRICT)");
  pair.a.execute("INSERT INTO parent VALUES (1, 'one'), (2, 'two'); INSERT INTO child VALUES (1, 1), (2, 1), (3, 2)");
  pair.exchange();
  pair.a.execute("DELETE FROM parent");
  pair.b.execute("INSERT INTO grandchild VALUES (1, 1)");
  meet(pair, a_first);
  check_equal(pair.a, pair.b);
  CHECK(pair.a.scalar("SELECT string_agg(name, ' ') FROM parent") == "one");
  CHECK(pair.a.scalar("SELECT string_agg(id::text, ' ' ORDER BY id) FROM child") == "1");
  pair.check_forgotten();
}

TEST_CASE("repair: a reference by something else than the key, whose value has changed, follows it (C20)") {
  const bool a_first = GENERATE(true, false);
  Pair pair(
      "CREATE TABLE place (id int PRIMARY KEY, code text UNIQUE); CREATE TABLE visit (id int PRIMARY KEY, code text "
      "NOT "
      "NULL REFERENCES place (code) ON UPDATE CASCADE)");
  pair.a.execute("INSERT INTO place VALUES (1, 'x'), (2, 'gone')");
  pair.exchange();
  pair.a.execute("UPDATE place SET code = 'y' WHERE id = 1; DELETE FROM place WHERE id = 2");
  pair.b.execute("INSERT INTO visit VALUES (1, 'x'), (2, 'gone')");
  if (a_first) {
    pair.a.pull(pair.b);
    // Only who has the row under its old value can tell what it is called now.
    CHECK(pair.a.scalar("SELECT count(*) FROM mbsync.parked") == "1");
  } else {
    pair.b.pull(pair.a);
  }
  pair.exchange();
  pair.exchange();
  pair.a.execute("UPDATE mbsync.parked SET next_try = now()");
  REQUIRE(pair.a.store().settle_unseen());
  for (const char* table : {"place", "visit"}) {
    CHECK(Pair::rows(pair.a, table) == Pair::rows(pair.b, table));
  }
  CHECK(pair.a.scalar("SELECT string_agg(code, ' ' ORDER BY id) FROM visit") == "y gone");
  CHECK(pair.a.scalar("SELECT count(*) FROM mbsync.parked") == "0");
  pair.check_forgotten();
}

TEST_CASE("repair: three nodes in a line, and the two that contradict each other never meet (C20)") {
  const std::string action = GENERATE("RESTRICT", "CASCADE", "SET NULL");
  const int first = GENERATE(0, 1);
  const std::string tables = schema(action);
  PgNode a(shared_cluster(), fresh_database_name(), tables);
  PgNode b(shared_cluster(), fresh_database_name(), tables);
  PgNode c(shared_cluster(), fresh_database_name(), tables);
  for (auto* node : {&a, &b, &c}) {
    node->prepare();
  }
  a.execute("INSERT INTO parent VALUES (1, 'one')");
  exchange({&a, &b});
  exchange({&b, &c});
  exchange({&a, &b});
  a.execute("DELETE FROM parent");
  c.execute("INSERT INTO child VALUES (1, 1, 'of c')");
  if (first == 0) {
    b.pull(a);
  }
  for (int round = 0; round < 4; ++round) {
    for (auto* node : {&c, &a}) {
      b.pull(*node);
      node->pull(b);
      CHECK(dangling(b) == "0");
      CHECK(dangling(*node) == "0");
    }
  }
  check_equal(a, b);
  check_equal(b, c);
  CHECK(a.scalar("SELECT count(*) FROM child") == (action == "CASCADE" ? "0" : "1"));
}

TEST_CASE("repair: a row that the database refuses is parked, the others go on, and it comes when there is room") {
  Pair pair("CREATE TABLE t (id int PRIMARY KEY, n int)");
  pair.b.execute("ALTER TABLE t ADD CHECK (n < 100)");
  pair.a.execute("INSERT INTO t SELECT i, i FROM generate_series(1, 150) i; UPDATE t SET n = 1 WHERE id > 101");
  const auto pulled = pair.b.pull(pair.a);
  CHECK(pulled.set_aside == 2);
  REQUIRE(pulled.parked.size() == 2);
  CHECK_THAT(pulled.parked[0].text(), Catch::Contains("row 100 of table public.t") && Catch::Contains("t_n_check"));
  CHECK(pair.b.scalar("SELECT count(*) FROM t") == "148");
  // A later version takes its place.
  pair.a.execute("UPDATE t SET n = 5 WHERE id = 100");
  pair.b.pull(pair.a);
  CHECK(pair.b.scalar("SELECT n FROM t WHERE id = 100") == "5");
  CHECK(pair.b.scalar("SELECT string_agg(key, ' ') FROM mbsync.parked") == "101");
  pair.b.execute("ALTER TABLE t DROP CONSTRAINT t_n_check; UPDATE mbsync.parked SET next_try = now()");
  REQUIRE(pair.b.store().settle_unseen());
  CHECK(pair.b.scalar("SELECT count(*) FROM mbsync.parked") == "0");
  CHECK(Pair::rows(pair.a, "t") == Pair::rows(pair.b, "t"));
  pair.check_forgotten();
}

TEST_CASE("repair: whatever a trigger of the application's raises, it is about one row (C21)") {
  const auto* const code = GENERATE("P0001", "45000", "UE001", "22012", "23514", "42883", "42P01", "42501", "55000",
                                    "21000", "0A000", "2F004", "38000", "XX000");
  CAPTURE(code);
  Pair pair("CREATE TABLE t (id int PRIMARY KEY, n int); CREATE TABLE u (id int PRIMARY KEY)");
  pair.exchange();
  pair.b.execute(fmt::format(
      "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN IF NEW.id = 2 THEN RAISE EXCEPTION 'not "
      "this one' USING ERRCODE = '{}'; END IF; RETURN NEW; END $$; CREATE TRIGGER refuse BEFORE INSERT ON t FOR EACH "
      "ROW "
      "EXECUTE FUNCTION refuse(); ALTER TABLE t ENABLE ALWAYS TRIGGER refuse",
      code));
  pair.a.execute("INSERT INTO t VALUES (1, 1), (2, 2), (3, 3); INSERT INTO u VALUES (1)");
  const auto pulled = pair.b.pull(pair.a);
  REQUIRE(pulled.parked.size() == 1);
  CHECK_THAT(pulled.parked[0].text(), Catch::StartsWith("row 2 of table public.t: not this one"));
  CHECK(pair.b.scalar("SELECT string_agg(id::text, ' ' ORDER BY id) FROM t") == "1 3");
  CHECK(pair.b.scalar("SELECT count(*) FROM u") == "1");
  const auto status = PgStore::read_status(*parse_database_url(pair.b.url()));
  REQUIRE(status);
  CHECK(status->parked_rows == 1);
  pair.b.execute("DROP TRIGGER refuse ON t");
  try_parked_again(pair.b);
  CHECK(Pair::rows(pair.a, "t") == Pair::rows(pair.b, "t"));
}

TEST_CASE("repair: a value that does not fit here yet") {
  Pair pair("CREATE TYPE mood AS ENUM ('good', 'bad'); CREATE TABLE t (id int PRIMARY KEY, m mood)");
  pair.a.execute("ALTER TYPE mood ADD VALUE 'odd'");
  pair.a.execute("INSERT INTO t VALUES (1, 'good'), (2, 'odd'), (3, 'bad')");
  const auto pulled = pair.b.pull(pair.a);
  REQUIRE(pulled.parked.size() == 1);
  CHECK_THAT(pulled.parked[0].text(), Catch::Contains("odd"));
  CHECK(pair.b.scalar("SELECT string_agg(id::text, ' ' ORDER BY id) FROM t") == "1 3");
  pair.b.execute("ALTER TYPE mood ADD VALUE 'odd'");
  pair.b.execute("UPDATE mbsync.parked SET next_try = now()");
  REQUIRE(pair.b.store().settle_unseen());
  CHECK(Pair::rows(pair.a, "t") == Pair::rows(pair.b, "t"));
}

namespace {

// The values of the unique column, which must be the same on all nodes.
std::string skus(PgNode& node) {
  return node.scalar("SELECT string_agg(id || '=' || coalesce(sku::text, 'NULL'), ' ' ORDER BY id) FROM product");
}

constexpr const char* kProduct = "CREATE TABLE product (id int PRIMARY KEY, sku varchar(8) UNIQUE, name text)";

void meet_products(Pair& pair, bool a_first) {
  if (a_first) {
    pair.a.pull(pair.b);
  } else {
    pair.b.pull(pair.a);
  }
  pair.exchange();
  pair.exchange();
  CHECK(Pair::rows(pair.a, "product") == Pair::rows(pair.b, "product"));
  CHECK(pair.a.scalar("SELECT count(*) FROM mbsync.parked") == "0");
  CHECK(pair.b.scalar("SELECT count(*) FROM mbsync.parked") == "0");
}

}  // namespace

TEST_CASE("repair: of two rows with one unique text the first keeps it, the other gets a suffix (C19)") {
  const bool a_first = GENERATE(true, false);
  Pair pair(kProduct);
  pair.a.execute("INSERT INTO product VALUES (1, 'X', 'of a')");
  pair.b.execute("INSERT INTO product VALUES (2, 'X', 'of b'), (3, 'Y', 'of b')");
  meet_products(pair, a_first);
  CHECK(skus(pair.a) == "1=X 2=X~c81e 3=Y");
  const char* const record =
      "SELECT string_agg(id::text || key || versions || outcome, ' ') FROM mbsync.conflict WHERE kind = 'unique'";
  CHECK(pair.a.scalar("SELECT count(*) FROM mbsync.conflict WHERE kind = 'unique' AND key = '2'") == "1");
  CHECK(pair.a.scalar(record) == pair.b.scalar(record));
  pair.check_forgotten();
}

TEST_CASE("repair: a suffix that does not fit shortens the value, and one that is taken becomes longer (C19)") {
  const bool a_first = GENERATE(true, false);
  Pair pair(kProduct);
  pair.a.execute("INSERT INTO product VALUES (1, 'ABCDEFGH')");
  pair.b.execute("INSERT INTO product VALUES (2, 'ABCDEFGH')");
  meet_products(pair, a_first);
  CHECK(skus(pair.a) == "1=ABCDEFGH 2=ABC~c81e");
  Pair taken("CREATE TABLE product (id int PRIMARY KEY, sku text UNIQUE, name text)");
  taken.a.execute("INSERT INTO product VALUES (1, 'X'), (7, 'X~c81e')");
  taken.b.execute("INSERT INTO product VALUES (2, 'X')");
  meet_products(taken, a_first);
  CHECK(skus(taken.a) == "1=X 2=X~c81e~c81e728d 7=X~c81e");
}

TEST_CASE("repair: an update to a value that is taken elsewhere, swaps, and chains (C19)") {
  const bool a_first = GENERATE(true, false);
  Pair pair(kProduct);
  pair.a.execute("INSERT INTO product VALUES (1, 'A'), (2, 'B'), (3, 'C')");
  pair.exchange();
  pair.a.execute(
      "BEGIN; UPDATE product SET sku = 'tmp' WHERE id = 1; UPDATE product SET sku = 'A' WHERE id = 2; UPDATE product "
      "SET "
      "sku = 'B' WHERE id = 1; COMMIT");
  pair.b.execute("UPDATE product SET sku = 'D' WHERE id = 3");
  meet_products(pair, a_first);
  CHECK(skus(pair.a) == "1=B 2=A 3=D");
  CHECK(pair.a.scalar("SELECT count(*) FROM mbsync.conflict") == "0");
  // One side frees a value and takes another's; the other side gives the freed one away.
  pair.a.execute("UPDATE product SET sku = 'E' WHERE id = 3");
  pair.b.execute("INSERT INTO product VALUES (4, 'E')");
  meet_products(pair, a_first);
  CHECK(skus(pair.a) == "1=B 2=A 3=E 4=E~a87f");
}

TEST_CASE("repair: partial, expression, NULLS NOT DISTINCT and deferred unique keys (C19)") {
  const bool a_first = GENERATE(true, false);
  const std::string key = GENERATE("CREATE UNIQUE INDEX k ON product (lower(sku)) WHERE name <> 'old'",
                                   "ALTER TABLE product ADD UNIQUE NULLS NOT DISTINCT (sku, name)",
                                   "ALTER TABLE product ADD UNIQUE (sku) DEFERRABLE INITIALLY DEFERRED");
  INFO(key << ", a first: " << a_first);
  Pair pair("CREATE TABLE product (id int PRIMARY KEY, sku text, name text); " + key);
  pair.a.execute("INSERT INTO product VALUES (1, 'X', 'n')");
  pair.b.execute("INSERT INTO product VALUES (2, 'X', 'n')");
  meet_products(pair, a_first);
  CHECK(pair.a.scalar("SELECT sku || name FROM product WHERE id = 1") == "Xn");
  CHECK(pair.a.scalar("SELECT count(DISTINCT sku || name) FROM product") == "2");
  pair.check_forgotten();
}

TEST_CASE("repair: a unique number gives way to NULL and stays open; one that must not be NULL is parked (C19)") {
  const bool a_first = GENERATE(true, false);
  Pair pair("CREATE TABLE product (id int PRIMARY KEY, sku int UNIQUE, name text)");
  pair.a.execute("INSERT INTO product VALUES (1, 5)");
  pair.b.execute("INSERT INTO product VALUES (2, 5)");
  meet_products(pair, a_first);
  CHECK(skus(pair.a) == "1=5 2=NULL");
  CHECK(pair.b.scalar("SELECT count(*) FROM mbsync.conflict WHERE is_open") == "1");
}

TEST_CASE("repair: of two rows with one number that must not be NULL, the one that comes waits, and both know (C19)") {
  Pair strict("CREATE TABLE product (id int PRIMARY KEY, sku int NOT NULL UNIQUE, name text)");
  strict.a.execute("INSERT INTO product VALUES (1, 5), (3, 6)");
  strict.b.execute("INSERT INTO product VALUES (2, 5)");
  const auto pulled = strict.b.pull(strict.a);
  CHECK(pulled.set_aside == 1);
  CHECK(strict.b.scalar("SELECT string_agg(id::text, ' ' ORDER BY id) FROM product") == "2 3");
  CHECK_THAT(strict.b.scalar("SELECT reason FROM mbsync.parked"), Catch::Contains("product_sku_key"));
  // One conflict, whoever finds it: the one that came to it later is the loser.
  strict.a.pull(strict.b);
  strict.exchange();
  for (auto* node : {&strict.a, &strict.b}) {
    CHECK(node->scalar(
              "SELECT string_agg(concat_ws(' ', kind, key, outcome -> 'columns' -> 'sku' ->> 'rule', outcome -> "
              "'columns' -> 'sku' ->> 'version', versions -> 0 ->> 'key', is_open), ', ') FROM mbsync.conflict") ==
          "unique 2 unique-park 2 1 t");
    CHECK(node->scalar("SELECT count(*) FROM mbsync.parked") == "1");
  }
  const auto id = strict.a.scalar("SELECT id FROM mbsync.conflict");
  CHECK(strict.b.scalar("SELECT id FROM mbsync.conflict") == id);
  // What a person has to decide once stays one conflict while the rows are written further.
  strict.a.execute(
      "UPDATE product SET sku = 9 WHERE id = 1; UPDATE product SET sku = 5, name = 'still 5' WHERE id = 1");
  strict.exchange();
  for (auto* node : {&strict.a, &strict.b}) {
    CHECK(node->scalar("SELECT string_agg(id::text, ' ') FROM mbsync.conflict") == id);
  }
  strict.b.execute("UPDATE product SET sku = 7 WHERE id = 2; UPDATE mbsync.parked SET next_try = now()");
  REQUIRE(strict.b.store().settle_unseen());
  strict.exchange();
  CHECK(Pair::rows(strict.a, "product") == Pair::rows(strict.b, "product"));
}

TEST_CASE("repair: three nodes clash over one value (C19)") {
  const int order = GENERATE(0, 1, 2);
  PgNode a(shared_cluster(), fresh_database_name(), kProduct);
  PgNode b(shared_cluster(), fresh_database_name(), kProduct);
  PgNode c(shared_cluster(), fresh_database_name(), kProduct);
  PgNode* const nodes[] = {&a, &b, &c};
  for (auto* node : nodes) {
    node->prepare();
  }
  exchange({&a, &b, &c}, 3);
  for (int i = 0; i < 3; ++i) {
    nodes[i]->execute("INSERT INTO product VALUES (" + std::to_string(i + 1) + ", 'X')");
  }
  nodes[order]->pull(*nodes[(order + 1) % 3]);
  exchange({nodes[order], nodes[(order + 2) % 3], nodes[(order + 1) % 3]}, 5);
  CHECK(skus(a) == "1=X 2=X~c81e 3=X~eccb");
  CHECK(skus(b) == skus(a));
  CHECK(skus(c) == skus(a));
}

TEST_CASE("repair: without the right to bypass constraints (C19, C20)") {
  const bool a_first = GENERATE(true, false);
  static const bool made = [] {
    shared_cluster().execute("postgres", "CREATE ROLE plain LOGIN");
    return true;
  }();
  REQUIRE(made);
  const std::string tables = schema("RESTRICT") + "; " + kProduct;
  PgNode a(shared_cluster(), fresh_database_name(), tables, "plain");
  PgNode b(shared_cluster(), fresh_database_name(), tables, "plain");
  a.prepare();
  b.prepare();
  a.execute("INSERT INTO parent VALUES (1, 'one')");
  exchange({&a, &b});
  a.execute("DELETE FROM parent; INSERT INTO product VALUES (1, 'X')");
  b.execute("INSERT INTO child VALUES (1, 1, 'of b'); INSERT INTO product VALUES (2, 'X')");
  if (a_first) {
    a.pull(b);
  } else {
    b.pull(a);
  }
  exchange({&a, &b}, 4);
  check_equal(a, b);
  CHECK(a.scalar("SELECT name FROM parent") == "one");
  CHECK(skus(a) == "1=X 2=X~c81e");
  CHECK(skus(b) == skus(a));
}

TEST_CASE("repair: what has to change but is held by the application holds up nothing else") {
  Pair pair(schema("CASCADE") + "; " + kProduct);
  pair.a.execute("INSERT INTO parent VALUES (1, 'one')");
  pair.exchange();
  pair.a.execute("DELETE FROM parent; INSERT INTO product VALUES (1, 'X'), (3, 'other')");
  pair.b.execute("INSERT INTO child VALUES (1, 1, 'of b'); INSERT INTO product VALUES (2, 'X')");
  SqlSession holder{pair.b.url()};
  holder.execute("BEGIN; UPDATE child SET note = 'being edited'; UPDATE product SET name = 'being edited'");
  const auto pulled = pair.b.pull(pair.a);
  CHECK(pulled.parked.empty());
  CHECK(skus(pair.b) == "2=X 3=other");
  CHECK(pair.b.scalar("SELECT count(*) FROM parent") == "1");
  CHECK(dangling(pair.b) == "0");
  holder.execute("COMMIT");
  const auto settled = pair.b.store().settle_unseen();
  REQUIRE(settled);
  CHECK(settled->waiting == 0);
  pair.exchange();
  pair.exchange();
  check_equal(pair.a, pair.b);
  CHECK(skus(pair.a) == "1=X 2=X~c81e 3=other");
  CHECK(skus(pair.b) == skus(pair.a));
  CHECK(pair.a.scalar("SELECT name FROM product WHERE id = 2") == "being edited");
  pair.check_forgotten();
}

TEST_CASE("repair: a parked row travels on to others, and what is parked is not reported (C21)") {
  const std::string table = "CREATE TABLE t (id int PRIMARY KEY, n int)";
  PgNode a(shared_cluster(), fresh_database_name(), table);
  PgNode b(shared_cluster(), fresh_database_name(), table + "; ALTER TABLE t ADD CHECK (n < 100)");
  PgNode c(shared_cluster(), fresh_database_name(), table);
  for (auto* node : {&a, &b, &c}) {
    node->prepare();
  }
  exchange({&a, &b, &c}, 3);
  a.execute("INSERT INTO t VALUES (1, 1), (2, 200)");
  for (int round = 0; round < 3; ++round) {  // a line: a and c never meet
    b.pull(a);
    c.pull(b);
    b.pull(c);
    a.pull(b);
  }
  CHECK(b.scalar("SELECT string_agg(id::text, ' ') FROM t") == "1");
  CHECK(Pair::rows(c, "t") == Pair::rows(a, "t"));
  for (auto* node : {&a, &b, &c}) {
    REQUIRE(node->store().forget_stable());
    CHECK(node->scalar("SELECT count(*) FROM mbsync.change WHERE key = '2'") == "1");
  }
}

TEST_CASE("repair: an exclusion constraint parks the row that comes, also one that is checked late (C21)") {
  const std::string late = GENERATE("", " DEFERRABLE", " DEFERRABLE INITIALLY DEFERRED");
  Pair pair(
      "CREATE TABLE booking (id int PRIMARY KEY, during int4range, note text, CONSTRAINT one_at_a_time EXCLUDE USING "
      "gist "
      "(during WITH &&)" +
      late + ")");
  pair.exchange();
  pair.a.execute("INSERT INTO booking VALUES (1, '[1,5)', 'of a'), (3, '[20,22)', 'of a')");
  pair.b.execute("INSERT INTO booking VALUES (2, '[4,9)', 'of b'), (4, '[30,31)', 'of b')");
  pair.exchange();
  CHECK(pair.a.scalar("SELECT string_agg(id::text, ' ' ORDER BY id) FROM booking") == "1 3 4");
  CHECK(pair.b.scalar("SELECT string_agg(id::text, ' ' ORDER BY id) FROM booking") == "2 3 4");
  CHECK_THAT(pair.a.scalar("SELECT reason FROM mbsync.parked"), Catch::Contains("one_at_a_time"));
  pair.exchange();
  for (auto* node : {&pair.a, &pair.b}) {
    CHECK(node->scalar(
              "SELECT string_agg(concat_ws(' ', key, outcome -> 'columns' -> 'during' ->> 'rule', is_open), ', ') "
              "FROM mbsync.conflict") == "2 unique-park t");
  }
  pair.a.execute("UPDATE booking SET during = '[1,4)' WHERE id = 1");
  pair.b.pull(pair.a);
  pair.a.pull(pair.b);
  CHECK(wait_until(std::chrono::seconds(10), [&] {
    pair.exchange();
    return pair.a.store().settle_unseen() && pair.b.store().settle_unseen() &&
           pair.a.scalar("SELECT count(*) FROM mbsync.parked") == "0" &&
           pair.b.scalar("SELECT count(*) FROM mbsync.parked") == "0";
  }));
  CHECK(pair.a.scalar("SELECT string_agg(id::text, ' ' ORDER BY id) FROM booking") == "1 2 3 4");
  CHECK(Pair::rows(pair.a, "booking") == Pair::rows(pair.b, "booking"));
}

TEST_CASE("repair: a reference that was never checked, of a row that comes back (C6, C20)") {
  const bool a_first = GENERATE(true, false);
  const bool nullable = GENERATE(true, false);
  Pair pair("CREATE TABLE parent (id int PRIMARY KEY); CREATE TABLE child (id int PRIMARY KEY, parent int " +
            std::string(nullable ? "" : "NOT NULL") + " REFERENCES parent DEFERRABLE INITIALLY DEFERRED, note text)");
  pair.a.execute("INSERT INTO parent VALUES (1); INSERT INTO child VALUES (1, 1, 'first')");
  pair.exchange();
  pair.a.execute("BEGIN; UPDATE child SET parent = 99; DELETE FROM child; COMMIT");
  pair.b.execute("UPDATE child SET note = 'of b'");
  if (a_first) {
    pair.a.pull(pair.b);
  }
  pair.exchange();
  pair.exchange();
  for (auto* node : {&pair.a, &pair.b}) {
    CHECK(node->scalar("SELECT string_agg(ROW(c.*)::text, ' ') FROM child c") == (nullable ? "(1,,\"of b\")" : ""));
    CHECK(node->scalar("SELECT count(*) FROM mbsync.parked") == "0");
  }
  pair.check_forgotten();
}

TEST_CASE("repair: the same, of a row that comes back for another one under delete-wins (C14, C20)") {
  Pair pair(
      "CREATE TABLE parent (id int PRIMARY KEY); CREATE TABLE child (id int PRIMARY KEY, parent int REFERENCES parent "
      "DEFERRABLE INITIALLY DEFERRED, note text); CREATE TABLE grandchild (id int PRIMARY KEY, child int NOT NULL "
      "REFERENCES child)");
  pair.a.execute("INSERT INTO parent VALUES (1); INSERT INTO child VALUES (1, 1, 'first')");
  pair.exchange();
  publish_to({&pair.a, &pair.b}, "[[table]]\nname = '*'\ndelete = 'delete-wins'\n");
  pair.a.execute("BEGIN; UPDATE child SET parent = 99; DELETE FROM child; COMMIT");
  pair.b.execute("UPDATE child SET parent = NULL, note = 'of b'; INSERT INTO grandchild VALUES (1, 1)");
  pair.exchange();
  pair.exchange();
  for (auto* node : {&pair.a, &pair.b}) {
    CHECK(node->scalar("SELECT string_agg(ROW(c.*)::text, ' ') FROM child c") == "(1,,first)");
    CHECK(node->scalar("SELECT count(*) FROM grandchild") == "1");
    CHECK(node->scalar("SELECT count(*) FROM mbsync.parked") == "0");
  }
  pair.check_forgotten();
}

TEST_CASE("repair: a row that is refused in the moment in which the connection is lost is no error in the data (C21)") {
  const std::string schema = "CREATE TABLE item (id int PRIMARY KEY, note text)";
  Pair pair(schema, schema +
                        "; ALTER TABLE item ADD CHECK (CASE WHEN note = 'cut' AND "
                        "pg_terminate_backend(pg_backend_pid()) THEN 1 / (length(note) * 0) = 1 ELSE true END)");
  pair.a.execute("INSERT INTO item VALUES (1, 'cut')");
  const auto cut = pair.b.try_pull(pair.a);
  REQUIRE_FALSE(cut);
  INFO(cut.error().text());
  CHECK(cut.error().kind == ErrorKind::kTransient);
  CHECK(pair.b.scalar("SELECT count(*) FROM mbsync.parked") == "0");
  pair.b.execute("ALTER TABLE item DROP CONSTRAINT item_note_check");
  REQUIRE(pair.b.store().refresh());
  pair.exchange();
  CHECK(pair.b.rows("item") == "(1,cut)");
}
