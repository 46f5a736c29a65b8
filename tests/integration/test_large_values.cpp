// Rows with large values that are written on both sides: what stands, what is kept and what is recorded must be exact,
// though the process that judges them never holds the values (stand_ins.h).
#include <catch2/catch.hpp>

#include "node_pair.h"
#include "sql_session.h"

using namespace mbsync;
using namespace mbsync::test;

namespace {

constexpr const char* kSchema = R"sql(
CREATE DOMAIN prose AS text CHECK (VALUE <> '');
CREATE TYPE label AS (lang text, words text);
CREATE TABLE product (id text PRIMARY KEY, name text, price numeric(12,2), image bytea, doc json, words text, tags text[],
                      prose prose, label label, at timestamptz);
-- Every sign that some text form has to escape, and enough of it.
CREATE FUNCTION long_text(seed text) RETURNS text LANGUAGE sql AS
  $$ SELECT string_agg(md5(seed || i) || E' "\'\\ \t\r\n,(){}\x1a ä😀', '') FROM generate_series(1, 3000) i $$;
CREATE FUNCTION bytes(seed text) RETURNS bytea LANGUAGE sql AS
  $$ SELECT string_agg(sha512((seed || i)::bytea), '') FROM generate_series(1, 3000) i $$;
)sql";

std::string row(const std::string& id, const std::string& seed) {
  return "INSERT INTO product SELECT '" + id + "', 'name', 1, bytes('" + seed + "'), to_json(long_text('" + seed +
         "j')), long_text('" + seed + "w'), ARRAY[long_text('" + seed + "t'), NULL, ''], long_text('" + seed +
         "p'), ROW('de', long_text('" + seed + "l'))::label, now();";
}
std::string change(const std::string& id, const std::string& seed) {
  return "UPDATE product SET image = bytes('" + seed + "'), doc = to_json(long_text('" + seed +
         "j')), words = E'\\x1a' || long_text('" + seed + "w'), tags = ARRAY[long_text('" + seed +
         "t')], prose = long_text('" + seed + "p'), label = ROW('en', long_text('" + seed + "l')) WHERE id = '" + id +
         "';";
}

void check_same(PgNode& a, PgNode& b) {
  CHECK(Pair::rows(a, "product") == Pair::rows(b, "product"));
}

/// Row texts are megabytes; a failed comparison need not print them.
bool same_conflicts(PgNode& a, PgNode& b) {
  const char* all =
      "SELECT md5(coalesce(string_agg(id::text || column_name || winner || losers, ',' ORDER BY id), '')) FROM "
      "mbsync.conflict_value";
  return a.scalar(all) == b.scalar(all);
}

/// Whether the values kept as losers are just those that node's row had.
std::string losing_columns(PgNode& node, const std::string& id, const std::string& seed) {
  return node.scalar(
      std::string(kPinned) +
      "SELECT string_agg(column_name, ' ' ORDER BY column_name) FROM mbsync.conflict_value c WHERE key = '" + id +
      "' AND losers -> 0 ->> 'value' = CASE column_name WHEN 'image' THEN bytes('" + seed +
      "')::text WHEN 'doc' THEN to_json(long_text('" + seed + "j'))::text WHEN 'words' THEN E'\\x1a' || long_text('" +
      seed + "w') WHEN 'tags' THEN ARRAY[long_text('" + seed + "t')]::text WHEN 'prose' THEN long_text('" + seed +
      "p') WHEN 'label' THEN ROW('en', long_text('" + seed + "l'))::text END");
}

constexpr const char* kLargeColumns = "doc image label prose tags words";

}  // namespace

TEST_CASE("large values: changes of other columns on both sides leave them alone") {
  Pair pair(kSchema);
  pair.a.execute(row("p1", "x") + row("p2", "y"));
  pair.exchange();
  pair.a.execute("UPDATE product SET name = 'of a'");
  pair.b.execute("UPDATE product SET price = 2");
  pair.exchange();
  check_same(pair.a, pair.b);
  CHECK(pair.a.scalar("SELECT count(*) FROM product WHERE name = 'of a' AND price = 2 AND image = bytes(CASE id WHEN "
                      "'p1' THEN 'x' ELSE 'y' END)") == "2");
  CHECK(pair.a.scalar("SELECT count(*) FROM mbsync.conflict_value") == "0");
  // The same large values written on both sides are no conflict either.
  pair.a.execute(change("p1", "same"));
  pair.b.execute(change("p1", "same"));
  pair.exchange();
  CHECK(pair.a.scalar("SELECT count(*) FROM mbsync.conflict_value") == "0");
  pair.check_forgotten();
}

TEST_CASE("large values: conflicts keep the loser exactly, on every node, through a third one and a third write") {
  Pair pair(kSchema);
  PgNode c(shared_cluster(), fresh_database_name(), kSchema);
  c.prepare();
  exchange({&pair.a, &pair.b, &c}, 3);
  pair.a.execute(row("p1", "x") + row("p2", "y"));
  exchange({&pair.a, &pair.b, &c}, 2);
  pair.a.execute(change("p1", "of a"));
  pair.b.execute(change("p1", "of b"));
  pair.a.pull(pair.b);
  CHECK(losing_columns(pair.a, "p1", "of a") == kLargeColumns);
  c.pull(pair.a);  // gets both writes, one of them with its values beside the row
  check_same(pair.a, c);
  CHECK(losing_columns(c, "p1", "of a") == kLargeColumns);
  c.execute("UPDATE product SET at = now() WHERE id = 'p1'");
  pair.b.pull(pair.a);
  pair.b.execute(change("p1", "of b again"));
  exchange({&pair.a, &pair.b, &c}, 3);
  check_same(pair.a, pair.b);
  check_same(pair.a, c);
  CHECK(same_conflicts(pair.a, pair.b));
  CHECK(pair.a.scalar("SELECT words = E'\\x1a' || long_text('of b againw') FROM product WHERE id = 'p1'") == "t");
}

TEST_CASE("large values: a row that comes back after a delete has what it had") {
  Pair pair(kSchema);
  pair.a.execute(row("p1", "x") + row("p2", "y"));
  pair.exchange();
  const auto before = pair.a.scalar(
      "SELECT md5((p.image, p.doc, p.words, p.tags, p.prose, p.label)::text) FROM product p WHERE id = 'p1'");
  pair.a.execute("DELETE FROM product WHERE id = 'p1'");
  pair.b.execute("UPDATE product SET name = 'still here' WHERE id = 'p1'");
  pair.exchange();
  check_same(pair.a, pair.b);
  CHECK(pair.a.scalar("SELECT md5((p.image, p.doc, p.words, p.tags, p.prose, p.label)::text) FROM product p WHERE id = "
                      "'p1'") == before);
  // Two deletes of rows that differ.
  pair.a.execute(change("p2", "of a") + "DELETE FROM product WHERE id = 'p2'");
  pair.b.execute(change("p2", "of b") + "DELETE FROM product WHERE id = 'p2'");
  pair.exchange();
  check_same(pair.a, pair.b);
  pair.check_forgotten();
}

TEST_CASE("large values: a newcomer's rows give way and are kept, rows set aside arrive") {
  Pair pair(kSchema);
  pair.a.execute(row("p1", "x"));
  pair.exchange();
  PgNode c(shared_cluster(), fresh_database_name(), kSchema);
  c.execute(row("p1", "x") + change("p1", "stale") + row("p2", "only c"));
  c.prepare();
  exchange({&c, &pair.a, &pair.b}, 3);
  check_same(pair.a, c);
  check_same(pair.b, c);
  CHECK(losing_columns(c, "p1", "stale") == kLargeColumns);

  SqlSession holder{pair.a.url()};
  holder.execute("BEGIN; UPDATE product SET name = 'held' WHERE id = 'p1'; " + change("p2", "held"));
  pair.b.execute(change("p1", "of b") + change("p2", "of b"));
  CHECK(pair.a.pull(pair.b).set_aside == 2);
  holder.execute("COMMIT");
  REQUIRE(pair.a.store().settle_unseen());
  exchange({&c, &pair.a, &pair.b}, 3);
  check_same(pair.a, pair.b);
  check_same(pair.a, c);
  CHECK(pair.a.scalar("SELECT name FROM product WHERE id = 'p1' AND image = bytes('of b')") == "held");
  CHECK(losing_columns(pair.b, "p2", "held") + losing_columns(pair.b, "p2", "of b") == kLargeColumns);
  CHECK(same_conflicts(pair.a, pair.b));
}
