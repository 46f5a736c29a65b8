// Migrations of the application while mbsync runs: between the migration and the renewal of the triggers, rows are kept
// whole (op R of mbsync.capture), and columns and types are not what they were when the rows were written.
#include <fmt/format.h>

#include <catch2/catch.hpp>

#include "node_pair.h"

using namespace mbsync;
using namespace mbsync::test;

namespace {

void migrate(Pair& pair, const std::string& sql) {
  for (auto* node : {&pair.a, &pair.b}) {
    node->execute(sql);
    REQUIRE(node->store().refresh());
  }
}

void check_both(Pair& pair, const std::string& text) {
  for (auto* node : {&pair.a, &pair.b}) {
    CHECK(node->scalar("SELECT string_agg(ROW(t.*)::text, ' ' ORDER BY id) FROM item t") == text);
  }
}

}  // namespace

TEST_CASE("migration: a value that its column's new type does not take stops nothing", "[migration]") {
  const std::string backfill = GENERATE(
      "BEGIN; ALTER TABLE item ADD unit text; UPDATE item SET unit = split_part(w, ' ', 2); ALTER TABLE item ALTER w "
      "TYPE int USING split_part(w, ' ', 1)::int; COMMIT",
      "ALTER TABLE item ADD unit text; UPDATE item SET unit = 'kg'; DELETE FROM item WHERE id = 2; ALTER TABLE item "
      "ALTER w TYPE int USING split_part(w, ' ', 1)::int; INSERT INTO item VALUES (2, 7, 'kg')");
  Pair pair("CREATE TABLE item (id int PRIMARY KEY, w text)");
  pair.a.execute("INSERT INTO item VALUES (1, '12 kg'), (2, '7 kg')");
  pair.exchange();
  migrate(pair, backfill);
  pair.exchange();
  check_both(pair, "(1,12,kg) (2,7,kg)");
  pair.check_forgotten();
}

TEST_CASE("migration: what a migration fills in is no write of the other columns", "[migration]") {
  Pair pair("CREATE TABLE item (id int PRIMARY KEY, x text, y text)");
  pair.a.execute("INSERT INTO item VALUES (1, 'o', 'o'), (2, 'o', 'o')");
  pair.exchange();
  pair.a.execute("UPDATE item SET x = 'edited' WHERE id = 1; DELETE FROM item WHERE id = 2");
  migrate(pair, "ALTER TABLE item ADD fresh int; UPDATE item SET fresh = 1");
  pair.exchange();
  for (auto* node : {&pair.a, &pair.b}) {
    CHECK(node->scalar("SELECT item::text FROM item WHERE id = 1") == "(1,edited,o,1)");
    CHECK(node->scalar("SELECT count(*) FROM mbsync.conflict_record WHERE key = '1'") == "0");
  }
  CHECK(pair.a.rows("item") == pair.b.rows("item"));
}

TEST_CASE("migration: a key that is renamed after rows were kept whole", "[migration]") {
  const bool composite = GENERATE(false, true);
  Pair pair(composite ? "CREATE TABLE item (id int, k int DEFAULT 1, gone text, x text, PRIMARY KEY (id, k))"
                      : "CREATE TABLE item (id int PRIMARY KEY, gone text, x text)");
  pair.a.execute("INSERT INTO item (id, x) VALUES (1, 'o')");
  pair.exchange();
  pair.a.execute("ALTER TABLE item DROP COLUMN gone; UPDATE item SET x = 'a'; ALTER TABLE item RENAME id TO number");
  pair.b.execute("ALTER TABLE item DROP COLUMN gone; ALTER TABLE item RENAME id TO number");
  for (auto* node : {&pair.a, &pair.b}) {
    REQUIRE(node->store().refresh());
  }
  pair.exchange();
  for (auto* node : {&pair.a, &pair.b}) {
    CHECK(node->scalar("SELECT x FROM item") == "a");
  }
}

TEST_CASE("migration: a column that takes over the name of another", "[migration]") {
  Pair pair("CREATE TABLE item (id int PRIMARY KEY, x text, y text)");
  pair.a.execute("INSERT INTO item VALUES (1, 'ox', 'oy')");
  pair.exchange();
  SECTION("which is dropped") {
    pair.a.execute("UPDATE item SET y = 'changed'");
    migrate(pair, "ALTER TABLE item DROP COLUMN x; ALTER TABLE item RENAME y TO x");
    pair.exchange();
    check_both(pair, "(1,changed)");
  }
  SECTION("which takes over its own") {
    pair.a.execute("UPDATE item SET y = 'changed'");
    migrate(pair, "ALTER TABLE item RENAME x TO z; ALTER TABLE item RENAME y TO x; ALTER TABLE item RENAME z TO y");
    pair.exchange();
    check_both(pair, "(1,ox,changed)");
  }
  SECTION("which is renamed, while a new one comes under its name") {
    pair.a.execute("UPDATE item SET x = 'changed'");
    migrate(pair, "ALTER TABLE item RENAME x TO x_old; ALTER TABLE item ADD x text");
    pair.exchange();
    check_both(pair, "(1,changed,oy,)");
  }
  SECTION("a row that comes back has the values of its own columns") {
    pair.a.execute("DELETE FROM item");
    REQUIRE(pair.a.store().seal_pending());
    pair.b.execute("ALTER TABLE item ADD n int; UPDATE item SET n = 1");
    pair.a.execute("ALTER TABLE item ADD n int");
    migrate(pair, "ALTER TABLE item DROP COLUMN x; ALTER TABLE item RENAME y TO x");
    pair.exchange();
    CHECK(pair.a.rows("item") == pair.b.rows("item"));
    CHECK(pair.a.scalar("SELECT x FROM item") == "oy");
  }
  SECTION("another key of the same type is another key") {
    migrate(pair, "ALTER TABLE item ADD number int; UPDATE item SET number = id + 1");
    pair.exchange();
    pair.b.execute("UPDATE item SET y = 'changed'");
    migrate(pair,
            "ALTER TABLE item DROP COLUMN id; ALTER TABLE item RENAME number TO id; ALTER TABLE item ADD PRIMARY "
            "KEY (id)");
    pair.exchange();
    for (auto* node : {&pair.a, &pair.b}) {
      CHECK(node->scalar("SELECT string_agg(id::text, ' ') FROM item") == "2");
    }
    CHECK(pair.a.rows("item") == pair.b.rows("item"));
  }
}

TEST_CASE("migration: a column that is called as mbsync's own alias", "[migration]") {
  Pair pair("CREATE TABLE item (id int PRIMARY KEY, r text, o text, n text, c text)");
  pair.a.execute("INSERT INTO item VALUES (1, 'o')");
  pair.exchange();
  for (auto* node : {&pair.a, &pair.b}) {
    node->execute("ALTER TABLE item ADD fresh int");
  }
  pair.a.execute("UPDATE item SET r = 'x', o = 'y'; INSERT INTO item VALUES (2, 'z'); DELETE FROM item WHERE id = 2");
  for (auto* node : {&pair.a, &pair.b}) {
    REQUIRE(node->store().refresh());
  }
  pair.exchange();
  check_both(pair, "(1,x,y,,,)");
}
