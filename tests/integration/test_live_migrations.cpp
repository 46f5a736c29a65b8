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

TEST_CASE("migration: whoever seals first, what went into a column that it does not know yet is told", "[migration]") {
  Pair pair("CREATE TABLE item (id int PRIMARY KEY, x text); CREATE TABLE other (id int PRIMARY KEY)");
  pair.a.execute("INSERT INTO item VALUES (1, 'o'), (2, 'o')");
  pair.exchange();
  pair.b.execute("UPDATE item SET x = 'by b' WHERE id = 2");
  for (auto* node : {&pair.a, &pair.b}) {
    node->execute("ALTER TABLE item ADD note text NOT NULL DEFAULT 'none'");
  }
  pair.a.execute(
      "UPDATE item SET x = 'edited', note = 'by a' WHERE id = 1; UPDATE item SET note = 'of a' WHERE id = 2");
  pair.a.execute("INSERT INTO other VALUES (1)");
  SECTION("the heartbeat") {
    REQUIRE(pair.a.store().seal_pending());
  }
  // Neither comes to anything before both know the column.
  SECTION("an answer") {
    CHECK_FALSE(pair.b.try_pull(pair.a));
  }
  SECTION("an apply") {
    static_cast<void>(pair.a.try_pull(pair.b));
  }
  for (auto* node : {&pair.a, &pair.b}) {
    REQUIRE(node->store().refresh());
  }
  pair.exchange();
  check_both(pair, "(1,edited,\"by a\") (2,\"by b\",\"of a\")");
  CHECK(pair.a.scalar("SELECT count(*) FROM mbsync.conflict_value") == "0");
}

TEST_CASE("migration: rows that are only inserted show what has come in place of another column", "[migration]") {
  const std::string change =
      GENERATE("ALTER TABLE item ALTER g DROP EXPRESSION; INSERT INTO item (id, x, g) VALUES (3, 'x', 'by a')",
               "ALTER TABLE item DROP g, ADD b text; INSERT INTO item (id, x, b) VALUES (3, 'x', 'by a')");
  const auto ddl = change.substr(0, change.find(';'));
  Pair pair("CREATE TABLE item (id int PRIMARY KEY, x text, g text GENERATED ALWAYS AS (x || '!') STORED)");
  pair.a.execute("INSERT INTO item (id, x) VALUES (1, 'o')");
  pair.exchange();
  pair.a.execute(change);
  REQUIRE(pair.a.store().seal_pending());
  pair.b.execute(ddl);
  for (auto* node : {&pair.a, &pair.b}) {
    REQUIRE(node->store().refresh());
  }
  pair.exchange();
  for (auto* node : {&pair.a, &pair.b}) {
    CHECK(node->scalar("SELECT item::text FROM item WHERE id = 3") == "(3,x,\"by a\")");
  }
}

TEST_CASE("migration: a column that came and was renamed before anybody looked", "[migration]") {
  Pair pair("CREATE TABLE item (id int PRIMARY KEY, x text)");
  pair.a.execute("INSERT INTO item VALUES (1, 'o')");
  pair.exchange();
  pair.a.execute(
      "ALTER TABLE item ADD note text; UPDATE item SET note = 'by a'; ALTER TABLE item RENAME note TO remark");
  pair.b.execute("ALTER TABLE item ADD remark text");
  for (auto* node : {&pair.a, &pair.b}) {
    REQUIRE(node->store().refresh());
  }
  pair.exchange();
  check_both(pair, "(1,o,\"by a\")");
}

TEST_CASE("migration: mbsync's own tables are captured like others, although a column of them does not travel") {
  Pair pair("CREATE TABLE item (id int PRIMARY KEY, x text)");
  pair.a.execute("INSERT INTO item VALUES (1, 'o')");
  pair.exchange();
  pair.a.execute("UPDATE item SET x = 'by a'");
  pair.b.execute("UPDATE item SET x = 'by b'");
  pair.exchange();
  REQUIRE(pair.a.scalar("SELECT count(*) FROM mbsync.conflict_record") == "1");
  pair.a.execute("UPDATE mbsync.conflict_record SET is_open = NOT is_open");
  CHECK(pair.a.scalar("SELECT string_agg(op::text, '') FROM mbsync.capture") == "U");
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

TEST_CASE("migration: rows that nothing has captured, since their table was not known, or a part of it",
          "[migration]") {
  SECTION("a partition that is written by itself, and one that brings its rows along") {
    const std::string part = "CREATE TABLE item{0} PARTITION OF item FOR VALUES FROM ({0}0) TO ({0}9)";
    Pair pair(
        "CREATE TABLE item (id int, r int, x text, PRIMARY KEY (id, r)) PARTITION BY RANGE (r); CREATE TABLE item0 "
        "PARTITION OF item FOR VALUES FROM (0) TO (9)");
    pair.a.execute("INSERT INTO item VALUES (1, 1, 'x')");
    pair.exchange();
    pair.b.execute(fmt::format(fmt::runtime(part), 1) + ";" + fmt::format(fmt::runtime(part), 2));
    pair.a.execute(fmt::format(fmt::runtime(part), 1) + "; INSERT INTO item1 VALUES (2, 12, 'direct')");
    pair.a.execute(
        "CREATE TABLE item2 (id int NOT NULL, r int NOT NULL, x text, PRIMARY KEY (id, r)); INSERT INTO item2 VALUES "
        "(3, 22, 'attached'); ALTER TABLE item ATTACH PARTITION item2 FOR VALUES FROM (20) TO (29)");
    for (auto* node : {&pair.a, &pair.b}) {
      REQUIRE(node->store().refresh());
    }
    pair.exchange();
    check_both(pair, "(1,1,x) (2,12,direct) (3,22,attached)");
    CHECK(pair.b.scalar("SELECT count(*) FROM mbsync.conflict_record") == "0");
    pair.check_forgotten();
  }
  SECTION("a table that is built anew under its name") {
    Pair pair("CREATE TABLE item (id int PRIMARY KEY, x text)");
    pair.a.execute("INSERT INTO item VALUES (1, 'o'), (2, 'o')");
    pair.exchange();
    pair.check_forgotten();
    const std::string anew =
        "BEGIN; CREATE TABLE fresh (x text, id int PRIMARY KEY); INSERT INTO fresh SELECT x, id FROM item; DROP TABLE "
        "item; ALTER TABLE fresh RENAME TO item; COMMIT";
    pair.a.execute(anew);
    pair.b.execute(anew);
    pair.a.execute("INSERT INTO item (id, x) VALUES (3, 'new'); UPDATE item SET x = 'changed' WHERE id = 1");
    for (auto* node : {&pair.a, &pair.b}) {
      REQUIRE(node->store().refresh());
    }
    pair.b.execute("UPDATE item SET x = 'later' WHERE id = 2");
    pair.exchange();
    for (auto* node : {&pair.a, &pair.b}) {
      CHECK(node->scalar("SELECT string_agg(concat(id, x), ' ' ORDER BY id) FROM item WHERE id > 1") == "2later 3new");
    }
    CHECK(Pair::rows(pair.a, "item") == Pair::rows(pair.b, "item"));
  }
}

TEST_CASE("migration: a generated column that holds values of the application's from now on", "[migration]") {
  const bool replaced = GENERATE(false, true);
  Pair pair("CREATE TABLE item (id int PRIMARY KEY, x int, g int GENERATED ALWAYS AS (x * 2) STORED)");
  pair.a.execute("INSERT INTO item (id, x) VALUES (1, 5)");
  pair.exchange();
  for (auto* node : {&pair.a, &pair.b}) {
    node->execute(replaced ? "ALTER TABLE item DROP COLUMN g, ADD COLUMN g int"
                           : "ALTER TABLE item ALTER COLUMN g DROP EXPRESSION");
  }
  pair.a.execute("UPDATE item SET g = 99");
  for (auto* node : {&pair.a, &pair.b}) {
    REQUIRE(node->store().refresh());
  }
  pair.exchange();
  check_both(pair, "(1,5,99)");
}

TEST_CASE("migration: a foreign key of a part of a table, or to one, is not kept, so the table takes no part",
          "[migration]") {
  PgNode node(
      shared_cluster(), fresh_database_name(),
      "CREATE TABLE parent (id int PRIMARY KEY); CREATE TABLE item (id int, r int, p int, PRIMARY KEY (id, r)) "
      "PARTITION BY RANGE (r); CREATE TABLE item0 PARTITION OF item FOR VALUES FROM (0) TO (9); CREATE TABLE "
      "child (id int PRIMARY KEY, i int, r int, FOREIGN KEY (i, r) REFERENCES item0 (id, r)); CREATE TABLE whole "
      "(id int PRIMARY KEY, i int, r int, FOREIGN KEY (i, r) REFERENCES item (id, r))");
  const auto reason = [&](const std::string& table) {
    for (const auto& [name, why] : node.prepare().refused) {
      if (name == "public." + table) {
        return why;
      }
    }
    return std::string();
  };
  CHECK_THAT(reason("child"), Catch::Contains("refers to the partition \"item0\" alone"));
  CHECK(reason("item").empty());
  CHECK(reason("whole").empty());
  node.execute("ALTER TABLE item0 ADD FOREIGN KEY (p) REFERENCES parent");
  CHECK_THAT(reason("item"), Catch::Contains("has a foreign key of its partition \"item0\" alone"));
}
