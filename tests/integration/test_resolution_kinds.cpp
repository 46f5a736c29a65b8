// What can be decided about each kind of conflict: unique values, references, rows that are both kept, and what the
// rules have left open (libsync/core/CONFLICTS.md C13, C15, C19, C20).
#include <catch2/catch.hpp>

#include "decisions.h"
#include "node_pair.h"
#include "policies.h"

using namespace mbsync;
using namespace mbsync::test;

namespace {

std::string refused_hint(const Result<DecisionReport>& report) {
  REQUIRE_FALSE(report);
  return report.error().hint;
}

void check_alike(Pair& pair, const std::string& table) {
  pair.exchange();
  CHECK(Pair::rows(pair.a, table) == Pair::rows(pair.b, table));
}

// One row, (1,o,o), known to both.
struct Item : Pair {
  Item() : Pair("CREATE TABLE item (id int PRIMARY KEY, x text, y text)") {
    a.execute("INSERT INTO item VALUES (1, 'o', 'o')");
    exchange();
  }
  // Both write x, neither knowing; what B wrote stands. The conflict is open on both.
  std::string dispute() {
    a.execute("UPDATE item SET x = 'a'");
    b.execute("UPDATE item SET x = 'b'");
    exchange();
    only_conflict(b);
    return only_conflict(a);
  }
};

}  // namespace

TEST_CASE("resolution: what the rule manual has left open is decided by a person (C13)", "[resolve]") {
  Pair pair("CREATE TABLE item (id int PRIMARY KEY, price int)");
  pair.exchange();
  publish_to({&pair.a, &pair.b}, "[[table]]\nname = 'item'\n[table.columns]\nprice = 'manual'\n");
  pair.a.execute("INSERT INTO item VALUES (1, 10)");
  pair.exchange();
  pair.a.execute("UPDATE item SET price = 11");
  pair.b.execute("UPDATE item SET price = 12");
  pair.exchange();
  CHECK(pair.a.scalar("SELECT price FROM item") == "12");
  const auto id = only_conflict(pair.b, false);
  CHECK(pair.b.scalar("SELECT is_open FROM mbsync.conflict_record") == "t");
  CHECK(must(desk_of(pair.b)->decide(id, keep(1))).row == "updated");
  check_alike(pair, "item");
  CHECK(pair.a.scalar("SELECT price FROM item") == "11");
  for (auto* node : {&pair.a, &pair.b}) {
    CHECK(node->scalar("SELECT is_open FROM mbsync.conflict_record") == "f");
  }
}

TEST_CASE("resolution: who has a unique value (C19)", "[resolve]") {
  Pair pair("CREATE TABLE product (id int PRIMARY KEY, sku text UNIQUE)");
  pair.exchange();
  pair.a.execute("INSERT INTO product VALUES (1, 'X')");
  pair.b.execute("INSERT INTO product VALUES (2, 'X')");
  pair.exchange();
  const auto id = only_conflict(pair.b, false);
  auto desk = desk_of(pair.b);
  CHECK_THAT(refused(desk->decide(id, keep(1))),
             Catch::Contains("version 1") && Catch::Contains("is of another row, 1 of"));
  CHECK_THAT(refused(desk->decide(id, keep_of(pair.a.database()))), Catch::Contains("is of another row"));
  CHECK_THAT(refused_hint(desk->decide(id, keep(2))),
             Catch::Contains("another row has this value: change that one first"));
  CHECK(pair.b.scalar("SELECT sku FROM product WHERE id = 2") == "X~c81e");
  pair.b.execute("UPDATE product SET sku = 'Y' WHERE id = 1");
  CHECK(must(desk->decide(id, keep(2))).row == "updated");
  check_alike(pair, "product");
  CHECK(pair.a.scalar("SELECT string_agg(sku, ' ' ORDER BY id) FROM product") == "Y X");
}

TEST_CASE("resolution: a number that two rows have and must have (C19)", "[resolve]") {
  Pair pair("CREATE TABLE bill (id int PRIMARY KEY, number int NOT NULL UNIQUE)");
  pair.exchange();
  pair.a.execute("INSERT INTO bill VALUES (1, 7)");
  pair.b.execute("INSERT INTO bill VALUES (2, 7)");
  pair.exchange();
  const auto id = only_conflict(pair.a, true);
  CHECK(only_conflict(pair.b, true) == id);
  // On A it is bill 2 that waits, and on B bill 1.
  const auto elsewhere = desk_of(pair.a)->decide(id, set({{"number", "8"}}));
  CHECK_THAT(refused(elsewhere), Catch::Contains("the row 2 of public.bill waits on this node"));
  CHECK_THAT(refused_hint(elsewhere), Catch::Contains("decide it on " + pair.b.database()));
  const auto accepted = must(desk_of(pair.a)->decide(id, accept()));
  REQUIRE(accepted.notes.size() == 1);
  CHECK_THAT(accepted.notes[0], Catch::Contains("the row waits on this node"));
  must(desk_of(pair.a)->decide(id, undo()));
  CHECK(must(desk_of(pair.b)->decide(id, set({{"number", "8"}}))).row == "updated");
  pair.exchange();
  try_parked_again(pair.b);
  check_alike(pair, "bill");
  CHECK(pair.a.scalar("SELECT string_agg(bill::text, ' ' ORDER BY id) FROM bill") == "(1,7) (2,8)");
  for (auto* node : {&pair.a, &pair.b}) {
    CHECK(node->scalar("SELECT is_open FROM mbsync.conflict_record") == "f");
    CHECK(node->scalar("SELECT count(*) FROM mbsync.parked") == "0");
  }
}

TEST_CASE("resolution: rows that have become one (C19)", "[resolve]") {
  Pair pair("CREATE TABLE seat (id int PRIMARY KEY, number int UNIQUE, guest text)");
  pair.exchange();
  publish_to({&pair.a, &pair.b}, "[[table]]\nname = 'seat'\nunique = 'merge'\n");
  pair.a.execute("INSERT INTO seat VALUES (1, 7, 'Ada')");
  pair.b.execute("INSERT INTO seat VALUES (2, 7, 'Bob')");
  pair.exchange();
  const auto id = only_conflict(pair.a, false);
  auto desk = desk_of(pair.a);
  CHECK_THAT(refused(desk->decide(id, keep(1))), Catch::Contains("is of another row, 1 of"));
  CHECK_THAT(refused_hint(desk->decide(id, keep(2))), Catch::Contains("another row has this value"));
  pair.a.execute("UPDATE seat SET number = 8 WHERE id = 1");
  CHECK(must(desk->decide(id, keep(2))).row == "inserted");
  check_alike(pair, "seat");
  CHECK(pair.b.scalar("SELECT string_agg(seat::text, ' ' ORDER BY id) FROM seat") == "(1,8,Ada) (2,7,Bob)");
}

TEST_CASE("resolution: a row that went with the one it refers to, and one that had to stay (C20)", "[resolve]") {
  Pair pair(
      "CREATE TABLE shop (id int PRIMARY KEY, name text); CREATE TABLE item (id int PRIMARY KEY, shop int NOT NULL "
      "REFERENCES shop ON DELETE CASCADE); CREATE TABLE bill (id int PRIMARY KEY, shop int NOT NULL REFERENCES shop)");
  pair.a.execute("INSERT INTO shop VALUES (1, 'one'), (2, 'two')");
  pair.exchange();
  pair.a.execute("DELETE FROM shop");
  pair.b.execute("INSERT INTO item VALUES (5, 1); INSERT INTO bill VALUES (6, 2)");
  pair.exchange();
  const auto id_of = [&](const char* table) {
    return pair.a.scalar(std::string("SELECT id FROM mbsync.conflict WHERE table_name = '") + table + "'");
  };
  auto desk = desk_of(pair.a);
  CHECK_THAT(refused_hint(desk->decide(id_of("item"), keep(1))), Catch::Contains("write the row that it refers to"));
  pair.a.execute("INSERT INTO shop VALUES (1, 'one again')");
  CHECK(must(desk->decide(id_of("item"), keep(1))).row == "inserted");
  CHECK_THAT(refused(desk->decide(id_of("shop"), keep(1))), Catch::Contains("bill"));
  pair.a.execute("DELETE FROM bill");
  CHECK(must(desk->decide(id_of("shop"), keep(1))).row == "deleted");
  check_alike(pair, "shop");
  check_alike(pair, "item");
  CHECK(pair.b.scalar("SELECT string_agg(name, ' ') FROM shop") == "one again");
  CHECK(pair.b.scalar("SELECT string_agg(item::text, ' ') FROM item") == "(5,1)");
}

TEST_CASE("resolution: rows that are both kept (C15)", "[resolve]") {
  Pair pair("CREATE TABLE log (id int PRIMARY KEY, line text)");
  pair.exchange();
  publish_to({&pair.a, &pair.b}, "[[table]]\nname = 'log'\nkeep_both = true\n");
  pair.a.execute("INSERT INTO log VALUES (1, 'of a')");
  pair.b.execute("INSERT INTO log VALUES (1, 'of b')");
  pair.exchange();
  const auto id = only_conflict(pair.a, false);
  auto desk = desk_of(pair.a);
  CHECK_THAT(refused(desk->decide(id, keep(2))), Catch::Contains("is of another row"));
  CHECK(must(desk->decide(id, accept())).row == "unchanged");
  check_alike(pair, "log");
  CHECK(pair.b.scalar("SELECT string_agg(line, ', ' ORDER BY line) FROM log") == "of a, of b");
}

TEST_CASE("resolution: of two people who decide at once the later stands, also if it leaves all as it is",
          "[resolve]") {
  const int how = GENERATE(0, 1, 2);
  INFO(how);
  const auto later = how == 0 ? keep(2) : how == 1 ? accept() : set({{"x", "b"}});
  Item pair;
  SECTION("about values") {
    const auto id = pair.dispute();
    must(desk_of(pair.a)->decide(id, keep(1)));
    must(desk_of(pair.b)->decide(id, later));
    pair.exchange();
    for (auto* node : {&pair.a, &pair.b}) {
      CHECK(node->rows("item") == "(1,b,o)");
    }
  }
  SECTION("about whether the row is there") {
    pair.a.execute("DELETE FROM item");
    pair.b.execute("UPDATE item SET x = 'b'");
    pair.exchange();
    const auto id = pair.a.scalar("SELECT id FROM mbsync.conflict WHERE kind = 'existence'");
    must(desk_of(pair.a)->decide(id, keep(1)));
    must(desk_of(pair.b)->decide(id, later));
    pair.exchange();
    for (auto* node : {&pair.a, &pair.b}) {
      CHECK(node->rows("item") == "(1,b,o)");
    }
  }
}

TEST_CASE("resolution: a counter is set, not added to: of two people the later stands, and sales go on (C16)",
          "[resolve]") {
  Pair pair("CREATE TABLE item (id int PRIMARY KEY, stock int NOT NULL, name text)");
  publish_to({&pair.a, &pair.b}, "[[table]]\nname = 'item'\n[table.columns]\nstock = 'sum'\n");
  pair.a.execute("INSERT INTO item VALUES (1, 10, 'a')");
  pair.b.execute("INSERT INTO item VALUES (1, 20, 'b')");
  pair.exchange();
  pair.b.execute("UPDATE item SET stock = stock - 1");  // 19, not sealed yet as somebody decides
  const auto both = [&](const std::string& stock) {
    pair.exchange();
    for (auto* node : {&pair.a, &pair.b}) {
      CHECK(node->scalar("SELECT stock FROM item") == stock);
    }
  };
  const auto id = only_conflict(pair.a);
  must(desk_of(pair.b)->decide(id, forced(set({{"stock", "30"}}))));
  must(desk_of(pair.a)->decide(id, set({{"stock", "50"}, {"name", "counted"}})));
  pair.a.execute("UPDATE item SET stock = stock - 3");
  both("46");  // 50, and of what A had not seen one sold on B
  CHECK(pair.a.scalar("SELECT name FROM item") == "counted");
  CHECK(pair.a.scalar("SELECT count(*) FROM mbsync.conflict WHERE columns @> '{stock}'") == "2");
  pair.b.execute("UPDATE item SET stock = stock - 4");
  must(desk_of(pair.a)->decide(id, forced(undo())));
  must(desk_of(pair.b)->decide(id, forced(undo())));
  both(pair.b.scalar("SELECT stock FROM item"));
  must(desk_of(pair.a)->decide(id, forced(set({{"stock", "7"}}))));
  both("7");
  pair.a.execute("UPDATE item SET stock = stock - 2");
  pair.b.execute("UPDATE item SET stock = stock - 1");
  both("4");
}

TEST_CASE("resolution: open and decided are one thing, whoever undoes or decides meanwhile", "[resolve]") {
  Item pair;
  publish_to({&pair.a, &pair.b}, "[[table]]\nname = 'item'\n[table.columns]\nx = 'manual'\n");
  const auto id = pair.dispute();
  must(desk_of(pair.a)->decide(id, keep(1)));
  pair.exchange();
  must(desk_of(pair.a)->decide(id, undo()));
  must(desk_of(pair.b)->decide(id, forced(set({{"x", "c"}}))));
  pair.exchange();
  for (auto* node : {&pair.a, &pair.b}) {
    CHECK(node->scalar("SELECT bool_and(is_open = (resolution IS NULL)) FROM mbsync.conflict_record") == "t");
    CHECK(node->rows("item") == "(1,c,o)");
  }
}

TEST_CASE("resolution: a deletion does not take along what was written since, who has written it known or not",
          "[resolve]") {
  const bool forgotten = GENERATE(false, true);
  Item pair;
  pair.a.execute("DELETE FROM item");
  pair.b.execute("UPDATE item SET x = 'b'");
  pair.exchange();
  pair.b.execute("UPDATE item SET y = 'important'");
  pair.exchange();
  if (forgotten) {
    pair.check_forgotten();
  }
  const auto id = pair.a.scalar("SELECT id FROM mbsync.conflict WHERE kind = 'existence'");
  CHECK_THAT(refused(desk_of(pair.a)->decide(id, keep(1))), Catch::Contains("has changed since"));
  CHECK(must(desk_of(pair.a)->decide(id, forced(keep(1)))).row == "deleted");
  check_alike(pair, "item");
}

TEST_CASE("resolution: what a trigger takes back has not been decided", "[resolve]") {
  Item pair;
  const auto id = pair.dispute();
  pair.a.execute(
      "CREATE FUNCTION keep_it() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN NEW.x = OLD.x; RETURN NEW; END'; CREATE "
      "TRIGGER keeps BEFORE UPDATE ON item FOR EACH ROW EXECUTE FUNCTION keep_it()");
  CHECK_THAT(refused(desk_of(pair.a)->decide(id, keep(1))), Catch::Contains("the write had no effect"));
  CHECK(pair.a.scalar("SELECT is_open FROM mbsync.conflict_record") == "t");
}

TEST_CASE("resolution: a column that is gone cannot be undone unseen", "[resolve]") {
  Item pair;
  const auto id = pair.dispute();
  must(desk_of(pair.a)->decide(id, keep(1)));
  pair.a.execute("ALTER TABLE item DROP COLUMN x");
  CHECK_THAT(refused(desk_of(pair.a)->decide(id, undo())), Catch::Contains("has no column x any more"));
}

TEST_CASE("resolution: what was decided is not hidden by a wider conflict that is open", "[resolve]") {
  Three three("CREATE TABLE item (id int PRIMARY KEY, x text, y text)");
  three.a.execute("INSERT INTO item VALUES (1, 'o', 'o')");
  three.exchange();
  publish_to({&three.a, &three.b, &three.c}, "[[table]]\nname = 'item'\n[table.columns]\nx = 'manual'\n");
  three.a.execute("UPDATE item SET x = 'a'");
  three.b.execute("UPDATE item SET x = 'b'");
  three.c.execute("UPDATE item SET x = 'c'");
  three.a.pull(three.b);
  three.c.pull(three.a);  // all three meet here
  const auto id = three.a.scalar("SELECT id FROM mbsync.conflict");
  must(desk_of(three.a)->decide(id, keep(1)));
  three.exchange();
  for (auto* node : {&three.a, &three.b, &three.c}) {
    CHECK(node->scalar("SELECT count(*) FROM mbsync.conflict_history WHERE event = 'resolution'") == "1");
  }
}

TEST_CASE("resolution: of two rows that clash both are shown (C19)", "[resolve]") {
  Pair pair("CREATE TABLE bill (id int PRIMARY KEY, number int NOT NULL UNIQUE)");
  pair.exchange();
  pair.a.execute("INSERT INTO bill VALUES (1, 5)");
  pair.b.execute("INSERT INTO bill VALUES (2, 5)");
  pair.exchange();
  for (auto* node : {&pair.a, &pair.b}) {
    CHECK(node->scalar("SELECT concat_ws(' ', standing_value, standing_node, other_value, other_node) FROM "
                       "mbsync.open_conflict") == "5 " + pair.b.database() + " 5 " + pair.a.database());
    CHECK(node->scalar("SELECT jsonb_array_length(losers) FROM mbsync.conflict_value") == "1");
  }
}
