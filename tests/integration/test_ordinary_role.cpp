// A role that owns its tables and may not bypass constraints: unique values that go from row to row, and rows that
// become one, arrive all the same (CONFLICTS.md C19).
#include <fmt/format.h>

#include <catch2/catch.hpp>
#include <utility>
#include <vector>

#include "node_pair.h"
#include "policies.h"
#include "wait_until.h"

using namespace mbsync;
using namespace mbsync::test;

namespace {

const std::string kRole = "ordinary";

const std::string& ordinary_role() {
  shared_cluster().execute("postgres",
                           "DO $$ BEGIN CREATE ROLE ordinary LOGIN; EXCEPTION WHEN duplicate_object THEN NULL; END $$");
  return kRole;
}

struct Ordinary {
  PgNode a;
  PgNode b;

  explicit Ordinary(const std::string& schema)
      : a(shared_cluster(), fresh_database_name(), schema, ordinary_role()),
        b(shared_cluster(), fresh_database_name(), schema, ordinary_role()) {
    CHECK_FALSE(a.prepare().bypasses_constraints);
    b.prepare();
    test::exchange({&a, &b});
  }

  void exchange() { test::exchange({&a, &b}); }

  /// What `sql` does on `a` in one transaction stands on `b` after one pull, and nothing waits.
  void arrives(const std::string& sql, const std::string& table) {
    a.execute("BEGIN; " + sql + "; COMMIT");
    b.pull(a);
    check_alike({table});
  }

  void check_alike(const std::vector<std::string>& tables) {
    for (const auto& table : tables) {
      CHECK(Pair::rows(a, table) == Pair::rows(b, table));
    }
    for (auto* node : {&a, &b}) {
      CHECK(node->scalar("SELECT string_agg(key || ': ' || reason, '; ') FROM mbsync.parked").empty());
    }
  }

  void check_forgotten() {
    exchange();
    for (auto* node : {&a, &b}) {
      REQUIRE(node->store().forget_stable());
      CHECK(node->scalar("SELECT count(*) FROM mbsync.change") == "0");
    }
  }
};

// A unique column that may be NULL or not, of one type or another, and rows that refer to the table in every way.
struct Shape {
  const char* column;
  const char* value;  // from a small number i
};
const Shape kShapes[] = {
    {"text", "'v' || i"},
    {"text NOT NULL", "'v' || i"},
    {"varchar(6) NOT NULL", "'v' || i"},
    {"int", "i"},
    {"int NOT NULL", "i"},
    {"smallint NOT NULL", "32767 - i"},
    {"numeric(6,2) NOT NULL", "i"},
    {"uuid NOT NULL", "md5(i::text)::uuid"},
    {"date NOT NULL", "date '2024-01-01' + i"},
    {"timestamptz NOT NULL", "timestamptz '2024-01-01 10:00:00+00' + i * interval '1 hour'"},
};

std::string with(std::string text, const std::string& what, const std::string& value) {
  for (auto place = text.find(what); place != std::string::npos; place = text.find(what, place + value.size())) {
    text.replace(place, what.size(), value);
  }
  return text;
}

/// Every shape, and every way to refer to one of them.
std::vector<std::pair<Shape, std::string>> shapes_and_children() {
  std::vector<std::pair<Shape, std::string>> all;
  for (const auto& shape : kShapes) {
    all.emplace_back(shape, "CASCADE");
  }
  for (const auto* children : {"", "SET NULL", "RESTRICT", "NO ACTION"}) {
    all.emplace_back(Shape{"int NOT NULL", "i"}, children);
  }
  return all;
}

/// The value for the number that the SQL expression `number` gives.
std::string value_of(const Shape& shape, const std::string& number) {
  return fmt::format("(SELECT ({})::{} FROM (SELECT ({})::int AS i) n)", shape.value,
                     with(shape.column, " NOT NULL", ""), number);
}

}  // namespace

TEST_CASE("ordinary role: rows exchange their values, in pairs, circles and chains (C19)", "[ordinary]") {
  const auto chosen = GENERATE(from_range(shapes_and_children()));
  const auto& shape = chosen.first;
  const auto& children = chosen.second;
  CAPTURE(shape.column, children);
  Ordinary pair(
      fmt::format("CREATE TABLE item (id int PRIMARY KEY, v {} UNIQUE, note text); CREATE TABLE line (id int PRIMARY "
                  "KEY, item int{})",
                  shape.column, children.empty() ? "" : " REFERENCES item ON DELETE " + children));
  pair.a.execute(
      fmt::format("INSERT INTO item SELECT k, {}, 'first' FROM generate_series(1, 20) k; INSERT INTO line "
                  "SELECT k, k FROM generate_series(1, 20) k",
                  value_of(shape, "k")));
  pair.exchange();
  pair.check_alike({"item", "line"});
  // As an application does it: out of the way first, then to the place that was meant.
  const auto to = [&](const std::string& number, const std::string& where) {
    return fmt::format(
        "CREATE TEMP TABLE was ON COMMIT DROP AS SELECT id FROM item WHERE {0}; UPDATE item SET v = {1} "
        "WHERE id IN (SELECT id FROM was); UPDATE item SET v = {2} WHERE id IN (SELECT id FROM was)",
        where, value_of(shape, "id + 1000"), value_of(shape, number));
  };
  pair.arrives(to("11 - id", "id IN (5, 6)"), "item");
  pair.arrives(to("CASE id WHEN 10 THEN 12 ELSE id - 1 END", "id IN (10, 11, 12)"), "item");
  pair.arrives(to("id + 1", "true"), "item");
  pair.arrives(to("id - 1", "true"), "item");
  pair.arrives(to("21 - id", "true") + "; UPDATE item SET note = 'turned'", "item");
  pair.check_alike({"line"});
  CHECK(pair.b.scalar("SELECT count(*) FROM line WHERE item = id") == "20");
  pair.check_forgotten();
}

TEST_CASE("ordinary role: a value goes on to a row that is new, from one that moves or goes (C19)", "[ordinary]") {
  Ordinary pair(
      "CREATE TABLE item (id int PRIMARY KEY, pos int NOT NULL UNIQUE CHECK (pos BETWEEN 1 AND 4)); CREATE TABLE line "
      "(id int PRIMARY KEY, item int NOT NULL REFERENCES item ON DELETE CASCADE)");
  pair.a.execute(
      "INSERT INTO item VALUES (1, 1), (2, 2), (3, 3); INSERT INTO line SELECT i, i FROM generate_series(1, "
      "3) i");
  pair.exchange();
  pair.arrives(
      "UPDATE item SET pos = 4 WHERE id = 3; UPDATE item SET pos = 3 WHERE id = 2; INSERT INTO item VALUES (9, "
      "2)",
      "item");
  // All places are taken, and a line refers to each: the one that goes leaves its place to the one that comes.
  pair.arrives(
      "UPDATE line SET item = 2 WHERE item = 1; DELETE FROM item WHERE id = 1; INSERT INTO item VALUES (8, 1); "
      "INSERT INTO line VALUES (8, 8)",
      "item");
  pair.check_alike({"line"});
  CHECK(pair.b.scalar("SELECT string_agg(id || ':' || item, ' ' ORDER BY id) FROM line") == "1:2 2:2 3:3 8:8");
  pair.check_forgotten();
}

TEST_CASE("ordinary role: where no value is free, rows that nobody would miss go and come (C19)", "[ordinary]") {
  const std::string child = GENERATE(std::string("CREATE TABLE line (id int PRIMARY KEY, item int)"),
                                     std::string("CREATE TABLE line (id int PRIMARY KEY, item int REFERENCES item)"));
  Ordinary pair(
      "CREATE TYPE place AS ENUM ('first', 'second', 'third'); CREATE TABLE item (id int PRIMARY KEY, place place NOT "
      "NULL UNIQUE, note text); " +
      child);
  pair.a.execute("INSERT INTO item VALUES (1, 'first'), (2, 'second'); INSERT INTO line VALUES (1, 1), (2, 2)");
  pair.exchange();
  pair.arrives(
      "UPDATE item SET place = 'third' WHERE id = 1; UPDATE item SET place = 'first' WHERE id = 2; UPDATE item "
      "SET place = 'second' WHERE id = 1; UPDATE item SET note = 'turned'",
      "item");
  pair.check_alike({"line"});
  CHECK(pair.b.scalar("SELECT string_agg(item::text, ' ' ORDER BY id) FROM line") == "1 2");
  pair.check_forgotten();
}

TEST_CASE("ordinary role: keys over several columns, over some rows, over references and expressions (C19)",
          "[ordinary]") {
  Ordinary pair(R"sql(
CREATE TABLE driver (id int PRIMARY KEY);
CREATE TABLE duty (id int PRIMARY KEY, driver int NOT NULL UNIQUE REFERENCES driver, note text);
CREATE TABLE seat (id int PRIMARY KEY, line text NOT NULL, pos int NOT NULL, UNIQUE (line, pos));
CREATE TABLE address (id int PRIMARY KEY, owner int NOT NULL, main boolean NOT NULL, note text);
CREATE UNIQUE INDEX one_main ON address (owner) WHERE main;
CREATE TABLE account (id int PRIMARY KEY, email text NOT NULL);
CREATE UNIQUE INDEX one_email ON account (lower(email));
CREATE TABLE file (id int PRIMARY KEY, path text NOT NULL, hash text GENERATED ALWAYS AS (md5(path)) STORED UNIQUE);
CREATE TABLE stay (id int PRIMARY KEY, nights int4range NOT NULL, EXCLUDE USING gist (nights WITH &&));
INSERT INTO driver VALUES (1), (2), (3);
)sql");
  pair.a.execute(
      "INSERT INTO duty VALUES (1, 1), (2, 2); INSERT INTO seat VALUES (1, 'a', 1), (2, 'a', 2); INSERT INTO address "
      "VALUES (1, 7, true), (2, 7, false); INSERT INTO account VALUES (1, 'Ada'), (2, 'Bob'); INSERT INTO file VALUES "
      "(1, 'x'), (2, 'y'); INSERT INTO stay VALUES (1, '[1,3)'), (2, '[3,9)')");
  pair.exchange();
  pair.arrives(
      "UPDATE duty SET driver = 3 WHERE id = 1; UPDATE duty SET driver = 1 WHERE id = 2; UPDATE duty SET "
      "driver = 2 WHERE id = 1",
      "duty");
  pair.arrives("UPDATE seat SET pos = pos + 10; UPDATE seat SET pos = 13 - pos", "seat");
  pair.arrives("UPDATE address SET main = false; UPDATE address SET main = true WHERE id = 2", "address");
  pair.arrives("UPDATE address SET main = false; UPDATE address SET main = true WHERE id = 1", "address");
  pair.arrives(
      "UPDATE account SET email = 'x' WHERE id = 1; UPDATE account SET email = 'ADA' WHERE id = 2; UPDATE "
      "account SET email = 'BOB' WHERE id = 1",
      "account");
  pair.arrives(
      "UPDATE file SET path = 'z' WHERE id = 1; UPDATE file SET path = 'x' WHERE id = 2; UPDATE file SET path = "
      "'y' WHERE id = 1",
      "file");
  pair.arrives(
      "UPDATE stay SET nights = '[20,30)' WHERE id = 1; UPDATE stay SET nights = '[1,3)' WHERE id = 2; UPDATE "
      "stay SET nights = '[3,9)' WHERE id = 1",
      "stay");
  pair.check_forgotten();
}

TEST_CASE("ordinary role: two rows become one, whatever refers to them (C19)", "[ordinary]") {
  const std::string action = GENERATE(std::string("NO ACTION"), std::string("RESTRICT"), std::string("CASCADE"));
  const bool a_first = GENERATE(true, false);
  CAPTURE(action, a_first);
  Ordinary pair(with(R"sql(
CREATE TABLE person (id int PRIMARY KEY);
CREATE TABLE membership (id int PRIMARY KEY, person int NOT NULL UNIQUE REFERENCES person, role text);
CREATE TABLE fee (id int PRIMARY KEY, membership int NOT NULL REFERENCES membership ON DELETE $action, amount int);
CREATE TABLE grant_ (membership int REFERENCES membership ON DELETE $action, what text,
                     PRIMARY KEY (membership, what));
CREATE TABLE use (id int PRIMARY KEY, membership int NOT NULL, what text NOT NULL,
                  FOREIGN KEY (membership, what) REFERENCES grant_ ON DELETE $action);
)sql",
                     "$action", action));
  pair.a.execute("INSERT INTO person VALUES (1), (2)");
  pair.exchange();
  pair.a.execute(
      "INSERT INTO membership VALUES (10, 1, 'of a'), (11, 2, 'of a'); INSERT INTO fee VALUES (1, 10, 5); INSERT INTO "
      "grant_ VALUES (10, 'key'), (10, 'car'); INSERT INTO use VALUES (1, 10, 'key')");
  pair.b.execute(
      "INSERT INTO membership VALUES (20, 1, 'of b'), (21, 2, 'of b'); INSERT INTO fee VALUES (2, 20, 7), (3, 21, 8); "
      "INSERT INTO grant_ VALUES (20, 'key'), (20, 'bar'); INSERT INTO use VALUES (2, 20, 'bar'), (3, 20, 'key')");
  if (a_first) {
    pair.a.pull(pair.b);
  }
  pair.exchange();
  pair.exchange();
  pair.check_alike({"membership", "fee", "grant_", "use"});
  CHECK(pair.b.scalar("SELECT string_agg(id || role, ' ' ORDER BY id) FROM membership") == "10of a 11of a");
  CHECK(pair.b.scalar("SELECT string_agg(id || ':' || membership, ' ' ORDER BY id) FROM fee") == "1:10 2:10 3:11");
  CHECK(pair.b.scalar("SELECT string_agg(membership || what, ' ' ORDER BY what) FROM grant_") == "10bar 10car 10key");
  CHECK(pair.b.scalar("SELECT string_agg(id || ':' || membership || what, ' ' ORDER BY id) FROM use") ==
        "1:10key 2:10bar 3:10key");
  pair.check_forgotten();
}

TEST_CASE("ordinary role: rows become one on three nodes, heard of by way of another (C19)", "[ordinary]") {
  const char* const schema =
      "CREATE TABLE node (id int PRIMARY KEY, code text NOT NULL UNIQUE, up int REFERENCES node ON DELETE SET NULL)";
  PgNode a(shared_cluster(), fresh_database_name(), schema, ordinary_role());
  PgNode b(shared_cluster(), fresh_database_name(), schema, ordinary_role());
  PgNode c(shared_cluster(), fresh_database_name(), schema, ordinary_role());
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
    CHECK(node->scalar("SELECT count(*) FROM mbsync.parked") == "0");
    REQUIRE(node->store().forget_stable());
    CHECK(node->scalar("SELECT count(*) FROM mbsync.change") == "0");
  }
}

TEST_CASE("ordinary role: a row that is refused does not keep others from becoming one (C19, C21)", "[ordinary]") {
  const char* const schema =
      "CREATE TABLE person (id int PRIMARY KEY); CREATE TABLE membership (id int PRIMARY KEY, person int NOT NULL "
      "UNIQUE "
      "REFERENCES person, role text); CREATE TABLE fee (id int PRIMARY KEY, membership int NOT NULL REFERENCES "
      "membership, amount int)";
  Ordinary pair(schema);
  pair.a.execute("INSERT INTO person VALUES (1), (2), (3)");
  pair.exchange();
  pair.b.execute("ALTER TABLE membership ADD CHECK (role <> 'wrong')");
  pair.a.execute("INSERT INTO membership VALUES (10, 1, 'of a'), (11, 2, 'wrong'), (12, 3, 'wrong')");
  pair.b.execute(
      "INSERT INTO membership VALUES (20, 1, 'of b'), (21, 2, 'of b'); INSERT INTO fee VALUES (2, 20), (3, 21)");
  pair.b.pull(pair.a);
  CHECK(pair.b.scalar("SELECT string_agg(id::text, ' ' ORDER BY id) FROM membership") == "10 21");
  CHECK(pair.b.scalar("SELECT string_agg(membership::text, ' ' ORDER BY id) FROM fee") == "10 21");
  CHECK(pair.b.scalar("SELECT string_agg(key, ' ' ORDER BY key) FROM mbsync.parked") == "11 12");
  pair.a.execute("UPDATE membership SET role = 'right'");
  pair.exchange();
  pair.exchange();
  pair.check_alike({"membership", "fee"});
  CHECK(pair.b.scalar("SELECT string_agg(membership::text, ' ' ORDER BY id) FROM fee") == "10 11");
}

TEST_CASE("ordinary role: where nothing helps, the reason names the right that does (C21)", "[ordinary]") {
  Ordinary pair(
      "CREATE TABLE item (id int PRIMARY KEY, on_ boolean NOT NULL UNIQUE); CREATE TABLE line (id int PRIMARY KEY, "
      "item "
      "int NOT NULL REFERENCES item ON DELETE CASCADE)");
  pair.a.execute("INSERT INTO item VALUES (1, true), (2, false); INSERT INTO line VALUES (1, 1), (2, 2)");
  pair.exchange();
  pair.a.execute(
      "BEGIN; DELETE FROM item; INSERT INTO item VALUES (1, false), (2, true); INSERT INTO line VALUES (1, 1), (2, 2); "
      "COMMIT");
  pair.b.pull(pair.a);
  CHECK(pair.b.scalar("SELECT count(*) FROM line") == "2");
  CHECK_THAT(pair.b.scalar("SELECT string_agg(reason, ' ') FROM mbsync.parked"),
             Catch::Contains("GRANT SET ON PARAMETER session_replication_role TO \"ordinary\""));
  // Once the role has the right, the rows arrive.
  shared_cluster().execute("postgres", "ALTER ROLE ordinary SUPERUSER");
  pair.b.prepare();
  CHECK(wait_until(std::chrono::seconds(20), [&] {
    return pair.b.store().settle_unseen() && pair.b.scalar("SELECT count(*) FROM mbsync.parked") == "0";
  }));
  shared_cluster().execute("postgres", "ALTER ROLE ordinary NOSUPERUSER");
  CHECK(Pair::rows(pair.a, "item") == Pair::rows(pair.b, "item"));
}

TEST_CASE("ordinary role: what refers to a value, not to the key, follows it and is not lost (C19, C20)",
          "[ordinary]") {
  const std::string action = GENERATE(std::string("ON UPDATE CASCADE ON DELETE CASCADE"),
                                      std::string("ON UPDATE CASCADE ON DELETE RESTRICT"), std::string());
  CAPTURE(action);
  Ordinary pair(
      "CREATE TABLE item (id int PRIMARY KEY, sku text NOT NULL UNIQUE); CREATE TABLE line (id int PRIMARY "
      "KEY, sku text REFERENCES item (sku) " +
      action + ")");
  pair.a.execute(
      "INSERT INTO item VALUES (1, 'P'), (2, 'Q'), (3, 'R'); INSERT INTO line VALUES (1, 'P'), (2, 'Q'), (3, 'R'), (4, "
      "NULL)");
  pair.exchange();
  const std::string swap =
      "UPDATE item SET sku = 'S' WHERE id = 1; UPDATE item SET sku = 'P' WHERE id = 2; UPDATE item SET sku = 'Q' WHERE "
      "id = 1";
  // Without an action, lines keep their value, and are another item's.
  pair.arrives(action.empty() ? "UPDATE line SET sku = NULL; " + swap +
                                    "; UPDATE line SET sku = 'P' WHERE id = 1; "
                                    "UPDATE line SET sku = 'Q' WHERE id = 2; UPDATE line SET sku = 'R' WHERE id = 3"
                              : swap,
               "item");
  pair.check_alike({"line"});
  CHECK(
      pair.b.scalar("SELECT string_agg(l.id || ':' || i.id, ' ' ORDER BY l.id) FROM line l JOIN item i USING (sku)") ==
      (action.empty() ? "1:2 2:1 3:3" : "1:1 2:2 3:3"));
  pair.check_forgotten();
}

TEST_CASE("ordinary role: rows of a table that does not take part do not go with what they refer to (C19)",
          "[ordinary]") {
  Ordinary pair(
      "CREATE TABLE item (id int PRIMARY KEY, on_ boolean NOT NULL UNIQUE); CREATE TABLE line (item int NOT NULL "
      "REFERENCES item ON DELETE CASCADE)");
  pair.a.execute("INSERT INTO item VALUES (1, true), (2, false)");
  pair.exchange();
  pair.b.execute("INSERT INTO line VALUES (1), (2)");
  pair.a.execute("BEGIN; DELETE FROM item; INSERT INTO item VALUES (1, false), (2, true); COMMIT");
  pair.b.pull(pair.a);
  CHECK(pair.b.scalar("SELECT count(*) FROM line") == "2");
  CHECK(pair.b.scalar("SELECT count(*) FROM mbsync.parked") == "2");
}
