// What the application does while an answer is on its way or being applied: nothing of it is overwritten unnoticed, and
// no reference is left without its row.
#include <catch2/catch.hpp>
#include <thread>

#include "node_pair.h"
#include "sql_session.h"
#include "wait_until.h"

using namespace mbsync;
using namespace mbsync::test;

namespace {

constexpr const char* kSchema = R"sql(
CREATE TABLE parent (id int PRIMARY KEY, note text);
CREATE TABLE child (id int PRIMARY KEY, parent int REFERENCES parent ON DELETE CASCADE, note text);
)sql";

std::string dangling(PgNode& node) {
  return node.scalar("SELECT count(*) FROM child c WHERE NOT EXISTS (SELECT FROM parent p WHERE p.id = c.parent)");
}

const char* role() {
  static const bool made = [] {
    shared_cluster().execute("postgres", "CREATE ROLE races LOGIN");
    return true;
  }();
  (void)made;
  return "races";
}

}  // namespace

TEST_CASE("races: a parent that the application is about to delete") {
  const bool plain = GENERATE(false, true);
  const bool commits = GENERATE(false, true);
  INFO("with the right to bypass constraints: " << !plain << ", the delete commits: " << commits);
  PgNode a(shared_cluster(), fresh_database_name(), kSchema, plain ? role() : "postgres");
  PgNode b(shared_cluster(), fresh_database_name(), kSchema, plain ? role() : "postgres");
  a.prepare();
  b.prepare();
  a.execute("INSERT INTO parent VALUES (1), (2)");
  exchange({&a, &b});
  SqlSession deleting{b.url()};
  deleting.execute("BEGIN; DELETE FROM parent WHERE id = 1");
  a.execute("INSERT INTO child VALUES (1, 1, 'of a'), (2, 2, 'of a')");
  CHECK(b.pull(a).set_aside == 1);
  CHECK(b.scalar("SELECT string_agg(id::text, ',') FROM child") == "2");
  deleting.execute(commits ? "COMMIT" : "ROLLBACK");
  const auto settled = b.store().settle_unseen();
  REQUIRE(settled);
  CHECK(dangling(b) == "0");
  if (commits) {
    CHECK(b.scalar("SELECT count(*) FROM parent") == "1");
  }
  exchange({&a, &b});
  exchange({&a, &b});
  // The deletion cascades, and what it took along is on record.
  CHECK(b.scalar("SELECT count(*) FROM child") == (commits ? "1" : "2"));
  CHECK(a.scalar("SELECT count(*) FROM mbsync.conflict WHERE kind = 'reference'") == (commits ? "1" : "0"));
  for (const char* table : {"parent", "child"}) {
    CHECK(Pair::rows(a, table) == Pair::rows(b, table));
  }
}

TEST_CASE("races: a child that a cascading deletion did not know goes with it, and is on record (C20)") {
  const bool plain = GENERATE(false, true);
  INFO("with the right to bypass constraints: " << !plain);
  PgNode a(shared_cluster(), fresh_database_name(), kSchema, plain ? role() : "postgres");
  PgNode b(shared_cluster(), fresh_database_name(), kSchema, plain ? role() : "postgres");
  a.prepare();
  b.prepare();
  a.execute("INSERT INTO parent VALUES (1), (2); INSERT INTO child VALUES (1, 1), (2, 2)");
  exchange({&a, &b});
  a.execute("DELETE FROM parent");
  b.execute("INSERT INTO child VALUES (3, 1, 'of b')");
  b.pull(a);
  CHECK(dangling(b) == "0");
  exchange({&a, &b});
  exchange({&a, &b});
  CHECK(b.scalar("SELECT (SELECT count(*) FROM parent) + (SELECT count(*) FROM child)") == "0");
  CHECK(a.scalar("SELECT versions -> 0 -> 'values' ->> 'note' FROM mbsync.conflict WHERE kind = 'reference'") ==
        "of b");
  for (const char* table : {"parent", "child"}) {
    CHECK(Pair::rows(a, table) == Pair::rows(b, table));
  }
}

TEST_CASE("races: a key that the application inserts while the same key is being applied") {
  PgNode a(shared_cluster(), fresh_database_name(),
           "CREATE TABLE a_slow (id int PRIMARY KEY, v text); CREATE TABLE b_late (id int PRIMARY KEY, v text)");
  PgNode b(shared_cluster(), fresh_database_name(),
           "CREATE TABLE a_slow (id int PRIMARY KEY, v text); CREATE TABLE b_late (id int PRIMARY KEY, v text)");
  a.prepare();
  b.prepare();
  // Apply holds still in the first table, after it has sealed, until the application has written the second.
  b.execute(
      "CREATE FUNCTION wait_here() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_advisory_xact_lock(1); "
      "RETURN "
      "NEW; END $$; CREATE TRIGGER wait_here BEFORE INSERT ON a_slow FOR EACH STATEMENT EXECUTE FUNCTION wait_here(); "
      "ALTER TABLE a_slow ENABLE ALWAYS TRIGGER wait_here");
  a.execute("INSERT INTO a_slow VALUES (1, 'of a'); INSERT INTO b_late VALUES (1, 'of a')");
  SqlSession gate{b.url()};
  gate.execute("SELECT pg_advisory_lock(1)");
  std::optional<Result<ApplyOutcome>> outcome;
  std::thread pull([&] { outcome = b.try_pull(a); });
  const bool waits = wait_until(
      std::chrono::seconds{20},
      [&] {
        return shared_cluster().scalar(
                   "postgres",
                   "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted AND objid = 1") != "0" ||
               outcome.has_value();
      },
      std::chrono::milliseconds{1});
  CHECK(waits);
  b.execute("INSERT INTO b_late VALUES (1, 'of b')");
  gate.execute("SELECT pg_advisory_unlock(1)");
  pull.join();
  REQUIRE(outcome);
  if (!*outcome) {
    CHECK((*outcome).error().kind == ErrorKind::kTransient);
  }
  exchange({&a, &b});
  CHECK(Pair::rows(a, "b_late") == Pair::rows(b, "b_late"));
  CHECK(b.scalar("SELECT count(*) FROM mbsync.conflict_value WHERE table_name = 'b_late'") == "1");
  CHECK(b.scalar("SELECT v FROM b_late") == "of b");
  CHECK(a.scalar("SELECT losers -> 0 ->> 'value' FROM mbsync.conflict_value") == "of a");
}

TEST_CASE("races: a column that comes between a question and its answer") {
  const char* schema = "CREATE TABLE t (id int PRIMARY KEY, v text)";
  PgNode a(shared_cluster(), fresh_database_name(), schema);
  PgNode b(shared_cluster(), fresh_database_name(), schema);
  PgNode c(shared_cluster(), fresh_database_name(), schema);
  for (auto* node : {&a, &b, &c}) {
    node->prepare();
  }
  exchange({&a, &b, &c}, 3);
  auto session = b.store().open_pull("a");
  REQUIRE(session);
  const auto request = (*session)->ask(std::chrono::milliseconds{0});
  REQUIRE(request);
  b.execute("ALTER TABLE t ADD COLUMN fresh int");
  REQUIRE(b.store().refresh());
  a.execute("INSERT INTO t VALUES (1, 'of a')");
  REQUIRE(a.store().answer(*request, (*session)->sink()));
  const auto outcome = (*session)->apply();
  REQUIRE(outcome);
  CHECK(outcome->ask_again);
  CHECK(b.scalar("SELECT count(*) FROM t") == "0");
  for (auto* node : {&a, &c}) {
    node->execute("ALTER TABLE t ADD COLUMN fresh int");
    REQUIRE(node->store().refresh());
  }
  exchange({&a, &b, &c}, 2);
  b.execute("UPDATE t SET fresh = 1");
  exchange({&a, &b, &c}, 2);
  CHECK(Pair::rows(a, "t") == Pair::rows(b, "t"));
  CHECK(c.scalar("SELECT fresh FROM t") == "1");
}

TEST_CASE("races: a table that the application holds as a whole is named, and holds up nothing for long") {
  const char* schema = "CREATE TABLE t (id int PRIMARY KEY, v text)";
  PgNode a(shared_cluster(), fresh_database_name(), schema);
  PgNode b(shared_cluster(), fresh_database_name(), schema);
  a.prepare();
  b.prepare();
  a.execute("INSERT INTO t VALUES (1, 'of a')");
  SqlSession holder{a.url()};
  holder.execute("BEGIN; LOCK TABLE t");
  const auto refused = b.try_pull(a);
  REQUIRE_FALSE(refused);
  CHECK(refused.error().kind == ErrorKind::kTransient);
  CHECK_THAT(refused.error().message, Catch::Contains("public.t"));
  holder.execute("COMMIT");
  exchange({&a, &b});
  CHECK(b.scalar("SELECT v FROM t") == "of a");
}

TEST_CASE("races: a row that was removed with triggers switched off") {
  const char* schema = "CREATE TABLE t (id int PRIMARY KEY, v text, w text)";
  PgNode a(shared_cluster(), fresh_database_name(), schema);
  PgNode b(shared_cluster(), fresh_database_name(), schema);
  a.prepare();
  b.prepare();
  a.execute("INSERT INTO t VALUES (1, 'of a', 'x')");
  a.execute("SET session_replication_role = replica; DELETE FROM t");
  b.execute("INSERT INTO t VALUES (1, 'of b', 'y')");
  const auto outcome = a.pull(b);
  CHECK(outcome.missing == 1);
  CHECK(a.scalar("SELECT v FROM t") == "of b");
  exchange({&a, &b});
  CHECK(Pair::rows(a, "t") == Pair::rows(b, "t"));
}

TEST_CASE("races: the application's triggers run under its own search path") {
  PgNode a(shared_cluster(), fresh_database_name(), "", role());
  PgNode b(shared_cluster(), fresh_database_name(), "", role());
  const std::string schema = std::string("SET ROLE ") + role() + R"sql(; CREATE SCHEMA shop;
CREATE TABLE shop.stock (id int PRIMARY KEY, amount int); CREATE TABLE shop.audit (what text);
CREATE FUNCTION shop.note() RETURNS trigger LANGUAGE plpgsql AS
  $$ BEGIN INSERT INTO audit VALUES (twice(NEW.id)::text); RETURN NULL; END $$;
CREATE FUNCTION shop.twice(i int) RETURNS int LANGUAGE sql AS $$ SELECT i * 2 $$;
CREATE TRIGGER note AFTER INSERT ON shop.stock FOR EACH ROW EXECUTE FUNCTION shop.note();
)sql";
  for (auto* node : {&a, &b}) {
    node->execute(schema);
    node->execute("ALTER DATABASE \"" + node->database() + "\" SET search_path = shop, public");
    CHECK(node->prepare().application_triggers.size() == 1);
  }
  shared_cluster().execute(
      a.database(), std::string("SET ROLE ") + role() + "; SET search_path = shop; INSERT INTO stock VALUES (1, 5)");
  b.pull(a);
  CHECK(b.scalar("SELECT amount FROM shop.stock") == "5");
  CHECK(b.scalar("SELECT what FROM shop.audit") == "2");
}
