// References to rows that somebody deleted without knowing of them, tried from both sides (libsync/core/CONFLICTS.md
// C20).
#include <fmt/format.h>

#include <catch2/catch.hpp>

#include "node_pair.h"

using namespace mbsync;
using namespace mbsync::test;

namespace {

// One of the two hears first; in the end both have everything.
void meet(Pair& pair, bool a_first) {
  auto& first = a_first ? pair.a : pair.b;
  first.pull(a_first ? pair.b : pair.a);
  pair.exchange();
  // What waited for something that has come since is tried again when that comes.
  REQUIRE(pair.a.store().settle_unseen());
  REQUIRE(pair.b.store().settle_unseen());
  pair.exchange();
}

void check_alike(Pair& pair, std::initializer_list<const char*> tables) {
  for (const char* table : tables) {
    CAPTURE(table);
    CHECK(Pair::rows(pair.a, table) == Pair::rows(pair.b, table));
  }
  for (auto* node : {&pair.a, &pair.b}) {
    CHECK(node->scalar("SELECT string_agg(reason, '; ') FROM mbsync.parked").empty());
  }
}

std::string record(PgNode& node) {
  return node.scalar(
      "SELECT string_agg(concat(table_name, ' ', key, ' ', coalesce(outcome ->> 'rule', (SELECT "
      "string_agg(concat(c.key, "
      "' ', c.value ->> 'rule'), ' ') FROM jsonb_each(outcome -> 'columns') c))), ', ' ORDER BY table_name, key, kind) "
      "FROM "
      "mbsync.conflict_record");
}

}  // namespace

TEST_CASE("references: a row is re-pointed to one that is deleted, by two columns (C20)") {
  struct Case {
    const char* action;
    const char* places;
    const char* item;
    const char* on_record;
  };
  const auto one = GENERATE(values<Case>({
      {"CASCADE", "(2,2,y) (9,9,d)", "", "item 1 cascade"},
      {"SET NULL", "(2,2,y) (9,9,d)", "(1,,,n)", "item 1 shop set-null shelf set-null"},
      {"SET DEFAULT", "(2,2,y) (9,9,d)", "(1,9,9,n)", "item 1 shop set-default shelf set-default"},
      {"RESTRICT", "(1,1,x) (2,2,y) (9,9,d)", "(1,1,1,n)", "place (1,1) restrict"},
      {"NO ACTION", "(1,1,x) (2,2,y) (9,9,d)", "(1,1,1,n)", "place (1,1) restrict"},
  }));
  const bool a_first = GENERATE(true, false);
  CAPTURE(one.action, a_first);
  Pair pair(
      fmt::format("CREATE TABLE place (shop int, shelf int, name text, PRIMARY KEY (shop, shelf)); CREATE TABLE item "
                  "(id int PRIMARY "
                  "KEY, shop int DEFAULT 9, shelf int DEFAULT 9, note text, FOREIGN KEY (shop, shelf) REFERENCES place "
                  "ON DELETE {})",
                  one.action));
  pair.a.execute(
      "INSERT INTO place VALUES (1, 1, 'x'), (2, 2, 'y'), (9, 9, 'd'); INSERT INTO item VALUES (1, 2, 2, 'n')");
  pair.exchange();
  pair.a.execute("DELETE FROM place WHERE shop = 1");
  pair.b.execute("UPDATE item SET shop = 1, shelf = 1");
  meet(pair, a_first);
  check_alike(pair, {"place", "item"});
  CHECK(pair.a.scalar("SELECT string_agg(place::text, ' ' ORDER BY shop) FROM place") == one.places);
  CHECK(pair.a.scalar("SELECT string_agg(item::text, ' ') FROM item") == one.item);
  CHECK(record(pair.a) == one.on_record);
  CHECK(record(pair.b) == one.on_record);
}

TEST_CASE("references: rows that refer to each other in a circle (C20)") {
  struct Case {
    const char* action;
    const char* deletion;
    const char* rows;  // hens | eggs | chicks
  };
  const auto one = GENERATE(values<Case>({
      {"CASCADE", "DELETE FROM hen; DELETE FROM egg", " |  | "},
      {"SET NULL", "DELETE FROM hen; DELETE FROM egg", "(2,) |  | (1,)"},
      {"RESTRICT", "UPDATE hen SET egg = NULL; DELETE FROM egg; DELETE FROM hen", "(1,) (2,1) | (1,1) | (1,1)"},
      {"NO ACTION", "DELETE FROM hen; DELETE FROM egg", "(1,1) (2,1) | (1,1) | (1,1)"},
  }));
  const bool a_first = GENERATE(true, false);
  CAPTURE(one.action, a_first);
  Pair pair(fmt::format(
      "CREATE TABLE hen (id int PRIMARY KEY, egg int); CREATE TABLE egg (id int PRIMARY KEY, hen int REFERENCES hen ON "
      "DELETE {0} DEFERRABLE INITIALLY DEFERRED); ALTER TABLE hen ADD FOREIGN KEY (egg) REFERENCES egg ON DELETE {0} "
      "DEFERRABLE INITIALLY DEFERRED; CREATE TABLE chick (id int PRIMARY KEY, hen int REFERENCES hen ON DELETE {0})",
      one.action));
  pair.a.execute("BEGIN; INSERT INTO hen VALUES (1, 1); INSERT INTO egg VALUES (1, 1); COMMIT");
  pair.exchange();
  pair.a.execute(fmt::format("BEGIN; {}; COMMIT", one.deletion));
  pair.b.execute("INSERT INTO hen VALUES (2, 1); INSERT INTO chick VALUES (1, 1)");
  meet(pair, a_first);
  check_alike(pair, {"hen", "egg", "chick"});
  CHECK(pair.a.scalar("SELECT concat_ws(' | ', coalesce((SELECT string_agg(hen::text, ' ' ORDER BY id) FROM hen), ''), "
                      "coalesce((SELECT string_agg(egg::text, ' ') FROM egg), ''), coalesce((SELECT "
                      "string_agg(chick::text, ' ') FROM chick), ''))") == one.rows);
}

TEST_CASE("references: what must stay for one of them stays for all (C20)") {
  const auto* const other = GENERATE("CASCADE", "SET NULL", "SET DEFAULT");
  const bool a_first = GENERATE(true, false);
  CAPTURE(other, a_first);
  Pair pair(
      fmt::format("CREATE TABLE shop (id int PRIMARY KEY); CREATE TABLE badge (id int PRIMARY KEY, shop int REFERENCES "
                  "shop ON DELETE "
                  "{0}); CREATE TABLE item (id int PRIMARY KEY, shop int REFERENCES shop ON DELETE {0}, owner int NOT "
                  "NULL REFERENCES "
                  "shop ON DELETE RESTRICT)",
                  other));
  pair.a.execute("INSERT INTO shop VALUES (1), (2)");
  pair.exchange();
  pair.a.execute("DELETE FROM shop WHERE id = 1");
  pair.b.execute("INSERT INTO badge VALUES (5, 1); INSERT INTO item VALUES (7, 1, 1)");
  meet(pair, a_first);
  check_alike(pair, {"shop", "badge", "item"});
  CHECK(pair.a.scalar("SELECT string_agg(item::text, ' ') FROM item") == "(7,1,1)");
  CHECK(pair.a.scalar("SELECT string_agg(badge::text, ' ') FROM badge") == "(5,1)");
  CHECK(record(pair.a) == "shop 1 restrict");
  CHECK(record(pair.b) == "shop 1 restrict");
}

TEST_CASE("references: a row that got another value, and was deleted then (C20)") {
  struct Case {
    const char* action;
    const char* items;
    const char* lines;
  };
  const auto one = GENERATE(values<Case>({{"CASCADE", "", ""},
                                          {"SET NULL", "", "(,7)"},
                                          {"RESTRICT", "(y,1)", "(y,7)"},
                                          {"NO ACTION", "(y,1)", "(y,7)"}}));
  const bool a_first = GENERATE(true, false);
  CAPTURE(one.action, a_first);
  Pair pair(fmt::format(
      "CREATE TABLE item (id int PRIMARY KEY, code text UNIQUE); CREATE TABLE line (id int PRIMARY KEY, code "
      "text REFERENCES item (code) ON DELETE {})",
      one.action));
  pair.a.execute("INSERT INTO item VALUES (1, 'x')");
  pair.exchange();
  pair.a.execute("UPDATE item SET code = 'y'; DELETE FROM item");
  pair.b.execute("INSERT INTO line VALUES (7, 'x')");
  meet(pair, a_first);
  check_alike(pair, {"item", "line"});
  CHECK(Pair::rows(pair.a, "item") == one.items);
  CHECK(Pair::rows(pair.a, "line") == one.lines);
}

TEST_CASE("references: a row that goes with one of those that it refers to does not hold the other (C20)") {
  const bool a_first = GENERATE(true, false);
  CAPTURE(a_first);
  Pair pair(
      "CREATE TABLE shop (id int PRIMARY KEY); CREATE TABLE item (id int PRIMARY KEY, shop int REFERENCES shop ON "
      "DELETE "
      "CASCADE, owner int NOT NULL REFERENCES shop ON DELETE SET NULL, n int)");
  pair.a.execute("INSERT INTO shop VALUES (1), (2); INSERT INTO item VALUES (7, 1, 2, 0)");
  pair.exchange();
  pair.a.execute("DELETE FROM shop");
  pair.b.execute("UPDATE item SET n = 1");
  meet(pair, a_first);
  check_alike(pair, {"shop", "item"});
  CHECK(pair.a.scalar("SELECT count(*) FROM shop") == "0");
  CHECK(record(pair.a) == "item 7 update-wins, item 7 cascade");
}

TEST_CASE("references: a value that a row must refer to does not become NULL (C20)") {
  const bool a_first = GENERATE(true, false);
  CAPTURE(a_first);
  Pair pair(
      "CREATE TABLE item (id int PRIMARY KEY, code text UNIQUE, name text); CREATE TABLE line (id int PRIMARY KEY, "
      "code "
      "text NOT NULL REFERENCES item (code) ON UPDATE CASCADE); CREATE TABLE note (id int PRIMARY KEY, code text "
      "REFERENCES item "
      "(code))");
  pair.a.execute("INSERT INTO item VALUES (1, 'x', 'old'), (2, 'y', 'old')");
  pair.exchange();
  pair.a.execute("UPDATE item SET code = NULL, name = 'new'");
  pair.b.execute("INSERT INTO line VALUES (7, 'x'); INSERT INTO note VALUES (8, 'y')");
  meet(pair, a_first);
  check_alike(pair, {"item", "line", "note"});
  CHECK(Pair::rows(pair.a, "item") == "(,2,new)\n(x,1,new)");
  CHECK(Pair::rows(pair.a, "line") == "(x,7)");
  CHECK(Pair::rows(pair.a, "note") == "(,8)");
  CHECK(record(pair.a) == "item 1 code restrict");
  CHECK(record(pair.b) == "item 1 code restrict");
  // It was a write of that moment: who writes the value now, wins.
  pair.a.execute("UPDATE item SET code = 'z' WHERE id = 1");
  pair.exchange();
  CHECK(Pair::rows(pair.b, "line") == "(z,7)");
}

TEST_CASE("references: a cascade that would take what must stay does not happen, nor is it on record (C20)") {
  const bool a_first = GENERATE(true, false);
  Pair pair(
      "CREATE TABLE shop (id int PRIMARY KEY); CREATE TABLE bill (id int PRIMARY KEY, shop int REFERENCES shop ON "
      "DELETE "
      "CASCADE); CREATE TABLE note (id int PRIMARY KEY, bill int REFERENCES bill ON DELETE CASCADE); CREATE TABLE "
      "payment "
      "(id int PRIMARY KEY, bill int REFERENCES bill ON DELETE RESTRICT)");
  pair.a.execute("INSERT INTO shop VALUES (1)");
  pair.exchange();
  pair.a.execute("DELETE FROM shop");
  pair.b.execute(
      "INSERT INTO bill VALUES (3, 1), (4, 1); INSERT INTO note VALUES (1, 3), (2, 4); INSERT INTO payment "
      "VALUES (9, 3)");
  meet(pair, a_first);
  check_alike(pair, {"shop", "bill", "note", "payment"});
  CHECK(pair.a.scalar("SELECT string_agg(id::text, ' ' ORDER BY id) FROM bill") == "3 4");
  CHECK(pair.a.scalar("SELECT string_agg(id::text, ' ' ORDER BY id) FROM note") == "1 2");
  CHECK(record(pair.a) == "shop 1 restrict");
  CHECK(record(pair.b) == "shop 1 restrict");
}

// C19
TEST_CASE("unique keys: a suffix behind NULL, where NULLs are not distinct") {
  const bool a_first = GENERATE(true, false);
  Pair pair("CREATE TABLE t (id int PRIMARY KEY, sku text, UNIQUE NULLS NOT DISTINCT (sku))");
  pair.a.execute("INSERT INTO t VALUES (1, NULL)");
  pair.b.execute("INSERT INTO t VALUES (2, NULL)");
  meet(pair, a_first);
  check_alike(pair, {"t"});
  CHECK(pair.a.scalar("SELECT string_agg(concat(id, '=', sku), ' ' ORDER BY id) FROM t") == "1= 2=~c81e");
}

// C19
TEST_CASE("unique keys: two of one row clash with two other rows") {
  const bool a_first = GENERATE(true, false);
  Pair pair("CREATE TABLE t (id int PRIMARY KEY, sku text UNIQUE, name text UNIQUE)");
  pair.a.execute("INSERT INTO t VALUES (1, 'X', 'p'), (3, 'Y', 'q')");
  pair.b.execute("INSERT INTO t VALUES (2, 'X', 'q')");
  meet(pair, a_first);
  check_alike(pair, {"t"});
  CHECK(pair.a.scalar("SELECT string_agg(concat(id, '=', sku, name), ' ' ORDER BY id) FROM t") ==
        "1=Xp 2=X~c81eq~c81e 3=Yq");
}

// C21
TEST_CASE("parked rows: a check that only the merged row breaks") {
  Pair pair("CREATE TABLE t (id int PRIMARY KEY, lo int, hi int, CHECK (lo <= hi))");
  pair.a.execute("INSERT INTO t VALUES (1, 1, 10), (2, 1, 10)");
  pair.exchange();
  pair.a.execute("UPDATE t SET lo = 8 WHERE id = 1");
  pair.b.execute("UPDATE t SET hi = 5 WHERE id = 1; UPDATE t SET hi = 11 WHERE id = 2");
  const auto pulled = pair.a.pull(pair.b);
  REQUIRE(pulled.parked.size() == 1);
  CHECK_THAT(pulled.parked[0].text(), Catch::StartsWith("row 1 of table public.t") && Catch::Contains("t_check"));
  CHECK(pair.b.pull(pair.a).parked.size() == 1);
  CHECK(pair.a.scalar("SELECT string_agg(t::text, ' ' ORDER BY id) FROM t") == "(1,8,10) (2,1,11)");
  CHECK(pair.b.scalar("SELECT string_agg(t::text, ' ' ORDER BY id) FROM t") == "(1,1,5) (2,1,11)");
  pair.a.execute("UPDATE t SET lo = 2 WHERE id = 1");
  pair.exchange();
  try_parked_again(pair.a);
  try_parked_again(pair.b);
  CHECK(pair.a.scalar("SELECT string_agg(t::text, ' ' ORDER BY id) FROM t") == "(1,2,5) (2,1,11)");
  check_alike(pair, {"t"});
}

namespace {

constexpr const char* kBySku =
    "CREATE TABLE product (id int PRIMARY KEY, sku text UNIQUE, name text); CREATE TABLE line (id int PRIMARY KEY, sku "
    "text "
    "NOT NULL REFERENCES product (sku) ON UPDATE CASCADE)";

// What each line is for, by name.
std::string lines(PgNode& node) {
  return node.scalar(
      "SELECT string_agg(l.id || ' ' || p.name, ', ' ORDER BY l.id) FROM line l JOIN product p USING (sku)");
}

}  // namespace

TEST_CASE("unique keys: who refers to the row that gives way by the value that it loses goes with it (C19, C20)") {
  const bool a_first = GENERATE(true, false);
  CAPTURE(a_first);
  Pair pair(kBySku);
  pair.exchange();
  pair.a.execute("INSERT INTO product VALUES (1, 'X', 'chair'); INSERT INTO line VALUES (1, 'X'), (3, 'X')");
  pair.b.execute("INSERT INTO product VALUES (2, 'X', 'table'); INSERT INTO line VALUES (2, 'X'), (4, 'X')");
  meet(pair, a_first);
  check_alike(pair, {"product", "line"});
  CHECK(lines(pair.a) == "1 chair, 2 table, 3 chair, 4 table");
  CHECK(pair.a.scalar("SELECT string_agg(sku, ' ' ORDER BY id) FROM product") == "X X~c81e");
}

TEST_CASE("unique keys: so does who is entered where nobody has heard of it, through a third node (C19, C20)") {
  Three shop(kBySku);
  shop.a.execute("INSERT INTO product VALUES (1, 'X', 'chair'); INSERT INTO line VALUES (1, 'X')");
  shop.b.execute("INSERT INTO product VALUES (2, 'X', 'table'); INSERT INTO line VALUES (2, 'X')");
  shop.c.pull(shop.a);
  shop.c.pull(shop.b);
  shop.b.execute("INSERT INTO line VALUES (4, 'X')");
  shop.a.execute("INSERT INTO line VALUES (3, 'X')");
  shop.exchange();
  shop.exchange();
  for (auto* node : {&shop.a, &shop.b, &shop.c}) {
    CHECK(lines(*node) == "1 chair, 2 table, 3 chair, 4 table");
    CHECK(node->scalar("SELECT count(*) FROM mbsync.parked") == "0");
  }
}

TEST_CASE("references: rows follow what they refer to when two of those exchange their values (C20)") {
  const bool a_first = GENERATE(true, false);
  CAPTURE(a_first);
  Pair pair(kBySku);
  pair.a.execute(
      "INSERT INTO product VALUES (1, 'X', 'chair'), (2, 'Y', 'table'); INSERT INTO line VALUES (1, 'X'), (2, 'Y')");
  pair.exchange();
  pair.a.execute(
      "BEGIN; UPDATE product SET sku = 'Z' WHERE id = 1; UPDATE product SET sku = 'X' WHERE id = 2; UPDATE "
      "product SET sku = 'Y' WHERE id = 1; COMMIT");
  REQUIRE(lines(pair.a) == "1 chair, 2 table");
  pair.b.execute("INSERT INTO line VALUES (3, 'X'), (4, 'Y')");
  meet(pair, a_first);
  check_alike(pair, {"product", "line"});
  CHECK(lines(pair.a) == "1 chair, 2 table, 3 chair, 4 table");
}

TEST_CASE("unique keys: a reference that is part of the key of who refers goes with it as well (C19, C20)") {
  const bool a_first = GENERATE(true, false);
  CAPTURE(a_first);
  Pair pair(
      "CREATE TABLE product (id int PRIMARY KEY, sku text UNIQUE, name text); CREATE TABLE line (sku text REFERENCES "
      "product (sku) ON UPDATE CASCADE, n int, note text, PRIMARY KEY (sku, n))");
  pair.exchange();
  pair.a.execute("INSERT INTO product VALUES (1, 'X', 'chair'); INSERT INTO line VALUES ('X', 1, 'of a')");
  pair.b.execute("INSERT INTO product VALUES (2, 'X', 'table'); INSERT INTO line VALUES ('X', 2, 'of b')");
  meet(pair, a_first);
  check_alike(pair, {"product", "line"});
  CHECK(pair.a.scalar(
            "SELECT string_agg(concat_ws(' ', l.n, l.note, p.name), ', ' ORDER BY l.n) FROM line l JOIN product "
            "p USING (sku)") == "1 of a chair, 2 of b table");
}
