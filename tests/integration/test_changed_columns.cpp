// A migration comes while writes that do not agree are under way: whatever each node had judged by then, and whatever
// it had forgotten, all nodes end alike (libsync/core/CONFLICTS.md C11, C16).
#include <fmt/format.h>

#include <catch2/catch.hpp>

#include "node_pair.h"
#include "policies.h"
#include "policy_desk.h"

using namespace mbsync;
using namespace mbsync::test;

namespace {

std::string rules_for(const std::string& columns) {
  return "[[table]]\nname = 'item'\n[table.columns]\n" + columns;
}

void migrate(std::initializer_list<PgNode*> nodes, const std::string& sql) {
  for (auto* node : nodes) {
    node->execute(sql);
    REQUIRE(node->store().refresh());
  }
}

void seal(std::initializer_list<PgNode*> nodes) {
  for (auto* node : nodes) {
    REQUIRE(node->store().seal_pending());
  }
}

// All rows, without what pads them out.
void check_alike(std::initializer_list<PgNode*> nodes, const std::string& expected, const std::string& table = "item") {
  for (auto* node : nodes) {
    CAPTURE(node->database());
    CHECK(Pair::rows(*node, table) == expected);
  }
}

void check_nothing_waits(std::initializer_list<PgNode*> nodes) {
  for (auto* node : nodes) {
    CHECK(node->scalar("SELECT string_agg(reason, ', ') FROM mbsync.parked").empty());
    REQUIRE(node->store().forget_stable());
    CHECK(node->scalar("SELECT count(*) FROM mbsync.change") == "0");
  }
}

// A database of three, in the middle of a conflict of one row.
struct Shop {
  PgNode a, b, c;

  Shop(const std::string& schema, const std::string& policy)
      : a(shared_cluster(), fresh_database_name(), schema),
        b(shared_cluster(), fresh_database_name(), schema),
        c(shared_cluster(), fresh_database_name(), schema) {
    for (auto* node : {&a, &b, &c}) {
      node->prepare();
    }
    exchange({&a, &b, &c});
    publish_to({&a, &b, &c}, policy);
  }
  void exchange_all() { exchange({&a, &b, &c}); }
};

}  // namespace

TEST_CASE("changed columns: a rename takes the rule away from siblings under way (C11)", "[changed]") {
  for (const bool a_pulls : {true, false}) {
    for (const bool restarted : {true, false}) {
      CAPTURE(a_pulls, restarted);
      Pair shop("CREATE TABLE item (id int PRIMARY KEY, x int, other text)");
      shop.exchange();
      publish_to({&shop.a, &shop.b}, rules_for("x = 'max'\n"));
      shop.a.execute("INSERT INTO item VALUES (1, 1, 'o'), (2, 1, 'o')");
      shop.exchange();
      shop.a.execute("UPDATE item SET x = 5");
      seal({&shop.a});
      shop.b.execute("UPDATE item SET x = 3");
      seal({&shop.b});
      auto& first = a_pulls ? shop.a : shop.b;
      auto& second = a_pulls ? shop.b : shop.a;
      first.pull(second);
      CHECK(first.scalar("SELECT max(x) || ' ' || min(x) FROM item") == "5 5");
      for (auto* node : {&shop.a, &shop.b}) {
        node->execute("ALTER TABLE item RENAME x TO y");
        if (restarted && node == &first) {
          node->restart();
        } else {
          REQUIRE(node->store().refresh());
        }
      }
      second.pull(first);
      CHECK(Pair::rows(shop.a, "item") == Pair::rows(shop.b, "item"));
      shop.exchange();
      check_alike({&shop.a, &shop.b}, "(1,o,5)\n(2,o,5)");
      shop.check_forgotten();
      check_alike({&shop.a, &shop.b}, "(1,o,5)\n(2,o,5)");
    }
  }
}

TEST_CASE("changed columns: a rename when one node has both siblings, one has one, and one has none (C11)",
          "[changed]") {
  for (const bool relayed : {true, false}) {
    CAPTURE(relayed);
    Shop shop("CREATE TABLE item (id int PRIMARY KEY, x int)", rules_for("x = 'max'\n"));
    shop.a.execute("INSERT INTO item VALUES (1, 1)");
    shop.exchange_all();
    shop.a.execute("UPDATE item SET x = 5");
    seal({&shop.a});
    shop.b.execute("UPDATE item SET x = 3");
    shop.a.pull(shop.b);
    migrate({&shop.c, &shop.a, &shop.b}, "ALTER TABLE item RENAME x TO y");
    auto& relay = relayed ? shop.b : shop.a;
    shop.b.pull(shop.a);
    shop.c.pull(relay);
    shop.exchange_all();
    check_alike({&shop.a, &shop.b, &shop.c}, "(1,5)");
    check_nothing_waits({&shop.a, &shop.b, &shop.c});
  }
}

TEST_CASE("changed columns: what some nodes have judged and forgotten stays (C8, C11)", "[changed]") {
  Pair shop("CREATE TABLE item (id int PRIMARY KEY, x int)");
  shop.exchange();
  publish_to({&shop.a, &shop.b}, rules_for("x = 'max'\n"));
  shop.a.execute("INSERT INTO item VALUES (1, 1)");
  shop.exchange();
  shop.a.execute("UPDATE item SET x = 5");
  seal({&shop.a});
  shop.b.execute("UPDATE item SET x = 3");
  shop.a.pull(shop.b);
  shop.b.pull(shop.a);
  REQUIRE(shop.b.store().forget_stable());
  REQUIRE(shop.b.scalar("SELECT count(*) FROM mbsync.change") == "0");
  REQUIRE(shop.a.scalar("SELECT count(*) FROM mbsync.change") != "0");
  migrate({&shop.a, &shop.b}, "ALTER TABLE item RENAME x TO y");
  shop.exchange();
  check_alike({&shop.a, &shop.b}, "(1,5)");
  shop.check_forgotten();
}

TEST_CASE("changed columns: a write that knows of the migration's is not held up by it (C11, C18)", "[changed]") {
  Pair shop("CREATE TABLE item (id int PRIMARY KEY, x int)");
  shop.exchange();
  publish_to({&shop.a, &shop.b}, rules_for("x = 'max'\n"));
  shop.a.execute("INSERT INTO item VALUES (1, 1)");
  shop.exchange();
  shop.a.execute("UPDATE item SET x = 5");
  seal({&shop.a});
  shop.b.execute("UPDATE item SET x = 3");
  shop.a.pull(shop.b);
  migrate({&shop.a, &shop.b}, "ALTER TABLE item RENAME x TO y");
  shop.b.execute("UPDATE item SET y = 2");  // later than all, and the last writer wins now
  shop.exchange();
  check_alike({&shop.a, &shop.b}, "(1,2)");
  shop.check_forgotten();
}

TEST_CASE("changed columns: a type changes under max (C11)", "[changed]") {
  for (const bool a_pulls : {true, false}) {
    for (const bool forgotten : {true, false}) {
      CAPTURE(a_pulls, forgotten);
      Pair shop("CREATE TABLE item (id int PRIMARY KEY, x text)");
      shop.exchange();
      publish_to({&shop.a, &shop.b}, rules_for("x = 'max'\n"));
      shop.a.execute("INSERT INTO item VALUES (1, '1')");
      shop.exchange();
      shop.a.execute("UPDATE item SET x = '10'");
      seal({&shop.a});
      shop.b.execute("UPDATE item SET x = '9'");
      auto& first = a_pulls ? shop.a : shop.b;
      auto& second = a_pulls ? shop.b : shop.a;
      first.pull(second);
      CHECK(first.scalar("SELECT x FROM item") == "9");
      if (forgotten) {
        second.pull(first);
        REQUIRE(second.store().forget_stable());
      }
      migrate({&first, &second}, "ALTER TABLE item ALTER x TYPE int USING x::int");
      shop.exchange();
      check_alike({&shop.a, &shop.b}, "(1,9)");
      shop.check_forgotten();
      // From now on numbers are compared.
      shop.a.execute("UPDATE item SET x = 10");
      seal({&shop.a});
      shop.b.execute("UPDATE item SET x = 9");
      shop.exchange();
      check_alike({&shop.a, &shop.b}, "(1,10)");
    }
  }
}

TEST_CASE("changed columns: values that a migration computes do not come back as they were (C7, C11)", "[changed]") {
  Pair shop("CREATE TABLE item (id int PRIMARY KEY, x text, y text)");
  shop.exchange();
  shop.a.execute("INSERT INTO item VALUES (1, 'x', 'y')");
  shop.exchange();
  // A's write stays live for y, but lost in x: its values are kept beside the row, the migration does not see them.
  shop.a.execute("UPDATE item SET x = 'a', y = 'a'");
  seal({&shop.a});
  shop.b.execute("UPDATE item SET x = 'b'");
  shop.a.pull(shop.b);
  REQUIRE(shop.a.scalar("SELECT count(*) FROM mbsync.change WHERE kept IS NOT NULL") == "1");
  migrate({&shop.a, &shop.b}, "ALTER TABLE item ALTER y TYPE varchar(9) USING lpad(y, 5, '.')");
  shop.exchange();
  check_alike({&shop.a, &shop.b}, "(1,b,....a)");
  shop.check_forgotten();
}

TEST_CASE("changed columns: a group that falls apart (C11, C12)", "[changed]") {
  Pair shop("CREATE TABLE item (id int PRIMARY KEY, amount int, currency text)");
  shop.exchange();
  publish_to({&shop.a, &shop.b},
             "[[table]]\nname = 'item'\nrule = 'first-writer-wins'\ngroups = [['amount', "
             "'currency']]\n[table.columns]\ncurrency = 'last-writer-wins'\n");
  shop.a.execute("INSERT INTO item VALUES (1, 10, 'EUR')");
  shop.exchange();
  shop.a.execute("UPDATE item SET amount = 12, currency = 'USD'");
  seal({&shop.a});
  shop.b.execute("UPDATE item SET amount = 11, currency = 'CHF'");
  shop.a.pull(shop.b);
  CHECK(shop.a.scalar("SELECT amount || currency FROM item") == "12USD");  // both from the first writer
  migrate({&shop.a, &shop.b}, "ALTER TABLE item RENAME amount TO sum");
  shop.exchange();
  check_alike({&shop.a, &shop.b}, "(USD,1,12)");
  shop.check_forgotten();
}

TEST_CASE("changed columns: a reference comes, and its columns are a group (C11, C12)", "[changed]") {
  Pair shop(
      "CREATE TABLE place (shop int, shelf int, PRIMARY KEY (shop, shelf));"
      "CREATE TABLE item (id int PRIMARY KEY, shop int NOT NULL, shelf int NOT NULL);"
      "INSERT INTO place VALUES (1, 5), (1, 6), (2, 5), (2, 6); INSERT INTO item VALUES (1, 1, 5)");
  shop.exchange();
  shop.a.execute("UPDATE item SET shop = 2");
  seal({&shop.a});
  shop.b.execute("UPDATE item SET shop = 3 - 2, shelf = 6");
  shop.a.pull(shop.b);
  CHECK(shop.a.scalar("SELECT item FROM item") == "(1,2,6)");
  migrate({&shop.a, &shop.b}, "ALTER TABLE item ADD FOREIGN KEY (shop, shelf) REFERENCES place");
  shop.exchange();
  check_alike({&shop.a, &shop.b}, "(1,6,2)");
  shop.a.execute("UPDATE item SET shop = 1");
  shop.b.execute("DELETE FROM place WHERE shop = 1 AND shelf = 6; UPDATE item SET shelf = 5");
  shop.exchange();
  check_alike({&shop.a, &shop.b}, "(1,5,2)");
  shop.check_forgotten();
}

TEST_CASE("changed columns: a table gets a name to which other rules belong (C11, C14, C15)", "[changed]") {
  const std::string policy =
      "[[table]]\nname = 'item'\ndelete = 'delete-wins'\n[[table]]\nname = 'log'\nkeep_both = true\n";
  for (const bool a_pulls : {true, false}) {
    CAPTURE(a_pulls);
    Pair shop("CREATE TABLE item (id int PRIMARY KEY, x text); CREATE TABLE log (id int PRIMARY KEY, x text)");
    shop.exchange();
    publish_to({&shop.a, &shop.b}, policy);
    shop.a.execute("INSERT INTO item VALUES (1, 'o'), (2, 'o')");
    shop.exchange();
    shop.a.execute("DELETE FROM item WHERE id = 1; INSERT INTO log VALUES (5, 'a')");
    seal({&shop.a});
    shop.b.execute("UPDATE item SET x = 'b' WHERE id = 1; INSERT INTO log VALUES (5, 'b')");
    auto& first = a_pulls ? shop.a : shop.b;
    auto& second = a_pulls ? shop.b : shop.a;
    first.pull(second);
    CHECK(first.scalar("SELECT count(*) FROM item") == "1");
    CHECK(first.scalar("SELECT count(*) FROM log") == "2");
    migrate({&shop.a, &shop.b}, "ALTER TABLE item RENAME TO thing; ALTER TABLE log RENAME TO diary");
    shop.exchange();
    check_alike({&shop.a, &shop.b}, "(2,o)", "thing");
    CHECK(Pair::rows(shop.a, "diary") == Pair::rows(shop.b, "diary"));
    CHECK(shop.a.scalar("SELECT string_agg(x, ' ' ORDER BY id) FROM diary") == "a b");
    shop.check_forgotten();
  }
}

TEST_CASE("changed columns: what changes nothing for the rules makes no writes (C11)", "[changed]") {
  Pair shop("CREATE TYPE mood AS ENUM ('a', 'b'); CREATE TABLE item (id int PRIMARY KEY, x int, m mood)");
  shop.exchange();
  publish_to({&shop.a, &shop.b}, rules_for("x = 'max'\nm = 'max'\n"));
  shop.a.execute("INSERT INTO item VALUES (1, 1, 'a')");
  shop.exchange();
  shop.a.execute("UPDATE item SET x = 5, m = 'b'");
  seal({&shop.a});
  shop.b.execute("UPDATE item SET x = 3, m = 'a'");
  shop.a.pull(shop.b);
  const std::string writes =
      "SELECT string_agg(origin || ':' || counter, ' ' ORDER BY origin, counter) FROM mbsync.change";
  const auto before = shop.a.scalar(writes);
  migrate({&shop.a, &shop.b},
          "ALTER TABLE item ADD COLUMN note text; ALTER TYPE mood ADD VALUE 'aa' BEFORE 'b'; CREATE INDEX ON item (x)");
  REQUIRE(shop.a.store().refresh());
  CHECK(shop.a.scalar(writes) == before);
  shop.exchange();
  check_alike({&shop.a, &shop.b}, "(1,b,,5)");
  shop.check_forgotten();
}

TEST_CASE("changed columns: a label that only one node has heard of (C13)", "[changed]") {
  for (const bool a_refreshes : {true, false}) {
    CAPTURE(a_refreshes);
    Pair shop("CREATE TYPE mood AS ENUM ('a', 'b'); CREATE TABLE item (id int PRIMARY KEY, m mood)");
    shop.exchange();
    publish_to({&shop.a, &shop.b}, rules_for("m = 'max'\n"));
    shop.a.execute("INSERT INTO item VALUES (1, 'a')");
    shop.exchange();
    for (auto* node : {&shop.a, &shop.b}) {
      node->execute("ALTER TYPE mood ADD VALUE 'z'");
    }
    if (a_refreshes) {
      REQUIRE(shop.a.store().refresh());
    }
    shop.a.execute("UPDATE item SET m = 'z'");
    seal({&shop.a});
    shop.b.execute("UPDATE item SET m = 'b'");
    shop.exchange();
    check_alike({&shop.a, &shop.b}, "(1,z)");
    shop.check_forgotten();
  }
}

TEST_CASE("changed columns: a row waits for a label that is missing here (C13, C21)", "[changed]") {
  Pair shop("CREATE TYPE mood AS ENUM ('a', 'b'); CREATE TABLE item (id int PRIMARY KEY, m mood, note text)");
  shop.exchange();
  publish_to({&shop.a, &shop.b}, rules_for("m = 'max'\n"));
  shop.a.execute("INSERT INTO item VALUES (1, 'b', 'o'), (2, 'b', 'o')");
  shop.exchange();
  shop.a.execute("ALTER TYPE mood ADD VALUE 'aa' BEFORE 'b'");
  shop.a.execute("UPDATE item SET m = 'aa' WHERE id = 1; UPDATE item SET note = 'a' WHERE id = 2");
  seal({&shop.a});
  shop.b.execute("UPDATE item SET m = 'a' WHERE id = 1");
  shop.b.pull(shop.a);
  CHECK(shop.b.scalar("SELECT string_agg(m || note, ' ' ORDER BY id) FROM item") == "ao ba");
  CHECK_THAT(shop.b.scalar("SELECT reason FROM mbsync.parked"), Catch::Contains("\"aa\" is no label of its type here"));
  shop.b.execute("ALTER TYPE mood ADD VALUE 'aa' BEFORE 'b'");
  shop.b.execute("UPDATE mbsync.parked SET next_try = now()");
  REQUIRE(shop.b.store().settle_unseen());
  CHECK(shop.b.scalar("SELECT m FROM item WHERE id = 1") == "aa");
  shop.exchange();
  check_alike({&shop.a, &shop.b}, "(1,aa,o)\n(2,b,a)");
  shop.check_forgotten();
}

TEST_CASE("changed columns: labels in another order than where the policy was published (C13, C21)", "[changed]") {
  const std::string table = "CREATE TABLE item (id int PRIMARY KEY, m mood, note text)";
  Pair shop("CREATE TYPE mood AS ENUM ('a', 'b', 'c'); " + table);
  shop.b.execute(
      "DROP TABLE item; DROP TYPE mood; CREATE TYPE mood AS ENUM ('c', 'b', 'a', 'x'); CREATE DOMAIN d AS mood; " +
      table);
  REQUIRE(shop.b.store().refresh());
  shop.exchange();
  REQUIRE((*PolicyDesk::open(*parse_database_url(shop.a.url())))->publish(rules_for("m = 'max'\n"), std::nullopt));
  shop.exchange();
  CHECK_THAT(shop.a.scalar("SELECT document FROM mbsync.policy"),
             Catch::EndsWith("[labels]\n\"public.mood\" = [\"a\", \"b\", \"c\"]\n"));
  CHECK(shop.a.store().refresh()->policy_trouble.empty());
  CHECK(shop.b.store().refresh()->policy_trouble ==
        std::vector<std::string>{
            "the labels of public.mood are in another order than where the policy was published: a, b, c"});
  shop.a.execute("INSERT INTO item VALUES (1, 'b', 'o'), (2, 'b', 'o')");
  shop.exchange();
  shop.a.execute("UPDATE item SET m = 'a' WHERE id = 1; UPDATE item SET m = 'c' WHERE id = 2");
  shop.b.execute("UPDATE item SET m = 'c' WHERE id = 1; UPDATE item SET note = 'b' WHERE id = 2");
  shop.exchange();
  // Nothing is to be compared in row 2. Row 1 waits.
  CHECK(shop.a.scalar("SELECT string_agg(m || note, ' ' ORDER BY id) FROM item") == "co cb");
  CHECK(shop.b.scalar("SELECT string_agg(m || note, ' ' ORDER BY id) FROM item") == "co cb");
  CHECK_THAT(shop.b.scalar("SELECT key || reason FROM mbsync.parked"),
             Catch::StartsWith("1column m: policy 1 compares labels of public.mood in the order a, b, c, and here"));
  shop.b.execute(
      "ALTER TYPE mood RENAME TO wrong; CREATE TYPE mood AS ENUM ('a', 'x', 'b', 'c'); ALTER TABLE item ALTER m TYPE "
      "mood USING m::text::mood");
  REQUIRE(shop.b.store().refresh());
  shop.b.execute("UPDATE mbsync.parked SET next_try = now()");
  REQUIRE(shop.b.store().settle_unseen());
  CHECK(shop.b.scalar("SELECT count(*) FROM mbsync.parked") == "0");
  shop.exchange();
  check_alike({&shop.a, &shop.b}, "(1,c,o)\n(2,c,b)");
  shop.check_forgotten();
}

TEST_CASE("changed columns: a label gets another name (C11, C13)", "[changed]") {
  Pair shop("CREATE TYPE mood AS ENUM ('a', 'b'); CREATE TABLE item (id int PRIMARY KEY, m mood)");
  shop.exchange();
  publish_to({&shop.a, &shop.b}, rules_for("m = 'max'\n"));
  shop.a.execute("INSERT INTO item VALUES (1, NULL)");
  shop.exchange();
  shop.a.execute("UPDATE item SET m = 'b'");
  seal({&shop.a});
  shop.b.execute("UPDATE item SET m = 'a'");
  shop.a.pull(shop.b);
  migrate({&shop.a, &shop.b}, "ALTER TYPE mood RENAME VALUE 'a' TO 'c'");
  shop.exchange();
  check_alike({&shop.a, &shop.b}, "(1,b)");
  shop.check_forgotten();
}

TEST_CASE("changed columns: a counter becomes text (C16)", "[changed]") {
  for (const bool restarted : {true, false}) {
    CAPTURE(restarted);
    Pair shop("CREATE TABLE item (id int PRIMARY KEY, q int NOT NULL, note text)");
    shop.exchange();
    publish_to({&shop.a, &shop.b}, rules_for("q = 'sum'\n"));
    shop.a.execute("INSERT INTO item VALUES (1, 100, 'o'), (2, 100, 'o'), (3, 100, 'o'), (4, 1, 'o')");
    shop.exchange();
    shop.a.execute("UPDATE item SET q = q + 7");
    shop.exchange();
    shop.b.execute("UPDATE item SET q = q + 1 WHERE id < 3");
    seal({&shop.b});
    shop.b.execute("UPDATE item SET q = q + 1, note = 'b' WHERE id = 2");  // not sealed when the column changes
    for (auto* node : {&shop.a, &shop.b}) {
      node->execute("ALTER TABLE item ALTER q TYPE text USING lpad(q::text, 6, '0')");
      if (node == &shop.b) {  // by the triggers of before
        node->execute("UPDATE item SET q = '000099' WHERE id = 4");
      }
      if (restarted) {
        node->restart();
      } else {
        REQUIRE(node->store().refresh());
      }
      CHECK(node->scalar("SELECT count(*) FROM mbsync.counter") == "0");
    }
    shop.exchange();
    check_alike({&shop.a, &shop.b}, "(1,o,000108)\n(2,b,000109)\n(3,o,000107)\n(4,o,000099)");
    shop.b.execute("UPDATE item SET q = '000042'");
    shop.exchange();
    check_alike({&shop.a, &shop.b}, "(1,o,000042)\n(2,b,000042)\n(3,o,000042)\n(4,o,000042)");
    shop.check_forgotten();
  }
}

TEST_CASE("changed columns: a counter that is another kind of number, or has another name, goes on (C16)",
          "[changed]") {
  Pair shop("CREATE TABLE item (id int PRIMARY KEY, q int NOT NULL)");
  shop.exchange();
  publish_to({&shop.a, &shop.b}, rules_for("'q*' = 'sum'\n"));
  shop.a.execute("INSERT INTO item VALUES (1, 100)");
  shop.exchange();
  shop.a.execute("UPDATE item SET q = q + 7");
  seal({&shop.a});
  shop.b.execute("UPDATE item SET q = q - 3");
  shop.a.pull(shop.b);
  migrate({&shop.a, &shop.b}, "ALTER TABLE item ALTER q TYPE bigint; ALTER TABLE item RENAME q TO qty");
  shop.b.execute("UPDATE item SET qty = qty + 50");
  shop.exchange();
  check_alike({&shop.a, &shop.b}, "(1,154)");
  // Under another name without a rule, the last writer's value stands, and what was added is in it.
  shop.a.execute("UPDATE item SET qty = qty + 1");
  shop.exchange();
  migrate({&shop.a, &shop.b}, "ALTER TABLE item RENAME qty TO stock");
  shop.a.execute("UPDATE item SET stock = 10");
  shop.exchange();
  check_alike({&shop.a, &shop.b}, "(1,10)");
  shop.check_forgotten();
}
