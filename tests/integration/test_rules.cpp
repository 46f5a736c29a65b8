// The fleet's policy on real databases: what each rule makes of concurrent writes, on every node, and what is on record
// (libsync/core/CONFLICTS.md C11 to C16).
#include <fmt/format.h>

#include <catch2/catch.hpp>

#include "node_pair.h"
#include "policies.h"

using namespace mbsync;
using namespace mbsync::test;

namespace {

constexpr const char* kItems = R"sql(
CREATE TYPE status AS ENUM ('draft', 'open', 'paid');
CREATE TABLE item (id int PRIMARY KEY, price numeric(10,2), stock int NOT NULL DEFAULT 0, tags text[], doc jsonb, notes text,
                   state status, amount numeric(10,2), currency text, opened text, email text, picked text, office text,
                   cost numeric(10,2), trail text, verdict text);
CREATE FUNCTION pick(siblings jsonb) RETURNS text IMMUTABLE LANGUAGE sql AS
  $$ SELECT string_agg(s ->> 'value', '+' ORDER BY s ->> 'value') FROM jsonb_array_elements(siblings) s $$;
CREATE FUNCTION in_order(siblings jsonb) RETURNS text IMMUTABLE LANGUAGE sql AS
  $$ SELECT string_agg(s ->> 'value', '+' ORDER BY n) FROM jsonb_array_elements(siblings) WITH ORDINALITY e(s, n) $$;
)sql";

constexpr const char* kItemRules = R"toml(
[[table]]
name = "item"
groups = [["amount", "currency"]]

[table.columns]
price = "max"
stock = "sum"
tags = "union"
doc = "union"
notes = "append"
state = "max"
opened = "first-writer-wins"
email = "prefer-non-null"
picked = { rule = "function", function = "public.pick" }
cost = "min"
trail = { rule = "function", function = "public.in_order" }
verdict = "manual"
)toml";

void check_alike(std::initializer_list<PgNode*> nodes, const std::string& table = "item") {
  const auto expected = Pair::rows(**nodes.begin(), table);
  const std::string conflicts =
      "SELECT string_agg(ROW(id, kind, schema_name, table_name, key, columns, versions, outcome, is_open)::text, "
      "E'\\n' "
      "ORDER BY id) FROM mbsync.conflict_record";
  const auto record = (*nodes.begin())->scalar(conflicts);
  for (auto* node : nodes) {
    CHECK(Pair::rows(*node, table) == expected);
    CHECK(node->scalar(conflicts) == record);
  }
}

struct Case {
  std::string column;
  std::string before;
  std::string first;   // written earlier
  std::string second;  // written later
  std::string expected;
  std::string rule;
};

}  // namespace

TEST_CASE("rules: each decides alike on both nodes, whoever pulls first (C13)", "[rules]") {
  const std::vector<Case> cases{
      {"price", "5.00", "9.50", "10.00", "10.00", "max"},
      {"price", "5.00", "10.00", "9.50", "10.00", "max"},
      {"cost", "5.00", "9.50", "10.00", "9.50", "min"},
      {"cost", "5.00", "10.00", "9.50", "9.50", "min"},
      {"tags", "{a}", "{a,b}", "{a,\"c d\"}", "{a,b,\"c d\"}", "union"},
      {"tags", "{a}", "{a,\"c d\"}", "{a,b}", "{a,\"c d\",b}", "union"},
      {"doc", "{\"k\": 1}", "{\"k\": 1, \"a\": [1.50]}", "{\"k\": 2, \"bb\": null}",
       "{\"a\": [1.50], \"k\": 2, \"bb\": null}", "union"},
      {"notes", "one", "one\ntwo", "one\nthree", "one\ntwo\nthree", "append"},
      {"notes", "one", "one\nthree", "one\ntwo", "one\nthree\ntwo", "append"},
      {"state", "draft", "paid", "open", "paid", "max"},
      {"state", "draft", "open", "paid", "paid", "max"},
      {"opened", "-", "early", "late", "early", "first-writer-wins"},
      {"email", "x", "a@b.c", "", "a@b.c", "prefer-non-null"},
      {"email", "x", "", "a@b.c", "a@b.c", "prefer-non-null"},
      {"picked", "p", "zz", "aa", "aa+zz", "function"},
      {"picked", "p", "aa", "zz", "aa+zz", "function"},
      {"trail", "p", "zz", "aa", "zz+aa", "function"},
      {"trail", "p", "aa", "zz", "aa+zz", "function"},
      {"verdict", "v", "first", "second", "second", "manual"},
      {"office", "o", "first", "second", "second", "last-writer-wins"},
  };
  for (const bool a_first : {true, false}) {
    Pair shop(kItems);
    shop.exchange();
    publish_to({&shop.a, &shop.b}, kItemRules);
    int id = 0;
    for (const auto& entry : cases) {
      shop.a.execute(
          fmt::format("INSERT INTO item (id, {}) VALUES ({}, {})", entry.column, ++id, literal(entry.before)));
    }
    shop.exchange();
    auto& early = a_first ? shop.a : shop.b;
    auto& late = a_first ? shop.b : shop.a;
    id = 0;
    for (const auto& entry : cases) {
      early.execute(fmt::format("UPDATE item SET {} = {} WHERE id = {}", entry.column, literal(entry.first), ++id));
    }
    id = 0;
    for (const auto& entry : cases) {
      late.execute(fmt::format("UPDATE item SET {} = {} WHERE id = {}", entry.column, literal(entry.second), ++id));
    }
    shop.exchange();
    id = 0;
    for (const auto& entry : cases) {
      CAPTURE(a_first, entry.column, entry.first, entry.second);
      CHECK(shop.a.scalar(fmt::format("SELECT {} FROM item WHERE id = {}", entry.column, ++id)) == entry.expected);
      CHECK(shop.a.scalar(
                fmt::format("SELECT outcome -> 'columns' -> '{}' ->> 'rule' FROM mbsync.conflict WHERE key = '{}'",
                            entry.column, id)) == entry.rule);
    }
    check_alike({&shop.a, &shop.b});
    shop.check_forgotten();
    check_alike({&shop.a, &shop.b});
  }
}

TEST_CASE("rules: three nodes and a relay come to the same (C13)", "[rules]") {
  PgNode a(shared_cluster(), fresh_database_name(), kItems);
  PgNode b(shared_cluster(), fresh_database_name(), kItems);
  PgNode c(shared_cluster(), fresh_database_name(), kItems);
  for (auto* node : {&a, &b, &c}) {
    node->prepare();
  }
  exchange({&a, &b, &c});
  publish_to({&a, &b, &c}, kItemRules);
  a.execute("INSERT INTO item (id, tags, notes, price) VALUES (1, '{}', '', 0)");
  exchange({&a, &b, &c});
  a.execute("UPDATE item SET tags = '{a}', notes = 'a', price = 1");
  b.execute("UPDATE item SET tags = '{b}', notes = 'b', price = 2");
  c.execute("UPDATE item SET tags = '{c}', notes = 'c', price = 3");
  b.pull(a);
  c.pull(b);
  b.pull(c);
  a.pull(b);
  CHECK(a.scalar("SELECT ROW(tags, notes, price) FROM item") == b.scalar("SELECT ROW(tags, notes, price) FROM item"));
  exchange({&a, &b, &c});
  CHECK(c.scalar("SELECT tags || notes::text FROM item") == "{a,b,c,\"a\nb\nc\"}");
  CHECK(c.scalar("SELECT price FROM item") == "3.00");
  CHECK(Pair::rows(a, "item") == Pair::rows(b, "item"));
  CHECK(Pair::rows(a, "item") == Pair::rows(c, "item"));
}

TEST_CASE("rules: columns of a group come from one write (C12)", "[rules]") {
  Pair shop(kItems);
  shop.exchange();
  publish_to({&shop.a, &shop.b}, kItemRules);
  shop.a.execute("INSERT INTO item (id, amount, currency) VALUES (1, 10, 'EUR')");
  shop.exchange();
  shop.a.execute("UPDATE item SET amount = 12");
  shop.b.execute("UPDATE item SET currency = 'CHF'");
  shop.exchange();
  CHECK(shop.a.scalar("SELECT amount || currency FROM item") == "10.00CHF");
  check_alike({&shop.a, &shop.b});
  CHECK(
      shop.a.scalar("SELECT string_agg(value || ' over ' || (losers -> 0 ->> 'value'), ', ' ORDER BY column_name) FROM "
                    "mbsync.conflict_value") == "10.00 over 12.00, CHF over EUR");
}

TEST_CASE("rules: columns of one reference come from one write, without any policy (C12)", "[rules]") {
  Three shop(
      "CREATE TABLE place (shop int, shelf int, PRIMARY KEY (shop, shelf));"
      "CREATE TABLE item (id int PRIMARY KEY, shop int NOT NULL, shelf int NOT NULL, price int, FOREIGN KEY (shop, "
      "shelf) "
      "REFERENCES place); INSERT INTO place VALUES (1, 5), (1, 6), (2, 5)");
  shop.a.execute("INSERT INTO item VALUES (1, 1, 5, 10)");
  shop.exchange();
  shop.a.execute("UPDATE item SET shop = 2");
  shop.b.execute("UPDATE item SET shelf = 6");
  shop.c.execute("UPDATE item SET price = 12");
  shop.exchange();
  CHECK(shop.a.scalar("SELECT item FROM item") == "(1,1,6,12)");  // there is no place (2, 6)
  check_alike({&shop.a, &shop.b, &shop.c});
  CHECK(shop.a.scalar("SELECT count(*) FROM mbsync.parked") == "0");
  CHECK(shop.a.scalar("SELECT string_agg(column_name || ' ' || value || ' over ' || (losers -> 0 ->> 'value'), ', ' "
                      "ORDER BY column_name) FROM mbsync.conflict_value") == "shelf 6 over 5, shop 1 over 2");
}

TEST_CASE("rules: merge = row takes whole rows (C12)", "[rules]") {
  Pair shop(kItems);
  shop.exchange();
  publish_to({&shop.a, &shop.b}, "[[table]]\nname = 'item'\nmerge = 'row'\n");
  shop.a.execute("INSERT INTO item (id, price, notes) VALUES (1, 1, 'n')");
  shop.exchange();
  shop.a.execute("UPDATE item SET price = 2");
  shop.b.execute("UPDATE item SET notes = 'm'");
  shop.exchange();
  CHECK(shop.a.scalar("SELECT price || notes FROM item") == "1.00m");
  check_alike({&shop.a, &shop.b});
}

TEST_CASE("rules: a delete may win, and nodes may be ranked (C13, C14)", "[rules]") {
  Pair shop(kItems);
  shop.exchange();
  const auto id_of = [](PgNode& node) {
    return node.scalar("SELECT lpad(to_hex(id), 16, '0') FROM mbsync.node WHERE is_self");
  };
  publish_to({&shop.a, &shop.b}, fmt::format("[nodes]\n\"{}\" = 1\n\"{}\" = 2\n[[table]]\nname = '*'\ndelete = "
                                             "'delete-wins'\nrule = 'node-priority'\n",
                                             id_of(shop.a), id_of(shop.b)));
  shop.a.execute("INSERT INTO item (id, notes) VALUES (1, 'n'), (2, 'n')");
  shop.exchange();
  shop.a.execute("DELETE FROM item WHERE id = 1; UPDATE item SET notes = 'a' WHERE id = 2");
  shop.b.execute("UPDATE item SET notes = 'b'");
  shop.exchange();
  CHECK(shop.b.scalar("SELECT string_agg(id || notes, ',') FROM item") == "2a");
  CHECK(shop.b.scalar("SELECT string_agg(coalesce(column_name, '*') || ' ' || rule, ', ' ORDER BY key) FROM "
                      "mbsync.conflict_value") == "* delete-wins, notes node-priority");
  check_alike({&shop.a, &shop.b});
  shop.check_forgotten();
}

TEST_CASE("rules: what is to be decided by a person stays open (C13)", "[rules]") {
  Pair shop(kItems);
  shop.exchange();
  publish_to({&shop.a, &shop.b}, "[[table]]\nname = 'item'\n[table.columns]\nemail = 'manual'\n");
  shop.a.execute("INSERT INTO item (id, email, notes) VALUES (1, 'e', 'n')");
  shop.exchange();
  shop.a.execute("UPDATE item SET email = 'a', notes = 'a'");
  shop.b.execute("UPDATE item SET email = 'b'");
  shop.exchange();
  CHECK(shop.a.scalar("SELECT standing_value || other_value FROM mbsync.open_conflict") == "ba");
  check_alike({&shop.a, &shop.b});
}

TEST_CASE("rules: writes are judged by the highest policy among them, wherever it is heard of first (C11)", "[rules]") {
  Pair shop(kItems);
  shop.exchange();
  shop.a.execute("INSERT INTO item (id, price) VALUES (1, 1), (2, 1)");
  shop.exchange();
  shop.a.execute("UPDATE item SET price = 3 WHERE id = 1");
  publish(shop.b, "[[table]]\nname = 'item'\n[table.columns]\nprice = 'max'\n");
  shop.b.execute("UPDATE item SET price = 2");
  shop.a.execute("UPDATE item SET price = 1.5 WHERE id = 2");
  shop.a.pull(shop.b);  // brings the policy along
  CHECK(shop.a.scalar("SELECT string_agg(price::text, ' ' ORDER BY id) FROM item") == "3.00 2.00");
  shop.exchange();
  check_alike({&shop.a, &shop.b});

  publish(shop.a, "[[table]]\nname = 'item'\n[table.columns]\nprice = 'min'\n");
  shop.a.execute("UPDATE item SET price = 9");
  shop.b.execute("UPDATE item SET price = 8");
  shop.exchange();
  CHECK(shop.b.scalar("SELECT string_agg(price::text, ' ' ORDER BY id) FROM item") == "8.00 8.00");
  check_alike({&shop.a, &shop.b});
}

TEST_CASE("rules: a function that fails leaves it to the last writer, a row waits for one that is missing (C13)",
          "[rules]") {
  Pair shop(kItems);
  shop.exchange();
  for (auto* node : {&shop.a, &shop.b}) {
    node->execute(
        "CREATE FUNCTION fails(s jsonb) RETURNS numeric IMMUTABLE LANGUAGE sql AS $$ SELECT 1 / (jsonb_array_length(s) "
        "- "
        "2)::numeric $$");
  }
  publish_to({&shop.a, &shop.b},
             "[[table]]\nname = 'item'\n[table.columns]\nprice = { rule = 'function', function = 'public.fails' }\n"
             "picked = { rule = 'function', function = 'public.pick' }\n");
  shop.a.execute("INSERT INTO item (id, price) VALUES (1, 1), (2, 1)");
  shop.exchange();
  shop.a.execute("UPDATE item SET price = 3 WHERE id = 1");
  shop.b.execute("UPDATE item SET price = 2 WHERE id = 1");
  shop.exchange();
  CHECK(shop.a.scalar("SELECT price FROM item WHERE id = 1") == "2.00");
  CHECK_THAT(shop.a.scalar("SELECT outcome -> 'columns' -> 'price' ->> 'note' FROM mbsync.conflict"),
             Catch::Contains("failed; the last writer wins"));
  check_alike({&shop.a, &shop.b});

  shop.a.execute("UPDATE item SET picked = 'x' WHERE id = 2");
  shop.b.execute("UPDATE item SET picked = 'y' WHERE id = 2");
  const auto definition = shop.a.scalar("SELECT pg_get_functiondef('pick(jsonb)'::regprocedure)");
  shop.a.execute("DROP FUNCTION pick(jsonb)");
  const auto pulled = shop.a.try_pull(shop.b);
  REQUIRE(pulled);
  REQUIRE(pulled->parked.size() == 1);
  CHECK_THAT(pulled->parked[0].text(), Catch::Contains("\"public\".\"pick\"(jsonb), which is missing"));
  CHECK(shop.a.scalar("SELECT picked FROM item WHERE id = 2") == "x");
  shop.a.execute(definition + "; UPDATE mbsync.parked SET next_try = now()");
  REQUIRE(shop.a.store().settle_unseen());
  shop.exchange();
  CHECK(shop.a.scalar("SELECT picked FROM item WHERE id = 2") == "x+y");
  check_alike({&shop.a, &shop.b});
}

TEST_CASE("rules: values that are too large to be computed with go to the last writer (C13)", "[rules]") {
  Pair shop(kItems);
  shop.exchange();
  publish_to({&shop.a, &shop.b}, kItemRules);
  shop.a.execute("INSERT INTO item (id, notes) VALUES (1, 'x'), (2, 'x')");
  shop.exchange();
  shop.a.execute("UPDATE item SET notes = 'x' || E'\\n' || repeat('a', CASE id WHEN 1 THEN 20000 ELSE 200000 END)");
  shop.b.execute("UPDATE item SET notes = 'x' || E'\\n' || repeat('b', 20000)");
  shop.exchange();
  CHECK(shop.a.scalar("SELECT string_agg(length(notes)::text, ' ' ORDER BY id) FROM item") == "40003 20002");
  CHECK_THAT(shop.a.scalar("SELECT outcome -> 'columns' -> 'notes' ->> 'note' FROM mbsync.conflict WHERE key = '2'"),
             Catch::Contains("too large"));
  check_alike({&shop.a, &shop.b});
}

TEST_CASE("rules: rows made under one key are both kept (C15)", "[rules]") {
  for (const std::string type : {"text", "uuid", "smallint", "integer", "bigint"}) {
    CAPTURE(type);
    const auto schema = "CREATE TABLE log (id " + type + " PRIMARY KEY, entry text, big text)";
    PgNode a(shared_cluster(), fresh_database_name(), schema);
    PgNode b(shared_cluster(), fresh_database_name(), schema);
    PgNode c(shared_cluster(), fresh_database_name(), schema);
    for (auto* node : {&a, &b, &c}) {
      node->prepare();
    }
    exchange({&a, &b, &c});
    publish_to({&a, &b, &c}, "[[table]]\nname = 'log'\nkeep_both = true\n");
    const std::string key = type == "uuid" ? "'00000000-0000-0000-0000-000000000005'" : "'5'";
    const auto insert = [&](const std::string& entry) {
      return fmt::format("INSERT INTO log VALUES ({}, '{}', repeat('{}', 10000))", key, entry, entry);
    };
    a.execute(insert("of a"));
    b.execute(insert("of b"));
    c.execute(insert("of c"));
    const auto id = type == "uuid" ? std::string("'00000000-0000-0000-0000-000000000006'") : std::string("'6'");
    for (auto* node : {&a, &b}) {
      node->execute("INSERT INTO log VALUES (" + id + ", 'the same', 'x')");
    }
    b.pull(a);
    a.pull(c);
    c.pull(a);
    exchange({&a, &b, &c});
    check_alike({&a, &b, &c}, "log");
    CHECK(a.scalar("SELECT string_agg(entry, ', ' ORDER BY entry) FROM log") == "of a, of b, of c, the same");
    CHECK(a.scalar("SELECT count(*) FROM log WHERE big = repeat(entry, 10000)") == "3");
    CHECK(a.scalar("SELECT entry FROM log WHERE id = " + key) == "of a");
    CHECK(a.scalar("SELECT string_agg(DISTINCT rule, ' ') FROM mbsync.conflict_value") == "keep-both");
    b.execute("DELETE FROM log WHERE entry = 'of c'");
    exchange({&a, &b, &c});
    CHECK(c.scalar("SELECT count(*) FROM log") == "3");
    for (auto* node : {&a, &b, &c}) {
      REQUIRE(node->store().forget_stable());
      CHECK(node->scalar("SELECT count(*) FROM mbsync.change") == "0");
    }
  }
}
