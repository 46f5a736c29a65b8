// Where rules meet what a schema can hold besides plain columns: limits of types, functions that change, keys that are
// used up or used again, rows that applications hold (CONFLICTS.md C13, C15, C16, C19, C20).
#include <fmt/format.h>

#include <catch2/catch.hpp>

#include "database_url.h"
#include "node_pair.h"
#include "policies.h"
#include "policy_desk.h"
#include "sql_session.h"

using namespace mbsync;
using namespace mbsync::test;

namespace {

void check_both(Pair& pair, const std::string& table, const std::string& text) {
  for (auto* node : {&pair.a, &pair.b}) {
    CHECK(node->scalar(fmt::format("SELECT string_agg(ROW(t.*)::text, ' ' ORDER BY t) FROM {} t", table)) == text);
    CHECK(node->scalar("SELECT string_agg(reason, '; ') FROM mbsync.parked").empty());
  }
}

std::string rule_for(const std::string& table, const std::string& columns) {
  return fmt::format("[[table]]\nname = '{}'\n[table.columns]\n{}\n", table, columns);
}

}  // namespace

TEST_CASE("rules: the limit of an array's elements is not the array's (C13)", "[rules]") {
  Pair pair("CREATE TABLE item (id int PRIMARY KEY, tags varchar(10)[])");
  pair.exchange();
  publish_to({&pair.a, &pair.b}, rule_for("item", "tags = 'union'"));
  pair.a.execute("INSERT INTO item VALUES (1, '{aaaa}')");
  pair.exchange();
  pair.a.execute("UPDATE item SET tags = '{aaaa,bbbb}'");
  pair.b.execute("UPDATE item SET tags = '{aaaa,cccc}'");
  pair.exchange();
  check_both(pair, "item", "(1,\"{aaaa,bbbb,cccc}\")");
}

TEST_CASE("counters: of a numeric with a scale below zero or above its precision (C16)", "[counters]") {
  Pair pair(
      "CREATE TABLE item (id int PRIMARY KEY, n numeric(3,-2) NOT NULL, m numeric(3,5) NOT NULL DEFAULT 0, o text)");
  pair.exchange();
  publish_to({&pair.a, &pair.b}, rule_for("item", "n = 'sum'\nm = 'sum'"));
  pair.a.execute("INSERT INTO item VALUES (1, 2000), (2, 100), (3, 100)");
  pair.exchange();
  pair.a.execute("UPDATE item SET n = n + 500 WHERE id = 1");
  pair.b.execute("UPDATE item SET n = n + 300 WHERE id = 1");
  pair.exchange();
  check_both(pair, "item", "(1,2800,0.00000,) (2,100,0.00000,) (3,100,0.00000,)");
  // Too much for the column: that row waits, and others go on.
  pair.a.execute("UPDATE item SET m = 0.009 WHERE id = 2; UPDATE item SET o = 'a' WHERE id = 3");
  pair.b.execute("UPDATE item SET m = 0.009 WHERE id = 2");
  pair.exchange();
  CHECK(pair.b.scalar("SELECT o FROM item WHERE id = 3") == "a");
  CHECK_THAT(pair.b.scalar("SELECT string_agg(key || ' ' || reason, '; ') FROM mbsync.parked"),
             Catch::StartsWith("2 column m: value 0.01800 out of range"));
}

TEST_CASE("rules: a function that has changed lets its rows wait, and nothing else (C13)", "[rules]") {
  Pair pair(
      "CREATE TABLE item (id int PRIMARY KEY, x text);"
      "CREATE FUNCTION pick(s jsonb) RETURNS text IMMUTABLE LANGUAGE sql AS $$ SELECT max(e ->> 'value') FROM "
      "jsonb_array_elements(s) e $$;");
  pair.exchange();
  const auto policy = rule_for("item", "x = { rule = 'function', function = 'public.pick' }");
  publish_to({&pair.a, &pair.b}, policy);
  pair.a.execute("INSERT INTO item VALUES (1, 'o'), (2, 'o')");
  pair.exchange();
  pair.a.execute("UPDATE item SET x = 'a' WHERE id = 1");
  pair.b.execute("UPDATE item SET x = 'b' WHERE id = 1");
  REQUIRE(pair.a.store().seal_pending());
  REQUIRE(pair.b.store().seal_pending());
  for (auto* node : {&pair.a, &pair.b}) {
    node->execute(
        "CREATE OR REPLACE FUNCTION pick(s jsonb) RETURNS text IMMUTABLE LANGUAGE sql AS $$ SELECT min(e ->> 'value') "
        "FROM jsonb_array_elements(s) e $$");
  }
  pair.a.execute("UPDATE item SET x = 'unrelated' WHERE id = 2");
  pair.exchange();
  for (auto* node : {&pair.a, &pair.b}) {
    CHECK(node->scalar("SELECT x FROM item WHERE id = 2") == "unrelated");
    CHECK_THAT(node->scalar("SELECT string_agg(key || ' ' || reason, '; ') FROM mbsync.parked"),
               Catch::StartsWith("1 policy") && Catch::Contains("\"public\".\"pick\"(jsonb), which is another one"));
  }
  // What the reason says to do.
  publish(pair.a, policy);
  pair.exchange();
  pair.b.execute("UPDATE item SET x = 'again' WHERE id = 1");
  pair.exchange();
  pair.exchange();
  for (auto* node : {&pair.a, &pair.b}) {
    try_parked_again(*node);
  }
  check_both(pair, "item", "(1,a) (2,unrelated)");
}

TEST_CASE("rules: a function is the same one whatever the search path says (C13)", "[rules]") {
  Pair pair(
      "CREATE TYPE mood AS ENUM ('sad', 'ok'); CREATE TABLE item (id int PRIMARY KEY, m mood);"
      "CREATE FUNCTION pick(s jsonb) RETURNS mood IMMUTABLE LANGUAGE sql AS $$ SELECT 'sad'::public.mood $$;");
  pair.exchange();
  auto desk = PolicyDesk::open(*parse_database_url(pair.a.url()));
  REQUIRE(desk);
  const auto done =
      (*desk)->publish(rule_for("item", "m = { rule = 'function', function = 'public.pick' }"), std::nullopt);
  REQUIRE(done);
  REQUIRE(done->published);
  pair.exchange();
  for (auto* node : {&pair.a, &pair.b}) {
    REQUIRE(node->store().refresh());
  }
  pair.a.execute("INSERT INTO item VALUES (1, 'ok')");
  pair.exchange();
  pair.a.execute("UPDATE item SET m = 'sad'");
  pair.b.execute("UPDATE item SET m = NULL");
  pair.exchange();
  check_both(pair, "item", "(1,sad)");
}

TEST_CASE("rules: what a function returns is printed as values are, and NULL is no value for NOT NULL (C13)",
          "[rules]") {
  Pair pair(
      "CREATE TABLE item (id int PRIMARY KEY, x text NOT NULL, b boolean);"
      "CREATE FUNCTION nothing(s jsonb) RETURNS text IMMUTABLE LANGUAGE sql AS $$ SELECT NULL::text $$;"
      "CREATE FUNCTION yes(s jsonb) RETURNS boolean IMMUTABLE LANGUAGE sql AS $$ SELECT true $$;");
  pair.exchange();
  publish_to({&pair.a, &pair.b}, rule_for("item",
                                          "x = { rule = 'function', function = 'public.nothing' }\n"
                                          "b = { rule = 'function', function = 'public.yes' }"));
  pair.a.execute("INSERT INTO item VALUES (1, 'o'), (2, 'o')");
  pair.exchange();
  pair.a.execute("UPDATE item SET x = 'a' WHERE id = 1; UPDATE item SET b = true WHERE id = 2");
  pair.b.execute("UPDATE item SET x = 'b' WHERE id = 1; UPDATE item SET b = false WHERE id = 2");
  pair.exchange();
  check_both(pair, "item", "(1,b,) (2,o,t)");
  CHECK_THAT(pair.a.scalar("SELECT outcome -> 'columns' -> 'x' ->> 'note' FROM mbsync.conflict WHERE key = '1'"),
             Catch::Contains("failed; the last writer wins"));
  CHECK(pair.a.scalar("SELECT outcome -> 'columns' -> 'b' ->> 'version' FROM mbsync.conflict WHERE key = '2'") == "1");
}

TEST_CASE("unique: one row of several has the flag, and none of them goes (C19)", "[unique]") {
  const auto predicate = GENERATE(as<std::string>(), "is_default", "is_default = true", "is_default IS TRUE");
  Pair pair(
      fmt::format("CREATE TABLE customer (id int PRIMARY KEY);"
                  "CREATE TABLE address (id int PRIMARY KEY, customer int NOT NULL REFERENCES customer, street text, "
                  "is_default boolean NOT NULL DEFAULT false);"
                  "CREATE UNIQUE INDEX one_default ON address (customer) WHERE {}",
                  predicate));
  pair.exchange();
  pair.a.execute("INSERT INTO customer VALUES (1); INSERT INTO address VALUES (1, 1, 'Home'), (2, 1, 'Work')");
  pair.exchange();
  pair.a.execute("UPDATE address SET is_default = true WHERE id = 1");
  pair.b.execute("UPDATE address SET is_default = true WHERE id = 2; INSERT INTO address VALUES (4, 1, 'Inn')");
  pair.exchange();
  check_both(pair, "address", "(1,1,Home,t) (2,1,Work,f) (4,1,Inn,f)");
  CHECK(pair.b.scalar("SELECT outcome -> 'columns' -> 'is_default' ->> 'rule' FROM mbsync.conflict") == "unique-flag");
  auto desk = PolicyDesk::open(*parse_database_url(pair.a.url()));
  REQUIRE(desk);
  const auto meaning = (*desk)->check("");
  REQUIRE(meaning);
  std::string said;
  for (const auto& table : meaning->tables) {
    for (const auto& rule : table.rules) {
      said += rule.name == "one_default" ? rule.meaning : "";
    }
  }
  CHECK(said == "the later row's is_default becomes false");
}

TEST_CASE("unique: rows that count are one where their key is made of references, deleted ones aside (C19)",
          "[unique]") {
  Pair pair(
      "CREATE TABLE person (id int PRIMARY KEY); CREATE TABLE membership (id int PRIMARY KEY, person int NOT NULL "
      "REFERENCES person, deleted_at timestamptz); CREATE UNIQUE INDEX one_each ON membership (person) WHERE "
      "deleted_at "
      "IS NULL");
  pair.exchange();
  pair.a.execute("INSERT INTO person VALUES (1); INSERT INTO membership VALUES (1, 1, '2020-01-01Z')");
  pair.exchange();
  pair.a.execute("INSERT INTO membership VALUES (10, 1)");
  pair.b.execute("INSERT INTO membership VALUES (20, 1)");
  pair.exchange();
  for (auto* node : {&pair.a, &pair.b}) {
    CHECK(node->scalar("SELECT string_agg(id::text, ' ' ORDER BY id) FROM membership") == "1 10");
  }
}

TEST_CASE("unique: a suffix goes to a column of the key, however others are called (C19)", "[unique]") {
  Pair pair(
      "CREATE TABLE account (id int PRIMARY KEY, username text NOT NULL, name text);"
      "CREATE UNIQUE INDEX u ON account (username) WHERE name <> '';"
      "CREATE TABLE person (id int PRIMARY KEY, first text, last text, UNIQUE (first, last));"
      "CREATE TABLE covered (id int PRIMARY KEY, note text, code text); CREATE UNIQUE INDEX c ON covered (lower(code)) "
      "INCLUDE (note)");
  pair.exchange();
  pair.a.execute(
      "INSERT INTO account VALUES (1, 'ada', 'Ada of A'); INSERT INTO person VALUES (1, 'Ada', 'L'); INSERT INTO "
      "covered "
      "VALUES (1, 'n', 'X')");
  pair.b.execute(
      "INSERT INTO account VALUES (2, 'ada', 'Ada of B'); INSERT INTO person VALUES (2, 'Ada', 'L'); INSERT INTO "
      "covered "
      "VALUES (2, 'n', 'x')");
  pair.exchange();
  check_both(pair, "account", "(1,ada,\"Ada of A\") (2,ada~c81e,\"Ada of B\")");
  check_both(pair, "person", "(1,Ada,L) (2,Ada~c81e,L)");
  check_both(pair, "covered", "(1,n,X) (2,n,x~c81e)");
}

TEST_CASE("unite: the row that stays is not deleted by who did not know (C19)", "[unite]") {
  const bool hears_first = GENERATE(true, false);
  Three three(
      "CREATE TABLE person (id int PRIMARY KEY); CREATE TABLE membership (id int PRIMARY KEY, person int NOT NULL "
      "UNIQUE "
      "REFERENCES person, role text); CREATE TABLE fee (id int PRIMARY KEY, membership int NOT NULL REFERENCES "
      "membership "
      "ON DELETE CASCADE)");
  three.a.execute("INSERT INTO person VALUES (1)");
  three.exchange();
  three.a.execute("INSERT INTO membership VALUES (10, 1, 'of a')");
  three.c.pull(three.a);
  three.b.execute("INSERT INTO membership VALUES (20, 1, 'of b'); INSERT INTO fee VALUES (1, 20)");
  three.a.execute("DELETE FROM membership WHERE id = 10");
  if (hears_first) {
    three.c.pull(three.b);
  }
  three.exchange();
  // Which of the two is left depends on who has heard what; that one is, and that its fee is for it, does not.
  const auto left = three.a.scalar("SELECT string_agg(id::text, ' ') FROM membership");
  CHECK(left == (hears_first ? "10" : "20"));
  for (auto* node : {&three.a, &three.b, &three.c}) {
    CHECK(node->scalar("SELECT string_agg(id::text, ' ') FROM membership") == left);
    CHECK(node->scalar("SELECT string_agg(membership::text, ' ') FROM fee") == left);
  }
}

TEST_CASE("unite: what was added to either row is in the one that stays, also what is heard of later (C16, C19)",
          "[unite]") {
  const bool a_unites_too = GENERATE(true, false);
  Three three(
      "CREATE TABLE product (id int PRIMARY KEY); CREATE TABLE stock (id int PRIMARY KEY, product int NOT NULL UNIQUE "
      "REFERENCES product, qty int NOT NULL DEFAULT 0)");
  three.a.execute("INSERT INTO product VALUES (1)");
  three.exchange();
  publish_to({&three.a, &three.b, &three.c}, rule_for("stock", "qty = 'sum'"));
  three.a.execute("INSERT INTO stock VALUES (10, 1, 0)");
  three.b.execute("INSERT INTO stock VALUES (20, 1, 0)");
  REQUIRE(three.a.store().seal_pending());
  REQUIRE(three.b.store().seal_pending());
  three.a.execute("UPDATE stock SET qty = qty + 5");
  three.b.execute("UPDATE stock SET qty = qty + 7");
  three.c.pull(three.b);
  if (a_unites_too) {
    three.a.pull(three.b);
    three.b.pull(three.a);
  }
  three.c.execute("UPDATE stock SET qty = qty - 1");
  three.exchange();
  for (auto* node : {&three.a, &three.b, &three.c}) {
    CHECK(node->scalar("SELECT string_agg(ROW(id, qty)::text, ' ') FROM stock") == "(10,11)");
  }
  three.b.execute("UPDATE stock SET qty = qty - 4");
  three.exchange();
  for (auto* node : {&three.a, &three.b, &three.c}) {
    CHECK(node->scalar("SELECT string_agg(ROW(id, qty)::text, ' ') FROM stock") == "(10,7)");
    CHECK(node->scalar("SELECT count(*) FROM mbsync.parked") == "0");
  }
}

TEST_CASE("unite: a key that is used again later is another row (C19, C20)", "[unite]") {
  Pair pair(
      "CREATE TABLE cat (code text PRIMARY KEY, name text UNIQUE); CREATE TABLE item (id int PRIMARY KEY, cat text "
      "REFERENCES cat ON DELETE SET NULL)");
  pair.exchange();
  publish_to({&pair.a, &pair.b}, "[[table]]\nname = 'cat'\nunique = 'merge'\n");
  pair.a.execute("INSERT INTO cat VALUES ('a', 'same')");
  pair.b.execute("INSERT INTO cat VALUES ('b', 'same')");
  pair.exchange();
  check_both(pair, "cat", "(a,same)");
  pair.a.execute("INSERT INTO cat VALUES ('b', 'something else')");
  pair.exchange();
  pair.a.execute("DELETE FROM cat WHERE code = 'b'");
  pair.b.execute("INSERT INTO item VALUES (1, 'b')");
  pair.exchange();
  check_both(pair, "item", "(1,)");
}

TEST_CASE("references: what the application holds two tables away lets that wait, and the rest arrive (C10, C20)",
          "[held]") {
  Pair pair(
      "CREATE TABLE g (id int PRIMARY KEY); CREATE TABLE par (id int PRIMARY KEY, g int REFERENCES g ON DELETE "
      "CASCADE);"
      "CREATE TABLE ch (id int PRIMARY KEY, par int REFERENCES par ON DELETE CASCADE); CREATE TABLE other (id int "
      "PRIMARY "
      "KEY)");
  pair.a.execute("INSERT INTO g VALUES (1), (2); INSERT INTO par VALUES (1, 2)");
  pair.exchange();
  pair.b.execute("UPDATE par SET g = 1; INSERT INTO ch VALUES (1, 1)");
  pair.a.execute("DELETE FROM g WHERE id = 1; INSERT INTO other VALUES (1)");
  SqlSession application(pair.b.url());
  application.execute("BEGIN");
  application.execute("SELECT * FROM ch WHERE id = 1 FOR UPDATE");
  const auto outcome = pair.b.try_pull(pair.a);
  REQUIRE(outcome);
  CHECK(outcome->set_aside > 0);
  CHECK(pair.b.rows("other") == pair.a.rows("other"));
  CHECK(pair.b.scalar("SELECT count(*) FROM g") == "2");
  application.execute("COMMIT");
  REQUIRE(pair.b.store().settle_unseen());
  pair.exchange();
  for (auto* node : {&pair.a, &pair.b}) {
    CHECK(
        node->scalar("SELECT (SELECT count(*) FROM g) || ' ' || (SELECT count(*) FROM par) || ' ' || (SELECT count(*) "
                     "FROM ch)") == "1 0 0");
  }
}

TEST_CASE("rules: an error of the moment in a function is one of the moment (C13)", "[rules]") {
  Pair pair(
      "CREATE TABLE item (id int PRIMARY KEY, a text, b text);"
      "CREATE FUNCTION busy(s jsonb) RETURNS text IMMUTABLE LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'not now' "
      "USING "
      "ERRCODE = '40001'; END $$;");
  pair.exchange();
  publish_to({&pair.a, &pair.b}, rule_for("item",
                                          "a = { rule = 'function', function = 'public.busy' }\n"
                                          "b = { rule = 'function', function = 'public.busy' }"));
  pair.a.execute("INSERT INTO item VALUES (1)");
  pair.exchange();
  pair.a.execute("UPDATE item SET a = 'a', b = 'a'");
  pair.b.execute("UPDATE item SET a = 'b', b = 'b'");
  const auto refused = pair.a.try_pull(pair.b);
  REQUIRE_FALSE(refused);
  INFO(refused.error().text());
  CHECK(refused.error().kind == ErrorKind::kTransient);
  CHECK_THAT(refused.error().message, Catch::Contains("not now"));
}

TEST_CASE("policy: what is published can be read back, however it was written", "[policy]") {
  Pair pair("CREATE TABLE item (id int PRIMARY KEY, x text)");
  std::string document;
  const std::string entry = "[[table]]\nname='item'\nrule='manual'\n";
  while (document.size() + entry.size() < kPolicyBytesMax) {
    document += entry;
  }
  auto desk = PolicyDesk::open(*parse_database_url(pair.a.url()));
  REQUIRE(desk);
  const auto done = (*desk)->publish(document, std::nullopt);
  REQUIRE(done);
  CHECK(done->published);
  pair.exchange();
  for (auto* node : {&pair.a, &pair.b}) {
    REQUIRE(node->store().refresh());
  }
  pair.a.execute("INSERT INTO item VALUES (1, 'x')");
  pair.exchange();
  check_both(pair, "item", "(1,x)");
}

TEST_CASE("counters: a newcomer has the shares of keys that are not in use (C9, C16)", "[counters]") {
  const std::string schema = "CREATE TABLE item (id int PRIMARY KEY, stock int NOT NULL DEFAULT 0)";
  Three three(schema);
  publish_to({&three.a, &three.b, &three.c}, rule_for("item", "stock = 'sum'"));
  three.a.execute("INSERT INTO item VALUES (1, 100), (2, 100)");
  three.exchange();
  three.a.execute("UPDATE item SET stock = stock - 5");
  three.b.execute("UPDATE item SET stock = stock - 3");
  three.exchange();
  three.a.execute("DELETE FROM item");
  three.exchange();
  three.forget();
  PgNode newcomer(shared_cluster(), fresh_database_name(), schema);
  newcomer.prepare();
  newcomer.execute("INSERT INTO item VALUES (2, 70)");
  newcomer.pull(three.a);
  REQUIRE(newcomer.store().refresh());
  newcomer.execute("INSERT INTO item VALUES (1, 50)");
  exchange({&three.a, &three.b, &three.c, &newcomer});
  three.a.execute("UPDATE item SET stock = stock - 1");
  exchange({&three.a, &three.b, &three.c, &newcomer});
  for (auto* node : {&three.a, &three.b, &three.c, &newcomer}) {
    CHECK(node->scalar("SELECT string_agg(id || ':' || stock, ' ' ORDER BY id) FROM item") == "1:49 2:69");
  }
}

TEST_CASE("unite: a row that cannot take over what the other one has waits alone (C19, C21)", "[unite]") {
  Pair pair(
      "CREATE TABLE g (id int PRIMARY KEY); CREATE TABLE m (id int PRIMARY KEY, g int NOT NULL UNIQUE REFERENCES g, a "
      "int, "
      "b int, CHECK (num_nonnulls(a, b) = 1)); CREATE TABLE other (id int PRIMARY KEY)");
  pair.a.execute("INSERT INTO g VALUES (1)");
  pair.exchange();
  pair.a.execute("INSERT INTO m VALUES (1, 1, 5, NULL)");
  pair.b.execute("INSERT INTO m VALUES (2, 1, NULL, 6); INSERT INTO other VALUES (1)");
  const auto pulled = pair.a.try_pull(pair.b);
  REQUIRE(pulled);
  REQUIRE(pulled->parked.size() == 1);
  CHECK_THAT(pulled->parked[0].text(), Catch::Contains("violates check constraint"));
  CHECK(pair.a.scalar("SELECT count(*) FROM other") == "1");
}

TEST_CASE("references: a row that may not lose its reference lets the deletion wait alone (C20, C21)", "[references]") {
  Pair pair(
      "CREATE TABLE par (id int PRIMARY KEY); CREATE TABLE ch (id int PRIMARY KEY, par int REFERENCES par ON DELETE "
      "SET "
      "NULL, root boolean NOT NULL DEFAULT false, CHECK (root OR par IS NOT NULL)); CREATE TABLE other (id int PRIMARY "
      "KEY)");
  pair.a.execute("INSERT INTO par VALUES (1)");
  pair.exchange();
  pair.a.execute("DELETE FROM par; INSERT INTO other VALUES (1)");
  pair.b.execute("INSERT INTO ch VALUES (1, 1); INSERT INTO other VALUES (2)");
  const auto pulled = pair.b.try_pull(pair.a);
  REQUIRE(pulled);
  REQUIRE(pulled->parked.size() == 1);
  CHECK_THAT(pulled->parked[0].text(), Catch::Contains("row 1 of table public.par: row 1 of table public.ch: ") &&
                                           Catch::Contains("violates check constraint"));
  pair.exchange();
  for (auto* node : {&pair.a, &pair.b}) {
    CHECK(node->scalar("SELECT string_agg(id::text, ' ' ORDER BY id) FROM other") == "1 2");
  }
  // Somebody makes it right, and all is as it should be.
  pair.b.execute("UPDATE ch SET root = true");
  pair.exchange();
  for (auto* node : {&pair.a, &pair.b}) {
    try_parked_again(*node);
  }
  pair.exchange();
  check_both(pair, "ch", "(1,,t)");
  check_both(pair, "par", "");
}

TEST_CASE("unite: children find what the row that stays has taken over (C19)", "[unite]") {
  Pair pair(
      "CREATE TABLE par (id int PRIMARY KEY, sku text UNIQUE, code text CONSTRAINT by_code UNIQUE);"
      "CREATE TABLE ch (id int PRIMARY KEY, code text NOT NULL REFERENCES par(code));"
      "CREATE TABLE ch2 (id int PRIMARY KEY, code text REFERENCES par(code))");
  pair.exchange();
  publish_to({&pair.a, &pair.b}, "[[table]]\nname = 'par'\nunique = 'merge'\n");
  pair.a.execute("INSERT INTO par VALUES (1, 'X', NULL)");
  pair.b.execute(
      "INSERT INTO par VALUES (2, 'X', 'C2'); INSERT INTO ch VALUES (1, 'C2'); INSERT INTO ch2 VALUES (1, 'C2')");
  pair.exchange();
  check_both(pair, "par", "(1,X,C2)");
  check_both(pair, "ch", "(1,C2)");
  check_both(pair, "ch2", "(1,C2)");
}

TEST_CASE("unite: columns of a group are taken over together or not at all (C12, C19)", "[unite]") {
  Pair pair("CREATE TABLE m (id int PRIMARY KEY, g int CONSTRAINT one UNIQUE, amount int, currency text, note text)");
  pair.exchange();
  publish_to({&pair.a, &pair.b}, "[[table]]\nname = 'm'\nunique = 'merge'\ngroups = [['amount', 'currency']]\n");
  pair.a.execute("INSERT INTO m VALUES (1, 1, NULL, 'EUR', NULL), (3, 3, NULL, NULL, 'of a')");
  pair.b.execute("INSERT INTO m VALUES (2, 1, 12, 'CHF', 'of b'), (4, 3, 7, 'CHF', 'of b')");
  pair.exchange();
  check_both(pair, "m", "(1,1,,EUR,\"of b\") (3,3,7,CHF,\"of a\")");
}

TEST_CASE("rules: a function that one database cannot run lets the row wait there (C13)", "[rules]") {
  Pair pair(
      "CREATE TABLE item (id int PRIMARY KEY, x text);"
      "CREATE FUNCTION helper(t text) RETURNS text IMMUTABLE LANGUAGE sql AS $$ SELECT upper(t) $$;"
      "CREATE FUNCTION pick(s jsonb) RETURNS text IMMUTABLE LANGUAGE plpgsql AS $$ BEGIN RETURN public.helper(s -> 0 "
      "->> "
      "'value'); END $$;");
  pair.exchange();
  publish_to({&pair.a, &pair.b}, rule_for("item", "x = { rule = 'function', function = 'public.pick' }"));
  pair.a.execute("INSERT INTO item VALUES (1)");
  pair.exchange();
  pair.b.execute("DROP FUNCTION helper(text)");
  pair.a.execute("UPDATE item SET x = 'a'");
  pair.b.execute("UPDATE item SET x = 'b'");
  pair.exchange();
  CHECK(pair.a.scalar("SELECT x FROM item") == "A");
  CHECK_THAT(pair.b.scalar("SELECT reason FROM mbsync.parked"),
             Catch::Contains("cannot run in this database: function public.helper(text) does not exist"));
  pair.b.execute("CREATE FUNCTION helper(t text) RETURNS text IMMUTABLE LANGUAGE sql AS $$ SELECT upper(t) $$;");
  try_parked_again(pair.b);
  pair.exchange();
  check_both(pair, "item", "(1,A)");
}

TEST_CASE("references: of tables that do not take part hold as well (C20)", "[references]") {
  Pair pair(
      "CREATE TABLE item (id int PRIMARY KEY); CREATE TABLE other (id int PRIMARY KEY);"
      "CREATE TABLE log (item int REFERENCES item, t text);"
      "CREATE TABLE gone (item int REFERENCES item ON DELETE CASCADE, t text UNIQUE);"
      "CREATE TABLE deeper (t text REFERENCES gone (t) ON DELETE CASCADE);"
      "CREATE TABLE loose (item int REFERENCES item ON DELETE SET NULL, t text)");
  pair.a.execute("INSERT INTO item VALUES (1), (2), (3), (4)");
  pair.exchange();
  pair.b.execute(
      "INSERT INTO log VALUES (1, 'x'); INSERT INTO gone VALUES (2, 'x'), (4, 'y'); INSERT INTO deeper VALUES ('x'), "
      "('y'); INSERT INTO loose VALUES (3, 'x')");
  pair.a.execute("DELETE FROM item WHERE id < 4; INSERT INTO other VALUES (1)");
  const auto pulled = pair.b.try_pull(pair.a);
  REQUIRE(pulled);
  REQUIRE(pulled->parked.size() == 1);
  CHECK_THAT(pulled->parked[0].text(), Catch::Contains("public.log, which does not take part, refers to it here"));
  CHECK(pair.b.scalar("SELECT string_agg(id::text, ' ' ORDER BY id) FROM item") == "1 4");
  CHECK(pair.b.scalar("SELECT count(*) FROM other") == "1");
  CHECK(pair.b.scalar("SELECT string_agg(t, ' ') FROM gone") == "y");
  CHECK(pair.b.scalar("SELECT string_agg(t, ' ') FROM deeper") == "y");
  CHECK(pair.b.scalar("SELECT count(*) FROM loose WHERE item IS NULL") == "1");
  pair.b.execute("DELETE FROM log");
  try_parked_again(pair.b);
  check_both(pair, "item", "(4)");
}

TEST_CASE("newcomer: what either side had and nobody shows any more is on record (C9)", "[newcomer]") {
  const std::string schema = "CREATE TABLE item (id int PRIMARY KEY, x int, y int, z text)";
  Pair pair(schema);
  pair.a.execute("INSERT INTO item VALUES (1, 1, 2, 'z'), (2, 20, 21, 'gone')");
  pair.exchange();
  PgNode newcomer(shared_cluster(), fresh_database_name(), schema);
  newcomer.execute("INSERT INTO item VALUES (1, 5, 6, 'z'), (2, 22, 21, 'other')");
  newcomer.prepare();
  newcomer.execute("UPDATE item SET y = 7 WHERE id = 1; DELETE FROM item WHERE id = 2");
  exchange({&newcomer, &pair.a, &pair.b}, 3);
  for (auto* node : {&pair.a, &pair.b, &newcomer}) {
    CHECK(node->rows("item") == "(1,1,7,z)");
    const auto value = [&](const std::string& key, const std::string& column) {
      return node->scalar(fmt::format(
          "SELECT string_agg(concat(v -> 'values' ->> '{1}', CASE WHEN v ->> 'node' = 'fleet' THEN ' of the fleet' "
          "END, "
          "', ', CASE WHEN v ->> 'node' = 'fleet' THEN outcome -> 'columns' -> '{1}' ->> 'rule' END), '; ' ORDER BY n) "
          "FROM mbsync.conflict_record, jsonb_array_elements(versions) WITH ORDINALITY e(v, n) WHERE kind = 'newcomer' "
          "AND key = '{0}' AND v -> 'values' ? '{1}'",
          key, column));
    };
    CHECK(value("1", "x") == "1 of the fleet, fleet-before-newcomer; 5, ");
    CHECK(value("1", "y") == "2 of the fleet, edit-on-top-of-fleet; 7, ");
    CHECK(value("1", "z").empty());
    CHECK(value("2", "z") == "gone of the fleet, ");
  }
}

TEST_CASE("newcomer: what it has deleted comes back if the fleet refers to it (C9, C20)", "[newcomer]") {
  const std::string schema =
      "CREATE TABLE item (id int PRIMARY KEY, code text UNIQUE); CREATE TABLE line (id int PRIMARY KEY, item int "
      "REFERENCES item, n int, code text REFERENCES item (code))";
  Pair pair(schema);
  pair.a.execute("INSERT INTO item VALUES (1, 'fleet'); INSERT INTO line VALUES (1, 1, 1, 'fleet')");
  pair.exchange();
  pair.check_forgotten();
  PgNode newcomer(shared_cluster(), fresh_database_name(), schema);
  newcomer.execute("INSERT INTO item VALUES (1, 'own')");
  newcomer.prepare();
  newcomer.execute("DELETE FROM item");
  // The latest write of the row that refers to it says nothing about what it refers to.
  pair.b.execute("UPDATE line SET n = 2");
  exchange({&newcomer, &pair.a, &pair.b}, 3);
  for (auto* node : {&pair.a, &pair.b, &newcomer}) {
    CHECK(node->rows("line") == "(1,1,2,fleet)");
    CHECK(node->rows("item") == "(1,fleet)");
  }
}

TEST_CASE("newcomer: a row that its database refuses waits, and all others are there (C9, C21)", "[newcomer]") {
  const std::string schema =
      "CREATE TABLE item (id int PRIMARY KEY, price int); CREATE TABLE line (id int PRIMARY KEY, item int REFERENCES "
      "item)";
  Three three(schema);
  three.a.execute(
      "INSERT INTO item VALUES (1, 1), (2, -2), (3, -3), (4, 4), (5, -5); INSERT INTO line VALUES (1, 1), (2, 2)");
  three.exchange();
  three.forget();
  PgNode newcomer(shared_cluster(), fresh_database_name(), schema + "; ALTER TABLE item ADD CHECK (price > 0)");
  newcomer.execute("INSERT INTO item VALUES (3, 30)");
  newcomer.prepare();
  const auto joined = newcomer.try_pull(three.a);
  REQUIRE(joined);
  CHECK(newcomer.scalar("SELECT string_agg(id || ':' || price, ' ' ORDER BY id) FROM item") == "1:1 3:30 4:4");
  CHECK(newcomer.scalar("SELECT string_agg(id::text, ' ') FROM line") == "1");
  CHECK(newcomer.scalar("SELECT string_agg(key, ' ' ORDER BY key) FROM mbsync.parked") == "2 3 5");
  // It takes part like any other; what is written to a row that waits takes its place.
  newcomer.execute("INSERT INTO item VALUES (6, 6)");
  three.b.execute("UPDATE item SET price = 20 WHERE id = 2; DELETE FROM item WHERE id = 5");
  exchange({&three.a, &three.b, &three.c, &newcomer}, 3);
  CHECK(newcomer.scalar("SELECT string_agg(id || ':' || price, ' ' ORDER BY id) FROM item") == "1:1 2:20 3:30 4:4 6:6");
  try_parked_again(newcomer);
  CHECK(newcomer.scalar("SELECT string_agg(id::text, ' ' ORDER BY id) FROM line") == "1 2");
  CHECK(three.c.scalar("SELECT string_agg(id || ':' || price, ' ' ORDER BY id) FROM item") == "1:1 2:20 3:-3 4:4 6:6");
  newcomer.execute("ALTER TABLE item DROP CONSTRAINT item_price_check");
  try_parked_again(newcomer);
  exchange({&three.a, &three.b, &three.c, &newcomer}, 3);
  for (auto* node : {&three.a, &three.b, &three.c, &newcomer}) {
    CHECK(node->scalar("SELECT string_agg(id || ':' || price, ' ' ORDER BY id) FROM item") == "1:1 2:20 3:-3 4:4 6:6");
    CHECK(node->scalar("SELECT count(*) FROM mbsync.change WHERE unseen") == "0");
    REQUIRE(node->store().forget_stable());
  }
  exchange({&three.a, &three.b, &three.c, &newcomer}, 3);
  for (auto* node : {&three.a, &three.b, &three.c, &newcomer}) {
    REQUIRE(node->store().forget_stable());
    CHECK(node->scalar("SELECT count(*) FROM mbsync.change") == "0");
  }
}

TEST_CASE("newcomer: a row of the fleet that waits is the fleet's in the end, whoever writes it meanwhile (C9, C21)",
          "[newcomer]") {
  const std::string schema = "CREATE TABLE item (id int PRIMARY KEY, price int, name text)";
  Three three(schema);
  three.a.execute("INSERT INTO item VALUES (1, -1, 'fleet')");
  three.exchange();
  three.forget();
  PgNode newcomer(shared_cluster(), fresh_database_name(), schema + "; ALTER TABLE item ADD CHECK (price > 0)");
  newcomer.execute("INSERT INTO item VALUES (1, 1, 'own')");
  newcomer.prepare();
  REQUIRE(newcomer.try_pull(three.a));
  CHECK(newcomer.scalar("SELECT key FROM mbsync.parked") == "1");
  newcomer.execute("UPDATE item SET price = 2");
  three.a.pull(newcomer);
  CHECK(three.a.scalar("SELECT item::text FROM item") == "(1,2,fleet)");
  three.a.execute("UPDATE item SET price = 3");
  newcomer.pull(three.a);
  CHECK(newcomer.scalar("SELECT item::text FROM item") == "(1,3,fleet)");
  CHECK(newcomer.scalar("SELECT count(*) FROM mbsync.parked") == "0");
}

TEST_CASE(
    "newcomer: a row that is kept beside the fleet's is there at once, also where the fleet's waits (C9, C15, C21)",
    "[newcomer]") {
  const std::string schema = "CREATE TABLE log (id int PRIMARY KEY, price int, note text)";
  Three three(schema);
  publish_to({&three.a, &three.b, &three.c}, "[[table]]\nname = 'log'\nkeep_both = true\n");
  three.a.execute("INSERT INTO log VALUES (5, -1, 'fleet')");
  three.exchange();
  three.forget();
  PgNode newcomer(shared_cluster(), fresh_database_name(), schema + "; ALTER TABLE log ADD CHECK (price > 0)");
  newcomer.prepare();
  newcomer.execute("INSERT INTO log VALUES (5, 1, 'own')");
  newcomer.pull(three.a);
  CHECK(newcomer.scalar("SELECT string_agg(note, ' ') FROM log WHERE id <> 5") == "own");
  CHECK(newcomer.scalar("SELECT key FROM mbsync.parked") == "5");
  newcomer.execute("ALTER TABLE log DROP CONSTRAINT log_price_check");
  try_parked_again(newcomer);
  exchange({&three.a, &three.b, &three.c, &newcomer}, 3);
  for (auto* node : {&three.a, &three.b, &three.c, &newcomer}) {
    CHECK(node->scalar("SELECT string_agg(concat(price, note), ' ' ORDER BY id) FROM log") == "-1fleet 1own");
  }
}

TEST_CASE("newcomer: a row of its own that gives way to the fleet's is not mended meanwhile (C9, C19)", "[newcomer]") {
  const std::string schema = "CREATE TABLE item (id int PRIMARY KEY, code text UNIQUE, seat int NOT NULL UNIQUE)";
  Three three(schema);
  three.a.execute("INSERT INTO item VALUES (1, 'x', 1), (3, 'z', 3)");
  three.exchange();
  three.forget();
  PgNode newcomer(shared_cluster(), fresh_database_name(), schema);
  newcomer.execute("INSERT INTO item VALUES (2, 'y', 3), (3, 'x', 4)");
  newcomer.prepare();
  REQUIRE(newcomer.try_pull(three.a));
  // Seat 3 is item 2's here, so item 3 waits. It would give up the code x, so item 1, which has it, waits for item 3.
  CHECK(newcomer.scalar("SELECT string_agg(item::text, ' ' ORDER BY id) FROM item") == "(2,y,3) (3,x,4)");
  CHECK(newcomer.scalar("SELECT string_agg(DISTINCT key, ' ' ORDER BY key) FROM mbsync.change WHERE unseen") == "1 3");
  CHECK(newcomer.scalar("SELECT string_agg(key, ' ' ORDER BY key) FROM mbsync.parked") == "3");
  newcomer.execute("UPDATE item SET seat = 2 WHERE id = 2");
  try_parked_again(newcomer);
  exchange({&three.a, &three.b, &three.c, &newcomer}, 3);
  for (auto* node : {&three.a, &three.b, &three.c, &newcomer}) {
    CHECK(node->scalar("SELECT string_agg(item::text, ' ' ORDER BY id) FROM item") == "(1,x,1) (2,y,2) (3,z,3)");
  }
}

TEST_CASE("newcomer: a row that it has deleted, and cannot bring back yet, is the fleet's, however large (C6, C9, C21)",
          "[newcomer]") {
  const std::string schema =
      "CREATE TABLE item (id int PRIMARY KEY, price int, name text); CREATE TABLE line (id int PRIMARY KEY, item int "
      "NOT "
      "NULL REFERENCES item)";
  Three three(schema);
  three.a.execute("INSERT INTO item VALUES (1, -1, repeat('fleet', 4000)); INSERT INTO line VALUES (1, 1)");
  three.exchange();
  three.forget();
  PgNode newcomer(shared_cluster(), fresh_database_name(), schema + "; ALTER TABLE item ADD CHECK (price > 0)");
  newcomer.execute("INSERT INTO item VALUES (1, 1, 'own')");
  newcomer.prepare();
  newcomer.execute("DELETE FROM item");
  newcomer.pull(three.a);
  CHECK(newcomer.scalar("SELECT count(*) FROM line") == "0");
  newcomer.execute("ALTER TABLE item DROP CONSTRAINT item_price_check");
  try_parked_again(newcomer);
  exchange({&three.a, &three.b, &three.c, &newcomer}, 3);
  for (auto* node : {&three.a, &three.b, &three.c, &newcomer}) {
    CHECK(node->scalar("SELECT concat(price, ' ', length(name), ' ', left(name, 5)) FROM item") == "-1 20000 fleet");
    CHECK(node->scalar("SELECT count(*) FROM line") == "1");
  }
}

TEST_CASE(
    "references: a row that would have to come back, and is refused, lets the row wait that refers to it (C20, C21)",
    "[references]") {
  Pair pair(
      "CREATE TABLE item (id int PRIMARY KEY, price int); "
      "CREATE TABLE line (id int PRIMARY KEY, item int NOT NULL REFERENCES item)");
  pair.a.execute("INSERT INTO item VALUES (1, -1)");
  pair.exchange();
  pair.a.execute("INSERT INTO line VALUES (1, 1)");
  pair.b.execute("DELETE FROM item; ALTER TABLE item ADD CHECK (price > 0); INSERT INTO item VALUES (2, 2)");
  pair.b.pull(pair.a);
  CHECK(pair.b.scalar("SELECT count(*) FROM line") == "0");
  CHECK_THAT(pair.b.scalar("SELECT reason FROM mbsync.parked WHERE key = '1'"), Catch::Contains("item_price_check"));
  pair.exchange();  // A has the row, and no such check
  CHECK(pair.a.scalar("SELECT string_agg(id::text, ' ' ORDER BY id) FROM item") == "1 2");
  pair.b.execute("ALTER TABLE item DROP CONSTRAINT item_price_check");
  try_parked_again(pair.b);
  pair.exchange();
  for (auto* node : {&pair.a, &pair.b}) {
    CHECK(node->scalar("SELECT string_agg(item::text, ' ' ORDER BY id) FROM item") == "(1,-1) (2,2)");
    CHECK(node->scalar("SELECT line::text FROM line") == "(1,1)");
    CHECK(node->scalar("SELECT count(*) FROM mbsync.parked") == "0");
  }
}

TEST_CASE("newcomer: who deletes a row that waits there deletes the fleet's, with what was added to it (C9, C16)",
          "[newcomer]") {
  const std::string schema = "CREATE TABLE item (id int PRIMARY KEY, stock int NOT NULL, name text)";
  Three three(schema);
  publish_to({&three.a, &three.b, &three.c}, "[[table]]\nname = 'item'\n[table.columns]\nstock = 'sum'\n");
  for (auto* node : {&three.a, &three.b, &three.c}) {
    REQUIRE(node->store().refresh());
  }
  three.a.execute("INSERT INTO item VALUES (1, 10, 'fleet')");
  three.exchange();
  three.b.execute("UPDATE item SET stock = stock - 3");
  three.exchange();
  three.forget();
  PgNode newcomer(shared_cluster(), fresh_database_name(), schema + "; ALTER TABLE item ADD CHECK (stock <> 7)");
  newcomer.execute("INSERT INTO item VALUES (1, 100, 'own')");
  newcomer.prepare();
  REQUIRE(newcomer.try_pull(three.a));
  CHECK(newcomer.scalar("SELECT key FROM mbsync.parked") == "1");
  newcomer.execute("DELETE FROM item; ALTER TABLE item DROP CONSTRAINT item_stock_check");
  three.b.execute("UPDATE item SET name = 'sold'");
  exchange({&three.a, &three.b, &three.c, &newcomer}, 3);
  for (auto* node : {&three.a, &three.b, &three.c, &newcomer}) {
    CHECK(node->scalar("SELECT item::text FROM item") == "(1,7,sold)");
  }
}

TEST_CASE("capture: a key that changes with a reference of the row to itself takes all columns along (C2)",
          "[capture]") {
  Pair pair("CREATE TABLE node (id int PRIMARY KEY, up int REFERENCES node ON UPDATE CASCADE, name text, note text);");
  pair.a.execute("INSERT INTO node VALUES (1, 1, 'a', 'x'), (3, 1, 'b', 'y'), (5, NULL, 'c', 'z')");
  pair.exchange();
  pair.a.execute("UPDATE node SET id = 2 WHERE id = 1");
  pair.exchange();
  check_both(pair, "node", "(2,2,a,x) (3,2,b,y) (5,,c,z)");
  pair.a.execute("UPDATE node SET id = id + 10");
  pair.b.execute("UPDATE node SET name = 'd' WHERE id = 5");
  pair.exchange();
  check_both(pair, "node", "(5,,d,z) (12,12,a,x) (13,12,b,y) (15,,c,z)");
}
