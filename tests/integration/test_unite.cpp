// Two rows with one value of a unique key that become one, or wait for a person (CONFLICTS.md C19).
#include <fmt/format.h>

#include <catch2/catch.hpp>

#include "node_pair.h"
#include "policies.h"
#include "sql_session.h"
#include "wait_until.h"

using namespace mbsync;
using namespace mbsync::test;

namespace {

// A membership's key is made of references; what refers to it does so by its id, or with it in its own key.
constexpr const char* kClub = R"sql(
CREATE TABLE person (id int PRIMARY KEY, name text);
CREATE TABLE club (id int PRIMARY KEY, name text);
CREATE TABLE membership (id int PRIMARY KEY, person int NOT NULL REFERENCES person, club int NOT NULL REFERENCES club,
                         role text, note text, CONSTRAINT one_each UNIQUE (person, club));
CREATE TABLE fee (id int PRIMARY KEY, membership int NOT NULL REFERENCES membership ON DELETE CASCADE, amount int);
CREATE TABLE grant_ (membership int REFERENCES membership ON DELETE CASCADE, what text, PRIMARY KEY (membership, what));
CREATE TABLE guest (id int PRIMARY KEY, host int REFERENCES membership ON DELETE SET NULL);
INSERT INTO person VALUES (1, 'ada');
INSERT INTO club VALUES (1, 'chess');
)sql";

const char* const kTables[] = {"membership", "fee", "grant_", "guest"};

void check_alike(std::initializer_list<PgNode*> nodes) {
  auto& first = **nodes.begin();
  const char* const record =
      "SELECT string_agg(id::text || key || versions || outcome, ' ' ORDER BY id) FROM mbsync.conflict_record";
  for (auto* node : nodes) {
    for (const auto* table : kTables) {
      CHECK(Pair::rows(*node, table) == Pair::rows(first, table));
    }
    CHECK(node->scalar(record) == first.scalar(record));
    CHECK(node->scalar("SELECT count(*) FROM fee f WHERE NOT EXISTS (SELECT FROM membership m WHERE m.id = "
                       "f.membership)") == "0");
    CHECK(node->scalar("SELECT count(*) FROM mbsync.parked") == "0");
  }
}

}  // namespace

TEST_CASE("unite: memberships of one person become one, and children move along (C19)", "[unite]") {
  const bool a_first = GENERATE(true, false);
  Pair pair(kClub);
  pair.exchange();
  pair.a.execute(
      "INSERT INTO membership VALUES (10, 1, 1, 'player'); INSERT INTO fee VALUES (1, 10, 5); INSERT INTO grant_ "
      "VALUES "
      "(10, 'key'), (10, 'car'); INSERT INTO guest VALUES (1, 10)");
  pair.b.execute(
      "INSERT INTO membership VALUES (20, 1, 1, 'coach', 'from b'); INSERT INTO fee VALUES (2, 20, 7); INSERT INTO "
      "grant_ "
      "VALUES (20, 'key'), (20, 'bar'); INSERT INTO guest VALUES (2, 20)");
  if (a_first) {
    pair.a.pull(pair.b);
  }
  pair.exchange();
  pair.exchange();
  check_alike({&pair.a, &pair.b});
  CHECK(pair.b.scalar("SELECT string_agg(ROW(m.*)::text, ' ') FROM membership m") == "(10,1,1,player,\"from b\")");
  CHECK(pair.b.scalar("SELECT string_agg(id || ':' || membership, ' ' ORDER BY id) FROM fee") == "1:10 2:10");
  CHECK(pair.b.scalar("SELECT string_agg(membership || what, ' ' ORDER BY what) FROM grant_") == "10bar 10car 10key");
  CHECK(pair.b.scalar("SELECT string_agg(id || ':' || host, ' ' ORDER BY id) FROM guest") == "1:10 2:10");
  CHECK(
      pair.b.scalar("SELECT ROW(kind, key, outcome ->> 'rule', versions -> 0 ->> 'key', versions -> 1 -> 'values' ->> "
                    "'role') FROM mbsync.conflict WHERE kind = 'unique'") == "(unique,20,unique-merge,10,coach)");
  // What referred to the row that is gone is on record with what it said.
  CHECK(pair.b.scalar(
            "SELECT string_agg(ROW(table_name, key, columns, outcome ->> 'rule')::text, ' ' ORDER BY table_name, key) "
            "FROM mbsync.conflict WHERE kind = 'reference'") ==
        "(fee,2,{membership},) (grant_,\"(20,bar)\",{},unique-merge) (grant_,\"(20,key)\",{},unique-merge) "
        "(guest,2,{host},)");
  CHECK(pair.b.scalar(
            "SELECT value || ' for ' || (losers -> 0 ->> 'value') FROM mbsync.conflict_value WHERE table_name = "
            "'fee'") == "10 for 20");
  pair.check_forgotten();
}

TEST_CASE("unite: children that come later, and from a node that has not heard, move along (C19)", "[unite]") {
  PgNode a(shared_cluster(), fresh_database_name(), kClub);
  PgNode b(shared_cluster(), fresh_database_name(), kClub);
  PgNode c(shared_cluster(), fresh_database_name(), kClub);
  for (auto* node : {&a, &b, &c}) {
    node->prepare();
  }
  exchange({&a, &b, &c});
  a.execute("INSERT INTO membership VALUES (10, 1, 1, 'player')");
  b.execute("INSERT INTO membership VALUES (20, 1, 1, 'coach')");
  c.pull(b);
  c.execute(
      "INSERT INTO fee VALUES (1, 20, 5); INSERT INTO grant_ VALUES (20, 'key'); UPDATE membership SET note = 'c'");
  b.execute("INSERT INTO fee VALUES (2, 20, 6)");
  a.pull(b);
  a.execute("INSERT INTO fee VALUES (3, 10, 7)");
  exchange({&c, &a, &b});
  exchange({&b, &c, &a});
  check_alike({&a, &b, &c});
  CHECK(c.scalar("SELECT string_agg(id || ':' || membership, ' ' ORDER BY id) FROM fee") == "1:10 2:10 3:10");
  CHECK(c.scalar("SELECT count(*) FROM membership") == "1");
  CHECK(c.scalar("SELECT membership FROM grant_") == "10");
  for (auto* node : {&a, &b, &c}) {
    REQUIRE(node->store().forget_stable());
    CHECK(node->scalar("SELECT count(*) FROM mbsync.change") == "0");
  }
}

TEST_CASE("unite: a policy may say so of any key, or leave it to a person (C11, C19)", "[unite]") {
  Pair pair("CREATE TABLE item (id int PRIMARY KEY, sku text, CONSTRAINT item_sku UNIQUE (sku), name text)");
  pair.exchange();
  publish_to({&pair.a, &pair.b}, "[[table]]\nname = 'item'\n[table.unique]\nitem_sku = 'merge'\n");
  pair.a.execute("INSERT INTO item VALUES (1, 'x', 'of a')");
  pair.b.execute("INSERT INTO item VALUES (2, 'x', 'of b')");
  pair.exchange();
  CHECK(pair.a.scalar("SELECT string_agg(ROW(i.*)::text, ' ') FROM item i") == "(1,x,\"of a\")");
  CHECK(Pair::rows(pair.a, "item") == Pair::rows(pair.b, "item"));

  publish_to({&pair.a, &pair.b}, "[[table]]\nname = 'item'\nunique = 'park'\n");
  pair.a.execute("INSERT INTO item VALUES (3, 'y', 'of a')");
  pair.b.execute("INSERT INTO item VALUES (4, 'y', 'of b')");
  pair.exchange();
  CHECK(pair.a.scalar("SELECT name FROM item WHERE sku = 'y'") == "of a");
  CHECK(pair.b.scalar("SELECT name FROM item WHERE sku = 'y'") == "of b");
  CHECK_THAT(pair.a.scalar("SELECT reason FROM mbsync.parked"),
             Catch::Contains("unique key \"item_sku\": row 3 has the same value") && Catch::Contains("a person"));
  pair.b.execute("UPDATE item SET sku = 'z' WHERE id = 4");
  CHECK(wait_until(std::chrono::seconds(10), [&] {  // until it is tried again
    return pair.b.store().settle_unseen() && pair.b.scalar("SELECT count(*) FROM mbsync.parked") == "0";
  }));
  pair.exchange();
  pair.exchange();
  CHECK(pair.a.scalar("SELECT string_agg(sku, ' ' ORDER BY id) FROM item") == "x y z");
  CHECK(Pair::rows(pair.a, "item") == Pair::rows(pair.b, "item"));
  CHECK(pair.a.scalar("SELECT count(*) FROM mbsync.parked") == "0");
}

TEST_CASE("unite: three rows with one value, and rows that refer to their own table (C19)", "[unite]") {
  const char* const schema =
      "CREATE TABLE node (id int PRIMARY KEY, code text UNIQUE, up int REFERENCES node ON DELETE SET NULL)";
  PgNode a(shared_cluster(), fresh_database_name(), schema);
  PgNode b(shared_cluster(), fresh_database_name(), schema);
  PgNode c(shared_cluster(), fresh_database_name(), schema);
  for (auto* node : {&a, &b, &c}) {
    node->prepare();
  }
  exchange({&a, &b, &c});
  publish_to({&a, &b, &c}, "[[table]]\nname = 'node'\nunique = 'merge'\n");
  a.execute("INSERT INTO node VALUES (1, 'root'); INSERT INTO node VALUES (11, 'a', 1)");
  b.execute("INSERT INTO node VALUES (2, 'root'); INSERT INTO node VALUES (12, 'b', 2)");
  c.execute("INSERT INTO node VALUES (3, 'root'); INSERT INTO node VALUES (13, 'c', 3)");
  c.pull(b);
  exchange({&a, &b, &c});
  exchange({&c, &b, &a});
  for (auto* node : {&a, &b, &c}) {
    CHECK(node->scalar("SELECT string_agg(id || code || coalesce(up::text, ''), ' ' ORDER BY id) FROM node") ==
          "1root 11a1 12b1 13c1");
  }
}

TEST_CASE("unite: while the application holds a child, both wait (C10, C19)", "[unite]") {
  Pair pair(kClub);
  pair.exchange();
  pair.a.execute("INSERT INTO membership VALUES (10, 1, 1, 'player')");
  pair.b.execute("INSERT INTO membership VALUES (20, 1, 1, 'coach'); INSERT INTO fee VALUES (2, 20, 7)");
  SqlSession session(pair.b.url());
  session.execute("BEGIN");
  session.execute("UPDATE fee SET amount = 8");
  pair.b.pull(pair.a);
  CHECK(pair.b.scalar("SELECT string_agg(id::text, ' ') FROM membership") == "20");
  session.execute("COMMIT");
  REQUIRE(pair.b.store().settle_unseen());
  CHECK(pair.b.scalar("SELECT string_agg(id::text, ' ') FROM membership") == "10");
  pair.exchange();
  pair.exchange();
  check_alike({&pair.a, &pair.b});
  CHECK(pair.a.scalar("SELECT membership || ':' || amount FROM fee") == "10:8");
}
