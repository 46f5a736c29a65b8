// Conflicts that people decide, on real databases: what the row and the record become, here and on the other nodes.
#include <catch2/catch.hpp>
#include <functional>
#include <nlohmann/json.hpp>
#include <set>

#include "decisions.h"
#include "node_pair.h"

using namespace mbsync;
using namespace mbsync::test;

namespace {

constexpr const char* kShop = R"sql(
CREATE TABLE "Customer" (id text PRIMARY KEY, email text UNIQUE, "fullName" text NOT NULL, balance numeric DEFAULT 0);
CREATE TABLE "Order" (id uuid PRIMARY KEY, "customerId" text NOT NULL REFERENCES "Customer" ON DELETE CASCADE,
                      total numeric(12,2));
)sql";

std::string record(PgNode& node) {
  return node.scalar(
      "SELECT string_agg(concat_ws(' ', id, is_open, resolution), E'\\n' ORDER BY id) FROM mbsync.conflict_record");
}

// A customer whose name was changed on both sides: b, the later one, won.
std::string conflict_of_names(Pair& pair, bool open = true) {
  pair.a.execute("INSERT INTO \"Customer\" VALUES ('c1', 'a@b.c', 'first')");
  pair.exchange();
  pair.a.execute("UPDATE \"Customer\" SET \"fullName\" = 'from a'");
  pair.b.execute("UPDATE \"Customer\" SET \"fullName\" = 'from b'");
  pair.exchange();
  auto id = only_conflict(pair.a, open);
  pair.exchange();
  return id;
}

}  // namespace

TEST_CASE("resolution: a version that is kept becomes the row, on every node, and can be undone on another",
          "[resolve]") {
  Pair pair(kShop);
  const auto id = conflict_of_names(pair);
  auto desk_a = desk_of(pair.a);
  auto desk_b = desk_of(pair.b);
  CHECK(must(desk_a->list({})).counts.open == 1);

  const auto report = must(desk_a->decide(id, keep_of(pair.a.database())));
  CHECK(report.row == "updated");
  REQUIRE(report.changed.size() == 1);
  CHECK(report.changed[0].column == "fullName");
  CHECK(report.changed[0].from == "from b");
  CHECK(report.changed[0].to == "from a");
  CHECK(must(desk_a->list({})).counts.resolved == 1);
  const auto resolution = must(desk_a->show(id)).conflict.summary.resolution;
  CHECK(resolution["how"] == "keep");
  CHECK(resolution["by"] == pair.a.database());
  CHECK(resolution["user"] == "postgres");
  CHECK(resolution["version"] == 1);
  CHECK(resolution["changed"] == nlohmann::json{{"fullName", {{"from", "from b"}, {"to", "from a"}}}});

  pair.exchange();
  CHECK(pair.b.scalar("SELECT \"fullName\" FROM \"Customer\"") == "from a");
  CHECK(record(pair.a) == record(pair.b));
  CHECK_THAT(refused(desk_b->decide(id, keep(2))), Catch::Contains("has been resolved already: keep by postgres on"));

  CHECK(must(desk_b->decide(id, undo())).row == "updated");
  pair.exchange();
  CHECK(pair.a.scalar("SELECT \"fullName\" FROM \"Customer\"") == "from b");
  CHECK(record(pair.a) == record(pair.b));
  CHECK(record(pair.a) == id + " t");
  CHECK_THAT(refused(desk_b->decide(id, undo())), Catch::Contains("nobody has resolved"));
  pair.check_forgotten();
  CHECK(pair.a.scalar("SELECT count(*) FROM mbsync.conflict_record") == "1");
}

TEST_CASE("resolution: accepting leaves the row as it is, and is a write that says so", "[resolve]") {
  Pair pair(kShop);
  const auto id = conflict_of_names(pair);
  auto desk = desk_of(pair.a);
  CHECK(must(desk->decide(id, accept())).row == "unchanged");
  CHECK(pair.a.scalar("SELECT string_agg(op::text, ' ') FROM mbsync.capture c JOIN mbsync.synced_table t ON t.id = "
                      "c.tab WHERE table_name = 'Customer'") == "T");
  CHECK(pair.a.scalar("SELECT is_open FROM mbsync.conflict") == "f");
  CHECK_THAT(refused(desk->decide(id, accept())), Catch::Contains("already"));
  CHECK(must(desk->decide(id, undo())).row == "unchanged");
  CHECK(pair.a.scalar("SELECT is_open FROM mbsync.conflict") == "t");

  pair.a.execute("UPDATE \"Customer\" SET \"fullName\" = 'meanwhile'");
  const auto report = must(desk->decide(id, accept()));
  REQUIRE(report.notes.size() == 1);
  CHECK_THAT(report.notes[0], Catch::Contains("fullName is 'meanwhile', the conflict left 'from b'"));
  CHECK(pair.a.scalar("SELECT \"fullName\" FROM \"Customer\"") == "meanwhile");
}

TEST_CASE("resolution: what the rules decided can be decided otherwise, and is theirs again after undo", "[resolve]") {
  Pair pair(kShop);
  const auto id = conflict_of_names(pair, false);
  auto desk = desk_of(pair.b);
  CHECK(must(desk->list({})).counts.decided == 1);
  must(desk->decide(id, keep(1)));
  CHECK(pair.b.scalar("SELECT \"fullName\" FROM \"Customer\"") == "from a");
  must(desk->decide(id, forced(set({{"fullName", "third"}}))));
  CHECK(pair.b.scalar("SELECT \"fullName\" FROM \"Customer\"") == "third");
  CHECK(pair.b.scalar("SELECT count(*) FROM mbsync.conflict_history WHERE event = 'resolution'") == "2");
  must(desk->decide(id, undo()));
  CHECK(pair.b.scalar("SELECT \"fullName\" FROM \"Customer\"") == "from a");
  must(desk->decide(id, undo()));
  CHECK(pair.b.scalar("SELECT \"fullName\" FROM \"Customer\"") == "from b");
  CHECK(record(pair.b) == id + " f");
}

TEST_CASE("resolution: a row that changed meanwhile is noticed", "[resolve]") {
  Pair pair(kShop);
  const auto id = conflict_of_names(pair);
  auto desk = desk_of(pair.a);
  pair.a.execute("UPDATE \"Customer\" SET email = 'other@column'");  // does not concern the conflict
  const auto seen = must(desk->show(id));
  REQUIRE(seen.writes.size() == 1);
  CHECK(seen.writes[0].columns == std::vector<std::string>{"email"});
  CHECK_FALSE(seen.writes[0].counter.has_value());
  CHECK(seen.row.exists);

  pair.a.execute("UPDATE \"Customer\" SET \"fullName\" = 'meanwhile'");
  CHECK_THAT(refused(desk->decide(id, keep(1))),
             Catch::Contains("has changed since: fullName is 'meanwhile', the conflict left 'from b'"));
  CHECK(pair.a.scalar("SELECT is_open FROM mbsync.conflict") == "t");
  // Whoever has been shown 'meanwhile' may go on from there; whoever was shown something else may not.
  auto by_eye = keep(1);
  by_eye.shown = seen.row;
  CHECK_THAT(refused(desk->decide(id, by_eye)), Catch::Contains("shown was 'from b'"));
  by_eye.shown = must(desk->show(id)).row;
  CHECK(must(desk->decide(id, by_eye)).row == "updated");

  pair.a.execute("UPDATE \"Customer\" SET \"fullName\" = 'and again'");
  CHECK_THAT(refused(desk->decide(id, undo())),
             Catch::Contains("fullName is 'and again', the resolution left 'from a'"));
  CHECK(must(desk->decide(id, forced(undo()))).notes.size() == 1);
  CHECK(pair.a.scalar("SELECT \"fullName\" FROM \"Customer\"") == "meanwhile");

  auto late = keep(2);
  late.stamp = must(desk->show(id)).conflict.summary.stamp();
  must(desk->decide(id, accept()));
  CHECK_THAT(refused(desk->decide(id, late)), Catch::Contains("has meanwhile been resolved: accept by"));
}

TEST_CASE("resolution: a row that was deleted on one side and changed on the other", "[resolve]") {
  Pair pair(kShop);
  pair.a.execute("INSERT INTO \"Customer\" VALUES ('c1', 'a@b.c', 'first', 12.50)");
  pair.exchange();
  pair.a.execute("DELETE FROM \"Customer\"");
  pair.b.execute("UPDATE \"Customer\" SET \"fullName\" = 'still here'");
  pair.exchange();
  const auto id = only_conflict(pair.a);
  auto desk = desk_of(pair.a);
  const auto details = must(desk->show(id));
  CHECK(details.conflict.summary.kind == "existence");
  REQUIRE(details.conflict.versions.size() == 2);
  CHECK(details.conflict.versions[0].deleted);

  SECTION("the deletion is kept, and undone") {
    CHECK(must(desk->decide(id, keep(1))).row == "deleted");
    pair.exchange();
    CHECK(pair.b.scalar("SELECT count(*) FROM \"Customer\"") == "0");
    CHECK(pair.b.scalar("SELECT resolution -> 'changed' -> 'balance' ->> 'from' FROM mbsync.conflict") == "12.50");
    CHECK(must(desk_of(pair.b)->decide(id, undo())).row == "inserted");
    pair.exchange();
    CHECK(pair.a.rows("\"Customer\"") == "(c1,a@b.c,\"still here\",12.50)");
    pair.check_forgotten();
  }
  SECTION("the deletion would take rows along that undo does not bring back") {
    pair.a.execute("INSERT INTO \"Order\" VALUES (gen_random_uuid(), 'c1', 1)");
    CHECK_THAT(refused(desk->decide(id, keep(1))), Catch::Contains("rows of public.\"Order\" refer to the row c1"));
    CHECK(must(desk->decide(id, forced(keep(1)))).row == "deleted");
    CHECK(pair.a.scalar("SELECT count(*) FROM \"Order\"") == "0");
  }
  SECTION("a row that has been written since is not deleted without force") {
    pair.b.execute("UPDATE \"Customer\" SET balance = 99");
    pair.exchange();
    CHECK_THAT(refused(desk->decide(id, keep(1))), Catch::Contains("wrote balance at"));
    CHECK(must(desk->decide(id, forced(keep(1)))).row == "deleted");
  }
  SECTION("the row is gone since: it comes back out of all versions") {
    pair.a.execute("DELETE FROM \"Customer\"");
    CHECK_THAT(refused(desk->decide(id, keep(2))), Catch::Contains("it has been deleted"));
    CHECK(must(desk->decide(id, forced(keep(2)))).row == "inserted");
    CHECK(pair.a.rows("\"Customer\"") == "(c1,a@b.c,\"still here\",12.50)");
    CHECK(must(desk->decide(id, undo())).row == "deleted");
    CHECK(pair.a.scalar("SELECT is_open FROM mbsync.conflict") == "t");
  }
}

TEST_CASE("resolution: what no version knows is asked for by name", "[resolve]") {
  Pair pair(kShop);
  const auto id = conflict_of_names(pair);
  auto desk = desk_of(pair.a);
  pair.a.execute("DELETE FROM \"Customer\"");
  const auto missing = desk->decide(id, forced(keep(1)));
  CHECK_THAT(refused(missing), Catch::Contains("no version of the conflict says what email, balance was") ||
                                   Catch::Contains("no version of the conflict says what balance, email was"));
  CHECK_THAT(missing.error().hint, Catch::Contains("mbsync resolve set " + id));
  const auto report = must(desk->decide(id, forced(set({{"email", Value()}, {"balance", "1.500"}}))));
  CHECK(report.row == "inserted");
  CHECK(pair.a.rows("\"Customer\"") == "(c1,,\"from b\",1.500)");
}

TEST_CASE("resolution: values of every kind pass through exactly, and so do composite keys", "[resolve]") {
  const char* schema = R"sql(
    CREATE TYPE mood AS ENUM ('so so', 'fine');
    CREATE DOMAIN positive AS int CHECK (VALUE > 0);
    CREATE TABLE t (a int, b text, v text, n numeric, s numeric(12,2), w timestamptz(3), f float8, d bytea, m mood, p positive,
                    l text[], j jsonb, c char(4), i int GENERATED ALWAYS AS IDENTITY, g text GENERATED ALWAYS AS (v || '!') STORED,
                    PRIMARY KEY (b, a));
  )sql";
  Pair pair(schema);
  pair.a.execute("INSERT INTO t (a, b) VALUES (-1, E'k \"1\", \\\\ (x)\\n')");
  pair.exchange();
  const std::string values =
      "UPDATE t SET v = E'it''s \"quoted\"\\n\\ttab \\\\ \\u00e4\\U0001F600', n = 1.2300, s = 7.10, w = '2026-01-31 "
      "10:00:00.123+02', f = 0.1::float8 + 0.2::float8, d = '\\x00ff', m = 'fine', p = 5, l = '{a,NULL,\"b,c\"}', j = "
      "'{\"k\": [1, null]}', c = 'x'";
  pair.a.execute(values);
  pair.b.execute(
      "UPDATE t SET v = '', n = NULL, s = 0, w = NULL, f = 1, d = '', m = 'so so', p = NULL, l = '{}', j = "
      "'null', c = 'yyyy'");
  const auto wanted = pair.a.rows("t");
  pair.exchange();
  const auto others = pair.a.rows("t");
  CHECK(others != wanted);
  const auto id = only_conflict(pair.a);
  auto desk = desk_of(pair.a);
  const auto report = must(desk->decide(id, keep(1)));
  CHECK(report.changed.size() == 8);  // three columns were NULL on b before, too
  CHECK(pair.a.rows("t") == wanted);
  pair.exchange();
  CHECK(pair.b.rows("t") == wanted);
  must(desk->decide(id, undo()));
  CHECK(pair.a.rows("t") == others);

  // Out of the record alone, key, identity and all.
  must(desk->decide(id, keep(1)));
  pair.a.execute("DELETE FROM t");
  CHECK_THAT(refused(desk->decide(id, forced(keep(1)))), Catch::Contains("says what n, w, p, i was"));
  const auto before = pair.b.scalar("SELECT i FROM t");
  CHECK(must(desk->decide(id, forced(set({{"i", before}, {"v", Value()}, {"n", "5.0"}, {"w", Value()}, {"p", "2"}}))))
            .row == "inserted");
  CHECK(pair.a.scalar("SELECT a || b || n || coalesce(v, 'NULL') || i || coalesce(g, 'NULL') FROM t") ==
        "-1k \"1\", \\ (x)\n5.0NULL" + before + "NULL");
}

TEST_CASE("resolution: set says what does not fit, and nothing is half done", "[resolve]") {
  Pair pair(kShop);
  const auto id = conflict_of_names(pair);
  pair.a.execute("INSERT INTO \"Customer\" VALUES ('c2', 'taken@b.c', 'second')");
  auto desk = desk_of(pair.a);
  const auto before = pair.a.rows("\"Customer\"");
  CHECK_THAT(refused(desk->decide(id, set({{"colour", "red"}}))), Catch::Contains("has no column 'colour'"));
  CHECK_THAT(refused(desk->decide(id, set({{"id", "c9"}}))), Catch::Contains("is part of the key"));
  CHECK_THAT(refused(desk->decide(id, set({{"balance", "much"}}))),
             Catch::Contains("invalid input syntax for type numeric"));
  const auto unique = desk->decide(id, set({{"fullName", "x"}, {"email", "taken@b.c"}}));
  CHECK_THAT(refused(unique), Catch::Contains("duplicate key value violates unique constraint"));
  CHECK(unique.error().kind == ErrorKind::kConflict);
  CHECK_THAT(unique.error().hint, Catch::Contains("another row has this value"));
  CHECK_THAT(refused(desk->decide(id, set({{"fullName", Value()}}))), Catch::Contains("not-null"));
  CHECK_THAT(refused(desk->decide(id, keep(7))), Catch::Contains("has no version 7"));
  CHECK_THAT(refused(desk->decide(id, keep_of("nobody"))), Catch::Contains("has no version by 'nobody'"));
  CHECK(pair.a.rows("\"Customer\"") == before);
  CHECK(pair.a.scalar("SELECT is_open FROM mbsync.conflict") == "t");

  CHECK(
      must(desk->decide(id, set({{"fullName", "O'Neill \"the\"\n\xc3\xa9"}, {"balance", "7.700"}, {"email", Value()}})))
          .row == "updated");
  CHECK(pair.a.scalar("SELECT \"fullName\" || balance || coalesce(email, 'NULL') FROM \"Customer\" WHERE id = 'c1'") ==
        "O'Neill \"the\"\n\xc3\xa9"
        "7.700NULL");
}

TEST_CASE("resolution: triggers of the application count as part of the write", "[resolve]") {
  const char* schema = R"sql(
    CREATE TABLE t (id int PRIMARY KEY, v text, touched int NOT NULL DEFAULT 0);
    CREATE TABLE log (id uuid PRIMARY KEY DEFAULT gen_random_uuid(), v text);
    CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
      IF NEW.v = 'never' THEN RETURN NULL; END IF;
      INSERT INTO log (v) VALUES (NEW.v); NEW.touched := OLD.touched + 1; RETURN NEW; END $$;
    CREATE TRIGGER touch BEFORE UPDATE ON t FOR EACH ROW EXECUTE FUNCTION touch();
  )sql";
  Pair pair(schema);
  pair.a.execute("INSERT INTO t VALUES (1, 'first')");
  pair.exchange();
  pair.a.execute("UPDATE t SET v = 'from a'");
  pair.b.execute("UPDATE t SET v = 'from b'");
  pair.exchange();
  const auto id = only_conflict(pair.a);
  auto desk = desk_of(pair.a);
  CHECK_THAT(refused(desk->decide(id, set({{"v", "never"}}))), Catch::Contains("the write had no effect"));
  CHECK(must(desk->decide(id, keep(1))).changed.size() == 2);
  CHECK(pair.a.scalar("SELECT v || touched FROM t") == "from a2");
}

TEST_CASE("resolution: a row that somebody holds is not waited for without end", "[resolve]") {
  Pair pair(kShop);
  const auto id = conflict_of_names(pair);
  SqlSession application(pair.a.url());
  application.execute("BEGIN; UPDATE \"Customer\" SET balance = 1");
  auto desk = desk_of(pair.a);
  const auto held = desk->decide(id, keep(1));
  CHECK_THAT(refused(held), Catch::Contains("is held by another transaction"));
  CHECK(held.error().kind == ErrorKind::kTransient);
  application.execute("ROLLBACK");
  CHECK(must(desk->decide(id, keep(1))).row == "updated");
}

TEST_CASE("resolution: conflicts are found by the beginning of their id, and by filters", "[resolve]") {
  Pair pair(kShop);
  pair.a.execute("INSERT INTO \"Customer\" SELECT 'c' || i, i || '@x', 'n' FROM generate_series(1, 30) i");
  pair.exchange();
  pair.a.execute("UPDATE \"Customer\" SET \"fullName\" = 'a'");
  pair.b.execute("UPDATE \"Customer\" SET \"fullName\" = 'b'");
  pair.exchange();
  pair.a.execute("UPDATE mbsync.conflict_record SET is_open = true WHERE key IN ('c1', 'c2')");
  pair.a.execute(
      "UPDATE mbsync.conflict_record SET id = ('abcd' || substr(id::text, 5))::uuid WHERE key IN ('c3', 'c4')");
  auto desk = desk_of(pair.a);
  const auto count = [&](const std::function<void(ConflictFilter&)>& narrow) {
    ConflictFilter filter;
    narrow(filter);
    return must(desk->list(filter)).conflicts.size();
  };
  CHECK(count([](auto&) {}) == 30);
  CHECK(count([](auto& f) { f.states = {ConflictState::kOpen}; }) == 2);
  CHECK(count([](auto& f) { f.states = {ConflictState::kDecided}; }) == 28);
  CHECK(count([](auto& f) { f.states = {ConflictState::kResolved, ConflictState::kOpen}; }) == 2);
  CHECK(count([](auto& f) { f.table = "Cust*"; }) == 30);
  CHECK(count([](auto& f) { f.table = "public.C?stomer"; }) == 30);
  CHECK(count([](auto& f) { f.table = "cust%"; }) == 0);
  CHECK(count([](auto& f) { f.key = "c7"; }) == 1);
  CHECK(count([](auto& f) { f.rule = "last-writer-wins"; }) == 30);
  CHECK(count([](auto& f) { f.rule = "max"; }) == 0);
  CHECK(count([](auto& f) { f.kind = "values"; }) == 30);
  CHECK(count([&](auto& f) { f.node = pair.b.database(); }) == 30);
  CHECK(count([](auto& f) { f.node = "0123456789abcdef"; }) == 0);
  CHECK(count([](auto& f) { f.since = "1h"; }) == 30);
  CHECK(count([](auto& f) { f.since = "2100-01-01"; }) == 0);
  ConflictFilter some;
  some.limit = 7;
  const auto list = must(desk->list(some));
  CHECK(list.conflicts.size() == 7);
  CHECK(list.more);
  CHECK(list.counts.open == 2);
  CHECK(list.counts.decided == 28);
  some = {};
  some.since = "yesteryear";
  CHECK(desk->list(some).error().kind == ErrorKind::kConfig);
  some = {};
  some.node = "nobody";
  CHECK_THAT(desk->list(some).error().hint, Catch::Contains(pair.a.database()));

  const auto id = pair.a.scalar("SELECT id FROM mbsync.conflict WHERE key = 'c3'");
  CHECK(must(desk->find(id)) == id);
  CHECK(desk->find("abc").error().kind == ErrorKind::kConfig);
  CHECK(desk->find("xyzz").error().kind == ErrorKind::kConfig);
  CHECK_THAT(desk->find("ABCD").error().message, Catch::Contains("2 conflicts begin with 'ABCD'"));
  CHECK(desk->find("00000000-0000-0000-0000-000000000000").error().kind == ErrorKind::kNotFound);
  CHECK(desk->show("00000000-0000-0000-0000-000000000000").error().kind == ErrorKind::kNotFound);
}

TEST_CASE("resolution: a decision closes the lines that have some of the versions only", "[resolve]") {
  PgNode a(shared_cluster(), fresh_database_name(), kShop);
  PgNode b(shared_cluster(), fresh_database_name(), kShop);
  PgNode c(shared_cluster(), fresh_database_name(), kShop);
  for (auto* node : {&a, &b, &c}) {
    node->prepare();
  }
  a.execute("INSERT INTO \"Customer\" VALUES ('c1', 'a@b.c', 'first')");
  exchange({&a, &b, &c});
  a.execute("UPDATE \"Customer\" SET \"fullName\" = 'from a'");
  b.execute("UPDATE \"Customer\" SET \"fullName\" = 'from b'");
  c.execute("UPDATE \"Customer\" SET \"fullName\" = 'from c'");
  a.pull(b);
  const auto narrow = a.scalar("SELECT id FROM mbsync.conflict");
  a.pull(c);
  exchange({&a, &b, &c});
  a.execute("UPDATE mbsync.conflict_record SET is_open = true");
  exchange({&a, &b, &c});
  REQUIRE(a.scalar("SELECT count(*) FROM mbsync.conflict_record") != "1");
  const auto id = only_conflict(a, false);
  auto desk = desk_of(a);
  CHECK_THAT(desk->find(narrow).error().message, Catch::Contains("is part of " + id));
  CHECK(must(desk->show(id)).conflict.versions.size() == 3);
  must(desk->decide(id, keep(1)));
  CHECK(a.scalar("SELECT count(*) FROM mbsync.conflict_record WHERE is_open") == "0");
  exchange({&a, &b, &c});
  for (auto* node : {&b, &c}) {
    CHECK(record(*node) == record(a));
    CHECK(node->scalar("SELECT \"fullName\" FROM \"Customer\"") == "from a");
  }
  must(desk_of(c)->decide(id, undo()));
  exchange({&a, &b, &c});
  CHECK(
      a.scalar("SELECT count(*) FILTER (WHERE NOT is_open) || ' ' || count(resolution) FROM mbsync.conflict_record") ==
      "0 0");
  CHECK(a.scalar("SELECT \"fullName\" FROM \"Customer\"") == "from c");
}

TEST_CASE("resolution: two people decide one conflict at the same time; the later one stands, on both nodes",
          "[resolve]") {
  Pair pair(kShop);
  const auto id = conflict_of_names(pair);
  must(desk_of(pair.a)->decide(id, keep(1)));
  must(desk_of(pair.b)->decide(id, set({{"fullName", "both"}})));
  pair.exchange();
  CHECK(pair.a.scalar("SELECT \"fullName\" FROM \"Customer\"") == "both");
  CHECK(pair.a.rows("\"Customer\"") == pair.b.rows("\"Customer\""));
  CHECK(record(pair.a) == record(pair.b));
  CHECK(pair.a.scalar("SELECT resolution ->> 'by' FROM mbsync.conflict WHERE id = '" + id + "'") == pair.b.database());
  // Of the application's row, that is a conflict like any other; mbsync's own tables have none.
  CHECK(pair.a.scalar("SELECT string_agg(table_name, ',') FROM mbsync.conflict_record") == "Customer,Customer");
  // What stood here before the other's decision came is in the new conflict; undo puts back what b's user had seen.
  must(desk_of(pair.a)->decide(id, undo()));
  pair.exchange();
  CHECK(pair.b.scalar("SELECT \"fullName\" FROM \"Customer\"") == "from b");
  CHECK(record(pair.a) == record(pair.b));
  pair.check_forgotten();
}

TEST_CASE("resolution: three nodes in a line decide one conflict, and all end with one decision", "[resolve]") {
  PgNode a(shared_cluster(), fresh_database_name(), kShop);
  PgNode b(shared_cluster(), fresh_database_name(), kShop);
  PgNode c(shared_cluster(), fresh_database_name(), kShop);
  for (auto* node : {&a, &b, &c}) {
    node->prepare();
  }
  const auto line = [&] {
    for (int round = 0; round < 3; ++round) {
      b.pull(a);
      b.pull(c);
      a.pull(b);
      c.pull(b);
    }
  };
  a.execute("INSERT INTO \"Customer\" VALUES ('c1', 'a@b.c', 'first')");
  line();
  a.execute("UPDATE \"Customer\" SET \"fullName\" = 'from a'");
  c.execute("UPDATE \"Customer\" SET \"fullName\" = 'from c'");
  line();
  const auto id = only_conflict(b);
  line();
  must(desk_of(c)->decide(id, keep(1)));
  must(desk_of(a)->decide(id, accept()));
  must(desk_of(b)->decide(id, set({{"fullName", "from b"}})));
  line();
  for (auto* node : {&a, &b, &c}) {
    CHECK(node->scalar("SELECT \"fullName\" FROM \"Customer\"") == "from b");
    CHECK(node->scalar("SELECT resolution ->> 'how' FROM mbsync.conflict WHERE id = '" + id + "'") == "set");
    CHECK(record(*node) == record(a));
    CHECK(node->scalar("SELECT count(*) FROM mbsync.conflict_record WHERE schema_name = 'mbsync'") == "0");
  }
}

TEST_CASE("resolution: the application's views, its function, and the rights they need", "[resolve]") {
  Pair pair(kShop);
  const auto id = conflict_of_names(pair);
  CHECK(pair.b.scalar(
            "SELECT concat_ws('|', column_name, rule, standing_value, standing_node, standing_version, other_value, "
            "other_node, other_version, other_deleted) FROM mbsync.open_conflict") ==
        "fullName|last-writer-wins|from b|" + pair.b.database() + "|2|from a|" + pair.a.database() + "|1|f");
  const auto role = "admin_page_" + pair.a.database();
  pair.a.execute("CREATE ROLE " + role);
  pair.a.execute("GRANT SELECT, UPDATE ON \"Customer\" TO " + role);
  const auto close = "SET ROLE " + role +
                     "; UPDATE \"Customer\" SET \"fullName\" = 'by hand' WHERE id = 'c1'; SELECT "
                     "mbsync.close_conflict('" +
                     id + "', 'asked Ada')";
  CHECK_THROWS_WITH(pair.a.execute(close), Catch::Contains("permission denied"));
  pair.a.execute("GRANT USAGE ON SCHEMA mbsync TO " + role +
                 "; GRANT SELECT ON mbsync.node, mbsync.conflict_record, mbsync.conflict, mbsync.conflict_value, "
                 "mbsync.open_conflict, mbsync.conflict_history TO " +
                 role + "; GRANT UPDATE (is_open, resolution) ON mbsync.conflict_record TO " + role);
  CHECK(pair.a.scalar("SET ROLE " + role + "; SELECT count(*) FROM mbsync.open_conflict") == "1");
  CHECK(pair.a.scalar(close) == "t");
  CHECK(pair.a.scalar("SELECT mbsync.close_conflict('" + id + "')") == "f");
  CHECK_THROWS_WITH(pair.a.execute("SELECT mbsync.close_conflict(gen_random_uuid())"),
                    Catch::Contains("there is no conflict"));
  pair.exchange();
  CHECK(pair.b.scalar("SELECT count(*) FROM mbsync.open_conflict") == "0");
  CHECK(pair.b.scalar("SELECT string_agg(concat_ws('|', event, how, node, details ->> 'note'), ' ' ORDER BY at) FROM "
                      "mbsync.conflict_history WHERE key = 'c1'") == "conflict|" + pair.a.database() + ", " +
                                                                         pair.b.database() + " resolution|close|" +
                                                                         pair.a.database() + "|asked Ada");
  CHECK(must(desk_of(pair.b)->decide(id, undo())).row == "unchanged");
  CHECK(pair.b.scalar("SELECT \"fullName\" FROM \"Customer\"") == "by hand");
  CHECK(pair.b.scalar("SELECT count(*) FROM mbsync.open_conflict") == "1");
  pair.a.execute("DROP OWNED BY " + role + "; DROP ROLE " + role);
}

TEST_CASE("resolution: a conflict whose table is gone can still be closed", "[resolve]") {
  Pair pair(kShop);
  const auto id = conflict_of_names(pair);
  pair.a.execute("DROP TABLE \"Order\"; DROP TABLE \"Customer\"");
  auto desk = desk_of(pair.a);
  CHECK_THAT(must(desk->show(id)).row.unreadable, Catch::Contains("no table public.Customer"));
  CHECK_THAT(refused(desk->decide(id, keep(1))), Catch::Contains("no table public.Customer"));
  CHECK(must(desk->decide(id, accept())).row == "unchanged");
}

TEST_CASE("record: entries that are old enough go, open ones and those that a peer may lack stay", "[resolve]") {
  Pair pair(kShop);
  pair.a.execute("INSERT INTO \"Customer\" SELECT 'c' || i, i || '@x', 'n' FROM generate_series(1, 1200) i");
  pair.exchange();
  pair.a.execute("UPDATE \"Customer\" SET \"fullName\" = 'a'");
  pair.b.execute("UPDATE \"Customer\" SET \"fullName\" = 'b'");
  pair.exchange();
  REQUIRE(pair.a.scalar("SELECT count(*) FROM mbsync.conflict_record") == "1200");
  pair.a.execute("UPDATE mbsync.conflict_record SET is_open = true WHERE key = 'c1'");
  pair.exchange();
  auto desk = desk_of(pair.a);
  must(desk->decide(pair.a.scalar("SELECT id FROM mbsync.conflict WHERE key = 'c2'"), keep(1)));
  pair.exchange();
  const auto age = [](PgNode& node, const std::string& which) {
    node.execute(
        "SET mbsync.applying = 'on'; UPDATE mbsync.conflict_record SET recorded_at = now() - interval '91 days' "
        "WHERE " +
        which);
  };
  age(pair.a, "key <> 'c3'");
  // The writes of the record are live until both are known to have them.
  CHECK(must(pair.a.store().forget_conflicts(90)) == 0);
  pair.check_forgotten();
  CHECK(must(pair.a.store().forget_conflicts(100)) == 0);
  std::int64_t removed = 0;
  int rounds = 0;
  for (std::int64_t some = 1; some > 0; ++rounds) {
    some = must(pair.a.store().forget_conflicts(90));
    removed += some;
  }
  CHECK(removed == 1197);
  CHECK(rounds == 4);  // 500 at a time
  CHECK(pair.a.scalar("SELECT string_agg(key, ' ' ORDER BY key) FROM mbsync.conflict_record") == "c1 c2 c3");
  // A resolution counts from when it was made.
  pair.a.execute(
      "SET mbsync.applying = 'on'; UPDATE mbsync.conflict_record SET resolution = jsonb_set(resolution, '{at}', "
      "'\"2020-01-31T10:00:00Z\"') WHERE key = 'c2'");
  CHECK(must(pair.a.store().forget_conflicts(90)) == 1);
  // Nothing of this travels, and nobody misses anything.
  CHECK(pair.a.scalar("SELECT count(*) FROM mbsync.capture") == "0");
  pair.check_forgotten();
  CHECK(pair.b.scalar("SELECT count(*) FROM mbsync.conflict_record") == "1200");
  CHECK(pair.a.scalar("SELECT count(*) FROM mbsync.conflict_record") == "2");
  // One that is decided anew elsewhere comes back whole.
  must(desk_of(pair.b)->decide(pair.b.scalar("SELECT id FROM mbsync.conflict WHERE key = 'c9'"), keep(1)));
  pair.exchange();
  CHECK(pair.a.scalar("SELECT versions = '[]' FROM mbsync.conflict WHERE key = 'c9'") == "f");
  CHECK(pair.a.scalar("SELECT \"fullName\" FROM \"Customer\" WHERE id = 'c9'") == "a");
}

TEST_CASE("status: how many conflicts are open, and how many people have decided", "[resolve]") {
  Pair pair(kShop);
  const auto id = conflict_of_names(pair);
  const auto url = must(parse_database_url(pair.a.url()));
  auto status = must(PgStore::read_status(url));
  CHECK(status.conflicts == 1);
  CHECK(status.open_conflicts == 1);
  must(desk_of(pair.a)->decide(id, accept()));
  status = must(PgStore::read_status(url));
  CHECK(status.conflicts == 1);
  CHECK(status.open_conflicts == 0);
  CHECK(status.resolved_conflicts == 1);
}
