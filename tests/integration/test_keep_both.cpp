// Rows that were made under one key and are both kept (CONFLICTS.md C15).
#include <fmt/format.h>

#include <catch2/catch.hpp>

#include "database_url.h"
#include "node_pair.h"
#include "policies.h"
#include "policy_desk.h"

using namespace mbsync;
using namespace mbsync::test;

TEST_CASE("keep_both: every row is there, however few keys there are (C15)", "[keep_both]") {
  Pair pair("CREATE TABLE log (id smallint PRIMARY KEY, entry text)");
  pair.exchange();
  publish_to({&pair.a, &pair.b}, "[[table]]\nname = 'log'\nkeep_both = true\n");
  pair.a.execute("INSERT INTO log SELECT i, 'a' || i FROM generate_series(1, 400) i");
  pair.b.execute("INSERT INTO log SELECT i, 'b' || i FROM generate_series(1, 400) i");
  pair.a.pull(pair.b);
  pair.b.pull(pair.a);
  pair.exchange();
  for (auto* node : {&pair.a, &pair.b}) {
    CHECK(node->scalar("SELECT count(*) || ' ' || count(DISTINCT entry) FROM log") == "800 800");
  }
  CHECK(pair.a.rows("log") == pair.b.rows("log"));
  // The record says under which key the other one is.
  CHECK(pair.a.scalar("SELECT count(*) FROM mbsync.conflict c, jsonb_array_elements(c.versions) v JOIN log l ON l.id = "
                      "(v ->> 'key')::smallint AND l.entry = v -> 'values' ->> 'entry'") == "400");
}

TEST_CASE("keep_both: both apply it at the same time, and the other key is the same one (C15)", "[keep_both]") {
  Pair pair("CREATE TABLE log (id smallint PRIMARY KEY, entry text)");
  pair.exchange();
  publish_to({&pair.a, &pair.b}, "[[table]]\nname = 'log'\nkeep_both = true\n");
  pair.a.execute("INSERT INTO log SELECT i, 'a' || i FROM generate_series(1, 400) i");
  pair.b.execute("INSERT INTO log SELECT i, 'b' || i FROM generate_series(1, 400) i");
  // Each has the other's answer before it applies its own.
  auto at_a = pair.a.store().open_pull("b");
  auto at_b = pair.b.store().open_pull("a");
  REQUIRE(at_a);
  REQUIRE(at_b);
  const auto asked_by_a = (*at_a)->ask(std::chrono::milliseconds{0});
  const auto asked_by_b = (*at_b)->ask(std::chrono::milliseconds{0});
  REQUIRE(asked_by_a);
  REQUIRE(asked_by_b);
  REQUIRE(pair.b.store().answer(*asked_by_a, (*at_a)->sink()));
  REQUIRE(pair.a.store().answer(*asked_by_b, (*at_b)->sink()));
  REQUIRE((*at_a)->apply());
  REQUIRE((*at_b)->apply());
  CHECK(pair.a.rows("log") == pair.b.rows("log"));
  pair.exchange();
  CHECK(pair.a.scalar("SELECT count(*) || ' ' || count(DISTINCT entry) FROM log") == "800 800");
  CHECK(pair.a.rows("log") == pair.b.rows("log"));
}

TEST_CASE("keep_both: what is written to the row that stays does not bring the other one back into it (C15)",
          "[keep_both]") {
  Three three("CREATE TABLE log (id int PRIMARY KEY, entry text UNIQUE, note text)");
  publish_to({&three.a, &three.b, &three.c}, "[[table]]\nname = 'log'\nkeep_both = true\n");
  // The clash of the unique values comes with it: the row that was first keeps its own.
  three.a.execute("INSERT INTO log VALUES (1, 'x', 'of a')");
  three.b.execute("INSERT INTO log VALUES (1, 'x', 'of b')");
  three.a.pull(three.b);
  CHECK(three.a.scalar("SELECT concat(entry, ' ', note) FROM log WHERE id = 1") == "x of a");
  three.a.execute("UPDATE log SET entry = 'y' WHERE id = 1");
  three.c.pull(three.a);
  three.b.pull(three.c);
  three.exchange();
  for (auto* node : {&three.a, &three.b, &three.c}) {
    CHECK(node->scalar("SELECT string_agg(note || ':' || left(entry, 2), ' ' ORDER BY note) FROM log") ==
          "of a:y of b:x~");
    CHECK(node->scalar("SELECT concat(entry, ' ', note) FROM log WHERE id = 1") == "y of a");
  }
}

TEST_CASE("keep_both: the record says so although the same writes were judged before, under no policy (C11, C15)",
          "[keep_both]") {
  Pair pair("CREATE TABLE log (id int PRIMARY KEY, entry text, note text)");
  pair.exchange();
  pair.b.execute("INSERT INTO log VALUES (1, 'of b', 'x')");
  pair.a.execute("INSERT INTO log VALUES (1, 'of a', 'y')");
  pair.a.pull(pair.b);
  CHECK(pair.a.rows("log") == "(1,\"of a\",y)");
  CHECK(pair.a.scalar("SELECT count(*) FROM mbsync.conflict") == "1");
  publish_to({&pair.b}, "[[table]]\nname = 'log'\nkeep_both = true\n");
  pair.b.execute("UPDATE log SET note = 'z'");
  pair.b.pull(pair.a);
  pair.exchange();
  for (auto* node : {&pair.a, &pair.b}) {
    CHECK(node->scalar("SELECT string_agg(entry || ' ' || note, ', ' ORDER BY entry) FROM log") == "of a y, of b z");
    CHECK(node->scalar("SELECT l.entry FROM mbsync.conflict_record c, jsonb_array_elements(c.versions) v JOIN log l ON "
                       "l.id = (v ->> 'key')::int") == "of a");
  }
}

TEST_CASE("keep_both: a row that its database refuses under its new key waits, and all others arrive (C15, C21)",
          "[keep_both]") {
  const std::string schema = "CREATE TABLE log (id int PRIMARY KEY, note text)";
  PgNode a(shared_cluster(), fresh_database_name(), schema);
  PgNode b(shared_cluster(), fresh_database_name(), schema + "; ALTER TABLE log ADD CHECK (note <> 'refused')");
  a.prepare();
  b.prepare();
  exchange({&a, &b}, 2);
  publish_to({&a, &b}, "[[table]]\nname = 'log'\nkeep_both = true\n");
  b.execute("INSERT INTO log VALUES (1, 'of b')");
  a.execute("INSERT INTO log VALUES (1, 'refused'), (2, 'other')");
  b.pull(a);
  CHECK(b.scalar("SELECT string_agg(note, ', ' ORDER BY id) FROM log") == "of b, other");
  CHECK(b.scalar("SELECT string_agg(key, ' ') FROM mbsync.parked") == "1");
  exchange({&a, &b}, 2);
  CHECK(a.scalar("SELECT string_agg(note, ' ' ORDER BY note) FROM log") == "of b other refused");
  b.execute("ALTER TABLE log DROP CONSTRAINT log_note_check");
  try_parked_again(b);
  exchange({&a, &b}, 2);
  CHECK(a.rows("log") == b.rows("log"));
  CHECK(b.scalar("SELECT count(*) FROM mbsync.parked") == "0");
}

TEST_CASE("keep_both: a text key with a limit gets another that fits (C15)", "[keep_both]") {
  const auto key = GENERATE(as<std::string>(), "ABCDEF", "ABCDEFGHIJ");
  Three three("CREATE TABLE log (id varchar(10) PRIMARY KEY, entry text)");
  publish_to({&three.a, &three.b, &three.c}, "[[table]]\nname = 'log'\nkeep_both = true\n");
  three.a.execute(fmt::format("INSERT INTO log VALUES ('{}', 'of a')", key));
  three.b.execute(fmt::format("INSERT INTO log VALUES ('{}', 'of b')", key));
  three.a.pull(three.b);
  three.c.pull(three.a);
  three.exchange();
  const auto other = three.c.scalar("SELECT id FROM log WHERE entry = 'of b'");
  CHECK(other.starts_with("A~"));
  CHECK(other.size() == 10);
  for (auto* node : {&three.a, &three.b, &three.c}) {
    CHECK(node->scalar("SELECT string_agg(id || entry, ' ' ORDER BY entry) FROM log") ==
          fmt::format("{}of a {}of b", key, other));
  }
  three.b.execute("DELETE FROM log WHERE entry = 'of b'");
  three.exchange();
  CHECK(three.c.scalar("SELECT string_agg(entry, ' ') FROM log") == "of a");
}

TEST_CASE("keep_both: too short a key is none for it, and the check says so (C15)", "[keep_both]") {
  Pair pair("CREATE TABLE log (id varchar(9) PRIMARY KEY, entry text)");
  auto desk = PolicyDesk::open(*parse_database_url(pair.a.url()));
  REQUIRE(desk);
  const auto check = (*desk)->check("[[table]]\nname = 'log'\nkeep_both = true\n");
  REQUIRE(check);
  REQUIRE(check->faults.size() == 1);
  CHECK_THAT(check->faults[0].message, Catch::Contains("public.log has a key of type character varying(9)"));
}

TEST_CASE("keep_both: two nodes have each kept the row that the other set apart (C15)", "[keep_both]") {
  Three three("CREATE TABLE log (id int PRIMARY KEY, entry text)");
  publish_to({&three.a, &three.b, &three.c}, "[[table]]\nname = 'log'\nkeep_both = true\n");
  three.b.execute("INSERT INTO log VALUES (1, 'first')");
  three.c.pull(three.b);
  three.b.execute("DELETE FROM log");
  three.a.execute("INSERT INTO log VALUES (1, 'second')");
  three.b.execute("INSERT INTO log VALUES (1, 'third')");
  // B does not count what it has deleted, so the second entry stays there; at A it is set apart, since C tells of the
  // first.
  three.b.pull(three.a);
  three.a.pull(three.c);
  CHECK(three.b.scalar("SELECT entry FROM log WHERE id = 1") == "second");
  CHECK(three.a.scalar("SELECT entry FROM log WHERE id = 1") == "first");
  three.exchange();
  for (auto* node : {&three.a, &three.b, &three.c}) {
    CHECK(node->rows("log") == three.a.rows("log"));
    CHECK(node->scalar("SELECT entry FROM log WHERE id = 1") == "second");
    CHECK(node->scalar("SELECT string_agg(DISTINCT entry, ' ') FROM log") == "second third");
  }
}

TEST_CASE("keep_both: a newcomer's row is kept beside the fleet's (C9, C15)", "[keep_both]") {
  const std::string schema = "CREATE TABLE log (id int PRIMARY KEY, entry text)";
  Three three(schema);
  publish_to({&three.a, &three.b, &three.c}, "[[table]]\nname = 'log'\nkeep_both = true\n");
  three.a.execute("INSERT INTO log VALUES (1, 'of the fleet'), (2, 'same')");
  three.exchange();
  PgNode newcomer(shared_cluster(), fresh_database_name(), schema);
  newcomer.prepare();
  newcomer.execute("INSERT INTO log VALUES (1, 'of the newcomer'), (2, 'same')");
  newcomer.pull(three.a);
  REQUIRE(newcomer.store().refresh());
  exchange({&three.a, &three.b, &three.c, &newcomer});
  for (auto* node : {&three.a, &three.b, &three.c, &newcomer}) {
    CHECK(node->scalar("SELECT string_agg(entry, ', ' ORDER BY entry) FROM log") ==
          "of the fleet, of the newcomer, same");
    CHECK(node->scalar("SELECT entry FROM log WHERE id = 1") == "of the fleet");
  }
}

TEST_CASE("keep_both: also of rows from before a column came (C15)", "[keep_both]") {
  Pair pair("CREATE TABLE log (id int PRIMARY KEY, entry text)");
  pair.exchange();
  publish_to({&pair.a, &pair.b}, "[[table]]\nname = 'log'\nkeep_both = true\n");
  pair.a.execute("INSERT INTO log VALUES (1, 'a')");
  pair.b.execute("INSERT INTO log VALUES (1, 'b')");
  for (auto* node : {&pair.a, &pair.b}) {
    REQUIRE(node->store().seal_pending());
    node->execute("ALTER TABLE log ADD COLUMN g text NOT NULL DEFAULT 'new'");
    REQUIRE(node->store().refresh());
  }
  pair.exchange();
  for (auto* node : {&pair.a, &pair.b}) {
    CHECK(node->scalar("SELECT string_agg(entry || g, ' ' ORDER BY entry) FROM log") == "anew bnew");
  }
  CHECK(pair.a.rows("log") == pair.b.rows("log"));
}
