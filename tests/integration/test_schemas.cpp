// What real schemas contain: names, generated and identity columns, partitions, rules, triggers, deferrable keys,
// rights.
#include <catch2/catch.hpp>
#include <string>
#include <vector>

#include "node_pair.h"
#include "sql_session.h"

using namespace mbsync;
using namespace mbsync::test;

namespace {

void check_same(Pair& nodes, const std::vector<std::string>& tables) {
  for (const auto& table : tables) {
    INFO(table);
    CHECK(Pair::rows(nodes.a, table) == Pair::rows(nodes.b, table));
  }
}

std::string repeated(std::string_view text, std::size_t times) {
  std::string all;
  for (std::size_t i = 0; i < times; ++i) {
    all += text;
  }
  return all;
}

std::string reason(const PrepareReport& report, const std::string& table) {
  for (const auto& [name, why] : report.refused) {
    if (name == table) {
      return why;
    }
  }
  return "";
}

bool contains(std::string_view text, std::string_view part) {
  return text.find(part) != std::string_view::npos;
}

}  // namespace

TEST_CASE("names with capitals, quotes, spaces, signs, reserved words, 63 bytes, in any schema", "[schemas]") {
  const std::string longest(63, 'x');
  const std::string longest_umlauts = repeated("ä", 31) + "y";
  const std::vector<std::string> names = {"Capital",
                                          "select",
                                          "with space",
                                          "quo\"\"te",
                                          "it's",
                                          "per%I cent%",
                                          "$capture$",
                                          "$rows$",
                                          "dot.dot",
                                          "back\\slash",
                                          "semi;colon--",
                                          "日本 👩‍👧",
                                          "n",
                                          "o",
                                          "t",
                                          "s",
                                          "r",
                                          "key",
                                          "new_rows",
                                          "m_key",
                                          "v1",
                                          longest,
                                          longest_umlauts};
  std::string schema = "CREATE SCHEMA \"My \"\"Schema\"\"\"; CREATE SCHEMA \"per%s\"; ";
  std::string columns;
  std::vector<std::string> tables;
  for (const auto& name : names) {
    columns += ", \"" + name + "\" text";
    // A key and a value column of that name each, in tables of that name.
    tables.push_back("\"My \"\"Schema\"\"\".\"" + name + "\"");
    schema += "CREATE TABLE " + tables.back() + " (\"" + name + "\" text, n2 int, \"id 2\" int, PRIMARY KEY (\"" +
              name + "\", \"id 2\")); ";
  }
  tables.emplace_back("\"per%s\".\"all of them\"");
  schema += "CREATE TABLE \"per%s\".\"all of them\" (\"the key\" int PRIMARY KEY" + columns + ")";
  Pair nodes(schema);

  std::string insert;
  for (std::size_t i = 0; i < names.size(); ++i) {
    insert += "INSERT INTO " + tables[i] + " VALUES ('x', 1, 1), ('y', 2, 2), ('z', 3, 3); ";
  }
  insert += "INSERT INTO \"per%s\".\"all of them\" (\"the key\") VALUES (1), (2)";
  nodes.a.execute(insert);
  nodes.b.pull(nodes.a);
  check_same(nodes, tables);
  CHECK(nodes.b.scalar("SELECT count(*) FROM " + tables[0]) == "3");

  std::string change;
  for (std::size_t i = 0; i < names.size(); ++i) {
    change += "UPDATE " + tables[i] + " SET \"" + names[i] + "\" = 'changed' WHERE n2 = 1; DELETE FROM " + tables[i] +
              " WHERE n2 = 2; UPDATE \"per%s\".\"all of them\" SET \"" + names[i] + "\" = " + literal(names[i]) + "; ";
  }
  nodes.b.execute(change);
  nodes.a.pull(nodes.b);
  check_same(nodes, tables);
  CHECK(nodes.a.scalar("SELECT count(*) FROM " + tables[0]) == "2");

  std::string truncate = "TRUNCATE \"per%s\".\"all of them\"";
  std::string against;
  for (std::size_t i = 0; i < names.size(); ++i) {
    truncate += ", " + tables[i];
    against += "UPDATE " + tables[i] + " SET n2 = 9 WHERE n2 = 3; ";
  }
  nodes.a.execute(truncate);
  nodes.b.execute(against);
  nodes.exchange();
  check_same(nodes, tables);
  for (std::size_t i = 0; i < names.size(); ++i) {
    INFO(names[i]);
    CHECK(nodes.a.scalar("SELECT string_agg(\"" + names[i] + "\", ',') FROM " + tables[i]) == "z");
  }
  nodes.check_forgotten();
}

TEST_CASE("generated, identity and serial columns, dropped ones, many, few and none", "[schemas]") {
  std::string many = "CREATE TABLE wide200 (id int PRIMARY KEY";
  for (int i = 0; i < 200; ++i) {
    many += ", c" + std::to_string(i) + (i % 3 == 0 ? " text" : i % 3 == 1 ? " int" : " numeric");
  }
  many += "); CREATE TABLE wide1100 (id int PRIMARY KEY";
  for (int i = 0; i < 1100; ++i) {
    many += ", c" + std::to_string(i) + " int";
  }
  const std::string schema = many + R"sql();
CREATE TABLE computed (id int PRIMARY KEY, twice int GENERATED ALWAYS AS (n * 2) STORED, n int,
                       label text GENERATED ALWAYS AS ('n=' || n::int4) STORED);
CREATE TABLE always (id int GENERATED ALWAYS AS IDENTITY (START WITH 10) PRIMARY KEY, v text);
CREATE TABLE by_default (id int GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY, v text);
CREATE TABLE counted (code text PRIMARY KEY, number int GENERATED ALWAYS AS IDENTITY, v text);
CREATE TABLE serials (id bigserial PRIMARY KEY, v text DEFAULT 'default', at timestamptz DEFAULT now());
CREATE TABLE only_key (a int, b text, PRIMARY KEY (a, b));
CREATE TABLE gaps (x1 int, id int, x2 text, "kept one" text, x3 int, v int, PRIMARY KEY (id));
ALTER TABLE gaps DROP COLUMN x1, DROP COLUMN x2, DROP COLUMN x3;
CREATE TABLE uniquely (code text NOT NULL, v int, other int);
CREATE UNIQUE INDEX ON uniquely (code) INCLUDE (v);
CREATE TABLE nothing_in_it ();
CREATE TABLE no_key (v int);
CREATE TABLE nullable_unique (v int UNIQUE);
CREATE TABLE partly (v int NOT NULL); CREATE UNIQUE INDEX ON partly (v) WHERE v > 0;
CREATE TABLE by_expression (v text NOT NULL); CREATE UNIQUE INDEX ON by_expression (lower(v));
CREATE UNLOGGED TABLE unlogged (id int PRIMARY KEY);
CREATE TABLE parent (id int PRIMARY KEY); CREATE TABLE child (extra int) INHERITS (parent);
CREATE MATERIALIZED VIEW seen AS SELECT * FROM computed; CREATE VIEW looked AS SELECT * FROM computed;
)sql";
  PgNode probe(shared_cluster(), fresh_database_name(), schema);
  const auto report = probe.prepare();
  CHECK(contains(reason(report, "public.no_key"), "no primary key"));
  CHECK(contains(reason(report, "public.nullable_unique"), "no primary key"));
  CHECK(contains(reason(report, "public.partly"), "no primary key"));
  CHECK(contains(reason(report, "public.by_expression"), "no primary key"));
  CHECK(contains(reason(report, "public.nothing_in_it"), "no primary key"));
  CHECK(contains(reason(report, "public.unlogged"), "UNLOGGED"));
  CHECK(contains(reason(report, "public.parent"), "inheritance"));
  CHECK(contains(reason(report, "public.child"), "inheritance"));
  CHECK(report.refused.size() == 8);
  CHECK(report.tables == 10);

  Pair nodes(schema);
  const std::vector<std::string> tables = {"computed", "always", "by_default", "counted", "serials",
                                           "only_key", "gaps",   "uniquely",   "wide200", "wide1100"};
  nodes.a.execute(R"sql(
INSERT INTO computed (id, n) SELECT i, i FROM generate_series(1, 5) i;
INSERT INTO always (v) VALUES ('a'), ('b'), ('c');
INSERT INTO by_default (v) VALUES ('a'), ('b'), ('c');
INSERT INTO counted (code, v) VALUES ('x', 1), ('y', 2), ('z', 3);
INSERT INTO serials (v) VALUES (DEFAULT), ('b'), (NULL);
INSERT INTO only_key VALUES (1, ''), (1, 'x'), (2, 'y');
INSERT INTO gaps VALUES (1, 'kept', 1), (2, NULL, 2), (3, '', NULL);
INSERT INTO uniquely VALUES ('a', 1, 1), ('b', NULL, NULL), ('c', 3, 3);
INSERT INTO wide200 (id, c0, c1, c2) VALUES (1, 'a', 1, 1.0), (2, 'b', 2, 2.0), (3, 'c', 3, 3);
INSERT INTO wide1100 (id, c0, c1099) VALUES (1, 1, 1), (2, 2, 2), (3, 3, 3);
INSERT INTO no_key VALUES (1);
)sql");
  nodes.exchange();
  check_same(nodes, tables);
  CHECK(nodes.b.scalar("SELECT label || twice FROM computed WHERE id = 4") == "n=48");
  CHECK(nodes.b.scalar("SELECT string_agg(id::text, ',' ORDER BY id) FROM always") == "10,11,12");
  CHECK(nodes.b.scalar("SELECT count(*) FROM no_key") == "0");

  nodes.b.execute(R"sql(
UPDATE computed SET n = 100 WHERE id = 1; DELETE FROM computed WHERE id = 2;
ALTER TABLE always ALTER id RESTART WITH 100;
UPDATE always SET v = 'changed' WHERE id = 10; DELETE FROM always WHERE id = 11; UPDATE always SET id = DEFAULT WHERE id = 12;
UPDATE by_default SET id = 77 WHERE id = 1; DELETE FROM by_default WHERE id = 2;
UPDATE counted SET v = 'changed' WHERE code = 'x'; UPDATE counted SET number = DEFAULT WHERE code = 'z';
UPDATE serials SET v = 'changed', at = 'infinity' WHERE id = 1; DELETE FROM serials WHERE id = 2;
DELETE FROM only_key WHERE b = 'x'; UPDATE only_key SET a = 3 WHERE a = 2;
UPDATE gaps SET v = 9, "kept one" = NULL WHERE id = 1; DELETE FROM gaps WHERE id = 2;
UPDATE uniquely SET v = 9 WHERE code = 'a'; UPDATE uniquely SET code = 'B' WHERE code = 'b'; DELETE FROM uniquely WHERE code = 'c';
UPDATE wide200 SET c199 = 7, c0 = NULL WHERE id = 1; DELETE FROM wide200 WHERE id = 2;
UPDATE wide1100 SET c1099 = 7, c0 = NULL WHERE id = 1; DELETE FROM wide1100 WHERE id = 2;
)sql");
  // The same key again with another identity, which UPDATE could not set on the other side.
  nodes.b.execute(
      "BEGIN; DELETE FROM counted WHERE code = 'y'; INSERT INTO counted (code, v) VALUES ('y', 'anew'); COMMIT");
  nodes.a.pull(nodes.b);
  check_same(nodes, tables);

  // Different columns of one wide row on both sides, and a tombstone of one.
  nodes.a.execute(
      "UPDATE wide1100 SET c5 = 5, c1000 = 5 WHERE id = 1; DELETE FROM wide1100 WHERE id = 3; "
      "UPDATE computed SET n = 6 WHERE id = 3; DELETE FROM computed WHERE id = 4; DELETE FROM gaps");
  nodes.b.execute(
      "UPDATE wide1100 SET c6 = 6, c1001 = 6 WHERE id IN (1, 3); UPDATE computed SET n = 7 WHERE id IN (3, 4); "
      "UPDATE gaps SET v = 11 WHERE id = 3");
  nodes.exchange();
  check_same(nodes, tables);
  CHECK(nodes.a.scalar("SELECT c5 + c6 + c1000 + c1001 FROM wide1100 WHERE id = 1") == "22");
  CHECK(nodes.a.scalar("SELECT c1099 FROM wide1100 WHERE id = 3") == "3");
  CHECK(nodes.a.scalar("SELECT label FROM computed WHERE id = 4") == "n=7");
  nodes.check_forgotten();
}

TEST_CASE("partitioned tables: any way of writing, rows that move, TRUNCATE, partitions that come later", "[schemas]") {
  const char* schema = R"sql(
CREATE SCHEMA "Parts";
CREATE TABLE "Sale" (id int, region text, at date, v text, PRIMARY KEY (id, region, at)) PARTITION BY LIST (region);
CREATE TABLE "Parts"."North %s" PARTITION OF "Sale" FOR VALUES IN ('n') PARTITION BY RANGE (at);
CREATE TABLE "Parts".north_old PARTITION OF "Parts"."North %s" FOR VALUES FROM (MINVALUE) TO ('2020-01-01');
CREATE TABLE "Parts".north_new PARTITION OF "Parts"."North %s" FOR VALUES FROM ('2020-01-01') TO (MAXVALUE);
CREATE TABLE "Parts".other (v text, gone int, at date NOT NULL, id int NOT NULL, region text NOT NULL);
ALTER TABLE "Parts".other DROP COLUMN gone;
ALTER TABLE "Sale" ATTACH PARTITION "Parts".other DEFAULT;
CREATE TABLE hashed (id uuid PRIMARY KEY, v int) PARTITION BY HASH (id);
CREATE TABLE hashed_0 PARTITION OF hashed FOR VALUES WITH (MODULUS 2, REMAINDER 0);
CREATE TABLE hashed_1 PARTITION OF hashed FOR VALUES WITH (MODULUS 2, REMAINDER 1);
)sql";
  Pair nodes(schema);
  const std::vector<std::string> tables = {"\"Sale\"", "\"Parts\".north_old", "\"Parts\".north_new", "\"Parts\".other",
                                           "hashed"};
  nodes.a.execute(R"sql(
INSERT INTO "Sale" SELECT i, CASE i % 3 WHEN 0 THEN 'n' WHEN 1 THEN 's' ELSE 'w' END, date '2019-12-25' + i, 'v' || i
  FROM generate_series(1, 30) i;
INSERT INTO "Parts".north_old VALUES (100, 'n', '1999-01-01', 'direct');
INSERT INTO "Parts".other (v, at, id, region) VALUES ('direct', 'infinity', 101, 'x');
INSERT INTO "Parts"."North %s" VALUES (102, 'n', '2024-01-01', 'middle');
INSERT INTO hashed SELECT md5(i::text)::uuid, i FROM generate_series(1, 20) i;
)sql");
  nodes.b.pull(nodes.a);
  check_same(nodes, tables);
  CHECK(nodes.b.scalar("SELECT count(*) FROM \"Sale\"") == "33");

  // The key moves with the partition; one update moves some rows and leaves others.
  nodes.b.execute(R"sql(
UPDATE "Sale" SET region = 'n', at = '2010-01-01' WHERE id IN (1, 2, 3, 6);
UPDATE "Sale" SET v = 'parent' WHERE id = 9;
UPDATE "Parts".north_old SET v = 'leaf' WHERE id = 100;
UPDATE "Parts"."North %s" SET at = '2024-02-02' WHERE id = 100;
DELETE FROM "Parts".other WHERE id = 101; DELETE FROM "Sale" WHERE id = 12;
UPDATE hashed SET v = -v WHERE v < 5; UPDATE hashed SET id = md5(v::text || 'x')::uuid WHERE v > 15;
)sql");
  nodes.a.pull(nodes.b);
  check_same(nodes, tables);
  CHECK(nodes.a.scalar("SELECT tableoid::regclass::text || v FROM \"Sale\" WHERE id = 100") ==
        "\"Parts\".north_newleaf");

  // A row that moves without changing its key: the partition key is no part of the unique index's order, so only where
  // it is in the key can it move; concurrent changes of one such row on both sides.
  nodes.a.execute("UPDATE \"Sale\" SET v = 'a wins?' WHERE id = 9; TRUNCATE \"Parts\".north_old");
  nodes.b.execute("UPDATE \"Parts\".north_old SET v = 'still here' WHERE id = 2");
  nodes.exchange();
  check_same(nodes, tables);
  CHECK(nodes.a.scalar("SELECT string_agg(id::text, ',') FROM \"Parts\".north_old") == "2");

  // A partition that exists on one side before the other: rows reach it, or the default partition.
  const std::string attach =
      "CREATE TABLE west (LIKE \"Sale\" INCLUDING ALL); INSERT INTO west VALUES (200, 'west', '2024-01-01', 'was "
      "there'); "
      "ALTER TABLE \"Sale\" ATTACH PARTITION west FOR VALUES IN ('west')";
  nodes.a.execute(attach);
  REQUIRE(nodes.a.store().refresh());
  nodes.a.execute(
      "INSERT INTO west VALUES (201, 'west', '2024-01-01', 'leaf'); "
      "INSERT INTO \"Sale\" VALUES (202, 'west', '2024-01-01', 'parent'); "
      "UPDATE \"Sale\" SET region = 'west' WHERE id = 9");
  nodes.exchange();
  CHECK(
      nodes.b.scalar("SELECT string_agg(id::text, ',' ORDER BY id) FROM \"Sale\" WHERE region = 'west' AND id > 200") ==
      "201,202");
  nodes.a.execute("TRUNCATE west");
  nodes.exchange();
  CHECK(nodes.b.scalar("SELECT count(*) FROM \"Sale\" WHERE region = 'west' AND id > 200") == "0");
  nodes.a.execute("TRUNCATE \"Sale\"");
  nodes.exchange();
  check_same(nodes, tables);
  CHECK(nodes.b.scalar("SELECT count(*) FROM \"Sale\"") == "0");
  nodes.check_forgotten();
}

TEST_CASE("deferrable keys, every kind of unique, exclusion, references of every shape", "[schemas]") {
  const char* schema = R"sql(
CREATE TABLE deferred_key (id int, v text, pos int, PRIMARY KEY (id) DEFERRABLE INITIALLY DEFERRED,
                           UNIQUE (pos) DEFERRABLE INITIALLY IMMEDIATE);
CREATE TABLE uniques (id int PRIMARY KEY, a int, b text, c int, UNIQUE NULLS NOT DISTINCT (a),
                      during int4range, EXCLUDE USING gist (during WITH &&));
CREATE UNIQUE INDEX ON uniques (b) WHERE c > 0;
CREATE UNIQUE INDEX ON uniques (lower(b), c);
CREATE TABLE tree (id int PRIMARY KEY, up int NOT NULL REFERENCES tree ON DELETE CASCADE, alt int REFERENCES tree ON DELETE SET NULL);
CREATE TABLE hen (id int PRIMARY KEY, egg int UNIQUE);
CREATE TABLE egg (id int PRIMARY KEY, hen int UNIQUE REFERENCES hen ON DELETE SET NULL);
ALTER TABLE hen ADD FOREIGN KEY (egg) REFERENCES egg ON DELETE SET NULL;
CREATE TABLE product (id int PRIMARY KEY, sku text NOT NULL UNIQUE, "Lot" int, at date, UNIQUE ("Lot", at));
CREATE TABLE item (id int PRIMARY KEY, sku text REFERENCES product (sku) ON UPDATE CASCADE ON DELETE RESTRICT, "Lot" int, at date,
                   FOREIGN KEY ("Lot", at) REFERENCES product ("Lot", at) ON UPDATE CASCADE ON DELETE CASCADE);
CREATE TABLE note (id int PRIMARY KEY, item int NOT NULL REFERENCES item ON DELETE CASCADE ON UPDATE CASCADE);
)sql";
  Pair nodes(schema);
  const std::vector<std::string> tables = {"deferred_key", "uniques", "tree", "hen", "egg", "product", "item", "note"};
  nodes.a.execute(R"sql(
INSERT INTO deferred_key SELECT i, 'v' || i, i FROM generate_series(1, 10) i;
INSERT INTO uniques VALUES (1, NULL, 'x', 1, '[1,5)'), (2, 1, 'x', 0, '[5,9)'), (3, 2, 'X', 5, 'empty'), (4, 3, NULL, NULL, NULL);
INSERT INTO tree VALUES (1, 1), (2, 1), (3, 2), (4, 3);
INSERT INTO hen VALUES (1, NULL), (2, NULL); INSERT INTO egg VALUES (1, 1), (2, 2); UPDATE hen SET egg = id;
INSERT INTO product VALUES (1, 'p1', 1, '2024-01-01'), (2, 'p2', 2, '0001-01-01 BC');
INSERT INTO item VALUES (1, 'p1', 1, '2024-01-01'), (2, 'p2', NULL, NULL), (3, NULL, 2, '0001-01-01 BC');
INSERT INTO note VALUES (1, 1), (2, 2), (3, 3);
)sql");
  nodes.b.pull(nodes.a);
  check_same(nodes, tables);

  // Values of unique columns and keys in a circle, which only a deferred check or a detour allows.
  nodes.b.execute(R"sql(
UPDATE deferred_key SET id = 11 - id;
BEGIN; SET CONSTRAINTS ALL DEFERRED; UPDATE deferred_key SET pos = pos % 10 + 1; COMMIT;
BEGIN; UPDATE uniques SET a = 99 WHERE id = 1; UPDATE uniques SET a = NULL WHERE id = 2; UPDATE uniques SET a = 1 WHERE id = 1; COMMIT;
BEGIN; UPDATE uniques SET during = NULL; UPDATE uniques SET during = '[1,5)' WHERE id = 2; UPDATE uniques SET during = '[5,9)' WHERE id = 1; COMMIT;
BEGIN; UPDATE uniques SET c = 0, b = 'y' WHERE id = 1; UPDATE uniques SET c = 1 WHERE id = 2; COMMIT;
BEGIN; UPDATE egg SET hen = NULL; UPDATE hen SET egg = NULL; UPDATE egg SET hen = 3 - id; UPDATE hen SET egg = 3 - id; COMMIT;
UPDATE product SET sku = sku || '!'; UPDATE product SET "Lot" = "Lot" + 10;
UPDATE item SET id = id + 100;
)sql");
  nodes.a.pull(nodes.b);
  check_same(nodes, tables);
  CHECK(nodes.a.scalar("SELECT string_agg(item::text, ',' ORDER BY id) FROM note") == "101,102,103");
  CHECK(nodes.a.scalar("SELECT egg FROM hen WHERE id = 1") == "2");

  // Cascades are writes like any others.
  nodes.a.execute(
      "DELETE FROM tree WHERE id = 2; DELETE FROM hen WHERE id = 1; DELETE FROM item WHERE sku = 'p2!'; "
      "DELETE FROM product WHERE id = 2; INSERT INTO deferred_key VALUES (50, 'new', 50); "
      "DELETE FROM deferred_key WHERE id = 3; UPDATE deferred_key SET id = 60 WHERE id = 4");
  nodes.b.pull(nodes.a);
  check_same(nodes, tables);
  CHECK(nodes.b.scalar("SELECT string_agg(id::text, ',') FROM tree") == "1");
  CHECK(nodes.b.scalar("SELECT string_agg(id::text, ',') FROM note") == "1");
  nodes.check_forgotten();
  CHECK(nodes.a.scalar("SELECT count(*) FROM mbsync.conflict_value") == "0");
}

TEST_CASE("rules and triggers of the application act where the application writes, and only there", "[schemas]") {
  const char* schema = R"sql(
CREATE TABLE log (id uuid PRIMARY KEY DEFAULT gen_random_uuid(), what text);
CREATE TABLE also (id int PRIMARY KEY, v text);
CREATE RULE noted AS ON INSERT TO also DO ALSO INSERT INTO log (what) VALUES ('also ' || NEW.id);
CREATE TABLE on_update (id int PRIMARY KEY, v text);
CREATE RULE noted AS ON UPDATE TO on_update DO ALSO INSERT INTO log (what) VALUES ('update ' || NEW.id);
CREATE TABLE elsewhere (id int PRIMARY KEY, v text);
CREATE TABLE instead (id int PRIMARY KEY, v text);
CREATE RULE redirected AS ON INSERT TO instead WHERE NEW.id > 100 DO INSTEAD INSERT INTO elsewhere VALUES (NEW.id, NEW.v);
CREATE RULE kept AS ON DELETE TO instead WHERE OLD.v = 'keep' DO INSTEAD NOTHING;
CREATE TABLE shaped (id int PRIMARY KEY, v text, changes int DEFAULT 0);
CREATE FUNCTION shape() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
  IF NEW.v = 'skip' THEN RETURN NULL; END IF;
  NEW.changes := coalesce(NEW.changes, 0) + 1; NEW.v := upper(NEW.v); RETURN NEW; END $$;
CREATE TRIGGER shape BEFORE INSERT OR UPDATE ON shaped FOR EACH ROW EXECUTE FUNCTION shape();
CREATE TABLE stock (id int PRIMARY KEY, amount int); CREATE TABLE booking (id int PRIMARY KEY, stock int, amount int);
CREATE FUNCTION book() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
  UPDATE stock SET amount = amount - NEW.amount WHERE id = NEW.stock; RETURN NULL; END $$;
CREATE CONSTRAINT TRIGGER book AFTER INSERT ON booking DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION book();
)sql";
  Pair nodes(schema);
  const std::vector<std::string> tables = {"log",     "also",   "on_update", "elsewhere",
                                           "instead", "shaped", "stock",     "booking"};
  nodes.a.execute(R"sql(
INSERT INTO also VALUES (1, 'x'), (2, 'y');
INSERT INTO on_update VALUES (1, 'x'), (2, 'y'), (3, 'z'); UPDATE on_update SET v = 'X' WHERE id = 1;
INSERT INTO instead VALUES (1, 'x'), (2, 'keep'), (101, 'far');
INSERT INTO shaped VALUES (1, 'x'), (2, 'skip'), (3, 'y');
INSERT INTO stock VALUES (1, 10), (2, 10); INSERT INTO booking VALUES (1, 1, 3), (2, 1, 2);
)sql");
  nodes.b.pull(nodes.a);
  check_same(nodes, tables);
  CHECK(nodes.b.scalar("SELECT count(*) FROM log") == "3");
  CHECK(nodes.b.scalar("SELECT string_agg(v || changes, ',' ORDER BY id) FROM shaped") == "X1,Y1");
  CHECK(nodes.b.scalar("SELECT amount FROM stock WHERE id = 1") == "5");
  CHECK(nodes.b.scalar("SELECT count(*) FROM elsewhere") == "1");

  nodes.b.execute(
      "UPDATE shaped SET v = 'z' WHERE id = 1; DELETE FROM instead; UPDATE on_update SET v = 'B' WHERE id = 2; "
      "INSERT INTO also VALUES (3, 'b'); INSERT INTO booking VALUES (3, 2, 1)");
  nodes.a.execute(
      "UPDATE shaped SET v = 'w' WHERE id = 3; DELETE FROM on_update WHERE id = 3; UPDATE also SET v = 'a' WHERE id = "
      "1");
  nodes.exchange();
  check_same(nodes, tables);
  CHECK(nodes.a.scalar("SELECT string_agg(v || changes, ',' ORDER BY id) FROM shaped") == "Z2,W2");
  CHECK(nodes.a.scalar("SELECT amount FROM stock WHERE id = 2") == "9");
  CHECK(nodes.a.scalar("SELECT string_agg(v, ',') FROM instead") == "keep");
  CHECK(nodes.a.scalar("SELECT count(*) FROM log") == "5");
  nodes.check_forgotten();
}

TEST_CASE("row-level security, and roles without any right in schema mbsync", "[schemas]") {
  // Roles belong to the cluster; this one has rights to the tables and to nothing of mbsync.
  shared_cluster().execute("postgres", "CREATE ROLE clerk");
  const char* schema = R"sql(
CREATE TABLE secret (id int PRIMARY KEY, owner text, v text);
ALTER TABLE secret ENABLE ROW LEVEL SECURITY; ALTER TABLE secret FORCE ROW LEVEL SECURITY;
CREATE POLICY own ON secret USING (owner = current_user) WITH CHECK (owner = current_user);
GRANT ALL ON secret TO clerk; GRANT CREATE ON SCHEMA public TO clerk;
CREATE TABLE open (id int PRIMARY KEY, v text); GRANT ALL ON open TO clerk;
)sql";
  Pair nodes(schema);
  nodes.a.execute("INSERT INTO secret VALUES (1, 'clerk', 'x'), (2, 'boss', 'y'), (3, 'clerk', 'z')");
  nodes.exchange();
  nodes.b.execute(
      "SET ROLE clerk; SET search_path = public; UPDATE secret SET v = 'by clerk'; DELETE FROM secret WHERE id = 3; "
      "INSERT INTO secret VALUES (4, 'clerk', 'new'); INSERT INTO open VALUES (1, 'x'), (2, 'y'); UPDATE open SET v = "
      "'z' WHERE id = 1; "
      "DELETE FROM open WHERE id = 2");
  nodes.a.execute(
      "SET ROLE clerk; CREATE TEMPORARY TABLE capture (tab int); TRUNCATE open; INSERT INTO open VALUES (3, 'a')");
  CHECK_THROWS(nodes.a.execute("SET ROLE clerk; SELECT * FROM mbsync.capture"));
  CHECK_THROWS(nodes.a.execute("SET ROLE clerk; SELECT mbsync.capture_1_insert()"));
  nodes.exchange();
  check_same(nodes, {"secret", "open"});
  CHECK(nodes.a.scalar("SELECT string_agg(id || v, ',' ORDER BY id) FROM secret") == "1by clerk,2y,4new");
  CHECK(nodes.a.scalar("SELECT string_agg(id || v, ',' ORDER BY id) FROM open") == "1z,3a");
  nodes.check_forgotten();
}

TEST_CASE("columns in another order and with other numbers on the two nodes", "[schemas]") {
  Pair nodes("CREATE TABLE t (a text, id int PRIMARY KEY, z int, m numeric)",
             "CREATE TABLE t (m numeric, z int, id int PRIMARY KEY, a text)");
  nodes.a.execute("INSERT INTO t (id, a, z, m) SELECT i, 'a' || i, i, i FROM generate_series(1, 9) i");
  nodes.exchange();
  check_same(nodes, {"t"});
  nodes.b.execute("UPDATE t SET m = 5.50, a = 'b' WHERE id = 1");
  nodes.a.execute("UPDATE t SET z = 7 WHERE id = 1; DELETE FROM t WHERE id = 2");
  nodes.exchange();
  check_same(nodes, {"t"});

  // The columns come in another order, with a look at the schema in between: their numbers differ from now on.
  nodes.a.execute("ALTER TABLE t ADD COLUMN late int");
  REQUIRE(nodes.a.store().refresh());
  nodes.a.execute("ALTER TABLE t ADD COLUMN early text");
  REQUIRE(nodes.a.store().refresh());
  nodes.b.execute("ALTER TABLE t ADD COLUMN early text");
  REQUIRE(nodes.b.store().refresh());
  nodes.b.execute("ALTER TABLE t ADD COLUMN late int, ADD COLUMN dropped int");
  REQUIRE(nodes.b.store().refresh());
  nodes.b.execute("ALTER TABLE t DROP COLUMN dropped");
  REQUIRE(nodes.b.store().refresh());
  REQUIRE(nodes.a.scalar("SELECT number FROM mbsync.synced_column WHERE name = 'late'") !=
          nodes.b.scalar("SELECT number FROM mbsync.synced_column WHERE name = 'late'"));
  nodes.a.execute(
      "UPDATE t SET late = 1, early = 'e' WHERE id = 3; INSERT INTO t (id, late, early) VALUES (10, 10, 'ten')");
  nodes.b.execute(
      "UPDATE t SET late = 2, early = 'f' WHERE id = 4; INSERT INTO t (id, late, early) VALUES (11, 11, 'eleven')");
  nodes.exchange();
  check_same(nodes, {"t"});
  CHECK(nodes.b.scalar("SELECT early || late FROM t WHERE id = 3") == "e1");

  // Merged, judged, deleted and back from the dead, with the loser's values kept: all across the numbering.
  nodes.a.execute(
      "UPDATE t SET late = 100 WHERE id = 5; UPDATE t SET early = 'a' WHERE id = 6; DELETE FROM t WHERE id IN (7, 8, "
      "9)");
  nodes.b.execute(
      "UPDATE t SET early = 'b' WHERE id = 5; UPDATE t SET early = 'b' WHERE id = 6; UPDATE t SET early = 'back' WHERE "
      "id = 7; "
      "DELETE FROM t WHERE id = 8");
  nodes.exchange();
  check_same(nodes, {"t"});
  CHECK(nodes.a.scalar("SELECT early || late FROM t WHERE id = 5") == "b100");
  CHECK(nodes.a.scalar("SELECT early FROM t WHERE id = 6") == "b");
  CHECK(nodes.a.scalar("SELECT early || a || z || m FROM t WHERE id = 7") == "backa777");
  CHECK(nodes.a.scalar("SELECT losers -> 0 ->> 'value' FROM mbsync.conflict_value WHERE column_name = 'early'") == "a");
  CHECK(nodes.a.scalar("SELECT count(*) FROM t WHERE id IN (8, 9)") == "0");
  nodes.check_forgotten();
}

TEST_CASE("every statement that writes is captured", "[schemas]") {
  const char* schema = R"sql(
CREATE TABLE t (id int PRIMARY KEY, code text UNIQUE, v int);
CREATE TABLE archive (id int PRIMARY KEY, code text, v int);
CREATE TABLE up (id int PRIMARY KEY); CREATE TABLE down (id int PRIMARY KEY, up int REFERENCES up ON UPDATE CASCADE ON DELETE SET NULL);
CREATE TABLE swap (a int, b int, v text, PRIMARY KEY (a, b));
CREATE VIEW simple AS SELECT id, v FROM t;
)sql";
  Pair nodes(schema);
  const std::vector<std::string> tables = {"t", "archive", "up", "down", "swap"};
  nodes.a.execute(R"sql(
INSERT INTO t SELECT i, 'c' || i, i FROM generate_series(1, 20) i;
INSERT INTO up VALUES (1), (2); INSERT INTO down VALUES (1, 1), (2, 2), (3, NULL);
INSERT INTO swap VALUES (1, 1, 'one'), (2, 2, 'two'), (3, 3, 'three');
)sql");
  nodes.exchange();
  const auto on_b = [&](const std::string& sql) {
    INFO(sql);
    nodes.b.execute(sql);
    nodes.a.pull(nodes.b);
    check_same(nodes, tables);
  };
  on_b(
      "INSERT INTO t VALUES (1, 'c1', 100), (21, 'c21', 21) ON CONFLICT (id) DO UPDATE SET v = excluded.v, code = "
      "'upserted'");
  on_b("INSERT INTO t VALUES (2, 'x', 0), (22, 'c22', 22) ON CONFLICT DO NOTHING");
  on_b(
      "COPY (SELECT 1) TO '/dev/null'; CREATE TEMPORARY TABLE draft AS SELECT 30 + i AS id, 'd' || i, i FROM "
      "generate_series(1, 3) i; "
      "INSERT INTO t SELECT * FROM draft");
  nodes.b.execute("COPY t FROM PROGRAM 'printf \"40\\tcopied\\t\\\\\\\\N\\n41\\t\\\\\\\\N\\t7\\n\"'");
  on_b("SELECT 1");
  CHECK(nodes.a.scalar("SELECT count(*) FROM t WHERE id IN (40, 41)") == "2");
  on_b(
      "MERGE INTO t USING (VALUES (3, 33), (4, 44), (50, 50)) s (id, v) ON t.id = s.id "
      "WHEN MATCHED AND s.id = 3 THEN DELETE WHEN MATCHED THEN UPDATE SET v = s.v "
      "WHEN NOT MATCHED THEN INSERT VALUES (s.id, 'merged', s.v)");
  CHECK(nodes.a.scalar("SELECT v FROM t WHERE id = 4") == "44");
  on_b(
      "WITH gone AS (DELETE FROM t WHERE id BETWEEN 5 AND 7 RETURNING *), kept AS (INSERT INTO archive SELECT * FROM "
      "gone RETURNING id), "
      "more AS (INSERT INTO t SELECT id + 100, 'again' || id, 1 FROM kept RETURNING id) UPDATE t SET v = -1 WHERE id "
      "BETWEEN 8 AND 9");
  CHECK(nodes.a.scalar("SELECT count(*) FROM archive") == "3");
  on_b("UPDATE up SET id = 10 WHERE id = 1; DELETE FROM up WHERE id = 2");
  CHECK(nodes.a.scalar("SELECT string_agg(concat(id, '-', up), ',' ORDER BY id) FROM down") == "1-10,2-,3-");
  on_b(
      "UPDATE simple SET v = 12345 WHERE id = 10; DELETE FROM simple WHERE id = 11; INSERT INTO simple VALUES (60, "
      "60)");
  // Keys that move in one statement, in a ring, onto each other, and away and back.
  on_b("UPDATE t SET id = id + 1000 WHERE id > 12");
  on_b(
      "BEGIN; UPDATE swap SET a = 9 WHERE a = 1; UPDATE swap SET a = 1, b = 1 WHERE a = 2; UPDATE swap SET a = 2, b = "
      "2 WHERE a = 9; COMMIT");
  CHECK(nodes.a.scalar("SELECT string_agg(v, ',' ORDER BY a) FROM swap") == "two,one,three");
  on_b(
      "BEGIN; DELETE FROM swap WHERE a = 1; UPDATE swap SET a = 1, b = 1 WHERE a = 3; INSERT INTO swap VALUES (3, 3, "
      "'new'); COMMIT");
  on_b(
      "UPDATE swap SET a = 5 WHERE a = 1; UPDATE swap SET a = 1 WHERE a = 5; DELETE FROM swap WHERE a = 3; INSERT INTO "
      "swap VALUES (3, 3, 'newer')");
  on_b("INSERT INTO swap VALUES (7, 7, 'short'); DELETE FROM swap WHERE a = 7");
  on_b(
      "BEGIN; INSERT INTO swap VALUES (8, 8, 'kept'); SAVEPOINT x; DELETE FROM swap; ROLLBACK TO x; UPDATE swap SET v "
      "= 'k' WHERE a = 8; COMMIT");
  on_b("DO $$ BEGIN FOR i IN 1..20 LOOP UPDATE swap SET v = i::text WHERE a = 8; END LOOP; END $$");
  on_b("BEGIN; TRUNCATE swap; INSERT INTO swap VALUES (1, 1, 'after'), (2, 2, 'after'); COMMIT");
  CHECK(nodes.a.scalar("SELECT string_agg(v, ',' ORDER BY a) FROM swap") == "after,after");
  nodes.check_forgotten();
  CHECK(nodes.a.scalar("SELECT count(*) FROM mbsync.conflict_value") == "0");
}

TEST_CASE("a role that owns the tables and nothing more can apply, in the order of the references", "[schemas]") {
  shared_cluster().execute("postgres", "CREATE ROLE app LOGIN");
  const char* schema = R"sql(
CREATE TABLE "Z parent" (id int PRIMARY KEY, v text);
CREATE TABLE "M middle" (id int PRIMARY KEY, up int NOT NULL REFERENCES "Z parent" ON DELETE CASCADE, self int REFERENCES "M middle");
CREATE TABLE "A child" (id int PRIMARY KEY, up int NOT NULL REFERENCES "M middle");
CREATE FUNCTION nothing() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NEW; END $$;
CREATE TRIGGER "My trigger" BEFORE INSERT ON "A child" FOR EACH ROW EXECUTE FUNCTION nothing();
)sql";
  PgNode a(shared_cluster(), fresh_database_name(), schema, "app");
  PgNode b(shared_cluster(), fresh_database_name(), schema, "app");
  a.prepare();
  const auto report = b.prepare();
  CHECK_FALSE(report.bypasses_constraints);
  REQUIRE(report.application_triggers.size() == 1);
  CHECK(report.application_triggers[0] == "public.A child: My trigger");
  const auto same = [&] {
    for (const char* table : {"\"Z parent\"", "\"M middle\"", "\"A child\""}) {
      INFO(table);
      CHECK(Pair::rows(a, table) == Pair::rows(b, table));
    }
  };
  a.execute(
      "INSERT INTO \"Z parent\" VALUES (1, 'x'), (2, 'y'), (3, 'z'); "
      "INSERT INTO \"M middle\" VALUES (1, 1, 2), (2, 2, 1), (3, 3, NULL); INSERT INTO \"A child\" VALUES (1, 1), (2, "
      "2)");
  b.pull(a);
  same();
  b.execute(
      "UPDATE \"A child\" SET up = 3 WHERE id = 1; UPDATE \"M middle\" SET self = NULL; UPDATE \"Z parent\" SET v = "
      "'w' WHERE id = 2");
  a.execute("UPDATE \"Z parent\" SET v = 'v' WHERE id = 3");
  exchange({&a, &b});
  same();
  b.execute(
      "DELETE FROM \"A child\" WHERE up = 2; DELETE FROM \"M middle\" WHERE id = 2; DELETE FROM \"Z parent\" WHERE id "
      "= 1 AND false");
  exchange({&a, &b});
  same();
  CHECK(a.scalar("SELECT count(*) FROM \"M middle\"") == "2");
}

TEST_CASE("an owner's apply never lets a deleted row take others along that refer to it no more", "[schemas]") {
  shared_cluster().execute("postgres", "CREATE ROLE owner LOGIN");
  const char* schema = R"sql(
CREATE TABLE top (id int PRIMARY KEY, v text);
CREATE TABLE mid (id int PRIMARY KEY, up int NOT NULL REFERENCES top ON DELETE CASCADE ON UPDATE CASCADE);
CREATE TABLE low (id int PRIMARY KEY, up int NOT NULL REFERENCES mid ON DELETE CASCADE ON UPDATE CASCADE);
CREATE TABLE strict (id int PRIMARY KEY, up int NOT NULL REFERENCES top ON DELETE RESTRICT ON UPDATE CASCADE);
CREATE TABLE single (id int PRIMARY KEY, code text UNIQUE);
)sql";
  PgNode a(shared_cluster(), fresh_database_name(), schema, "owner");
  PgNode b(shared_cluster(), fresh_database_name(), schema, "owner");
  a.prepare();
  b.prepare();
  for (const char* sql :
       {"INSERT INTO top VALUES (1, 'm1'), (2, 'm2'), (7, 'x'), (8, 'y'); INSERT INTO mid VALUES (1, 1), (2, 2); "
        "INSERT INTO low VALUES (1, 1), (2, 2); INSERT INTO strict VALUES (1, 7); INSERT INTO single VALUES (1, 'c')",
        "UPDATE mid SET up = 2 WHERE id = 1; DELETE FROM top WHERE id = 1", "UPDATE top SET id = 5 WHERE id = 2",
        "UPDATE strict SET up = 8; DELETE FROM top WHERE id = 7", "UPDATE top SET id = 9 WHERE id = 8",
        "UPDATE single SET id = 2", "DELETE FROM top WHERE id = 5"}) {
    INFO(sql);
    a.execute(sql);
    b.pull(a);
    for (const char* table : {"top", "mid", "low", "strict", "single"}) {
      INFO(table);
      CHECK(Pair::rows(a, table) == Pair::rows(b, table));
    }
  }
  CHECK(b.scalar("SELECT count(*) FROM low") == "0");
}

TEST_CASE("keys as long as PostgreSQL takes them, whose text is longer than any index entry", "[schemas]") {
  Pair pair(R"sql(
CREATE TABLE bytes (id bytea PRIMARY KEY, v text);
CREATE TABLE words (a text, b text, v text, PRIMARY KEY (b, a));
CREATE FUNCTION long_bytes(seed int) RETURNS bytea LANGUAGE sql AS
  $$ SELECT substr(string_agg(sha512((seed * 1000 + i)::text::bytea), ''), 1, 2600) FROM generate_series(1, 41) i $$;
CREATE FUNCTION long_words(seed int) RETURNS text LANGUAGE sql AS
  $$ SELECT string_agg('",\' || md5((seed * 1000 + i)::text), '') FROM generate_series(1, 36) i $$;
)sql");
  pair.a.execute(
      "INSERT INTO bytes SELECT long_bytes(i), 'a' FROM generate_series(1, 20) i; "
      "INSERT INTO words SELECT long_words(i), long_words(-i), 'a' FROM generate_series(1, 20) i");
  pair.exchange();
  const auto same = [&] {
    for (const char* table : {"bytes", "words"}) {
      INFO(table);
      CHECK(Pair::rows(pair.a, table) == Pair::rows(pair.b, table));
    }
  };
  same();
  CHECK(pair.b.scalar("SELECT min(octet_length(id)) FROM bytes") == "2600");
  CHECK(pair.b.scalar("SELECT count(*) FROM words") == "20");
  for (const char* table : {"bytes", "words"}) {
    pair.a.execute(std::string("UPDATE ") + table + " SET v = 'of a'");
    pair.b.execute(std::string("UPDATE ") + table + " SET v = 'of b'");
    pair.b.execute(std::string("DELETE FROM ") + table + " WHERE ctid IN (SELECT ctid FROM " + table + " LIMIT 5)");
  }
  pair.exchange();
  same();
  CHECK(pair.a.scalar("SELECT count(*) FROM mbsync.conflict_value") == "40");
  pair.a.execute("DELETE FROM bytes; TRUNCATE words");
  pair.exchange();
  same();
  CHECK(pair.b.scalar("SELECT (SELECT count(*) FROM bytes) + (SELECT count(*) FROM words)") == "0");
  pair.check_forgotten();
}

TEST_CASE("values of a column that has just been added are captured before mbsync has looked, in open sessions too",
          "[schemas]") {
  const char* schema = R"sql(
CREATE TABLE t (gone int, id int PRIMARY KEY, v text, "tg_nargs" int, twice int GENERATED ALWAYS AS ("tg_nargs" * 2) STORED);
ALTER TABLE t DROP COLUMN gone;
CREATE TABLE p (id int PRIMARY KEY, v text) PARTITION BY RANGE (id);
CREATE TABLE p_low PARTITION OF p FOR VALUES FROM (0) TO (100);
CREATE TABLE p_high (v text, id int NOT NULL);
ALTER TABLE p ATTACH PARTITION p_high FOR VALUES FROM (100) TO (200);
)sql";
  Pair pair(schema);
  SqlSession application{pair.a.url()};
  application.execute(
      "INSERT INTO t (id, v, tg_nargs) SELECT i, 'old', i FROM generate_series(1, 9) i; "
      "INSERT INTO p SELECT i, 'old' FROM generate_series(90, 109) i");
  pair.exchange();
  // Ordinary writes are taken apart by the trigger, also where a partition's columns lie otherwise.
  application.execute(
      "UPDATE t SET v = 'new' WHERE id = 1; DELETE FROM t WHERE id = 2; INSERT INTO t (id) VALUES (10); UPDATE p_high "
      "SET v = 'new' WHERE id = 100; DELETE FROM p_high WHERE id = 101; INSERT INTO p_high VALUES ('new', 110); UPDATE "
      "p SET v = 'all'");
  CHECK(pair.a.scalar("SELECT count(*) FROM mbsync.capture WHERE op = 'R'") == "0");
  CHECK(pair.a.scalar("SELECT count(*) FROM mbsync.capture") == "26");
  pair.exchange();

  const char* migration = "ALTER TABLE t ADD COLUMN fresh text; ALTER TABLE p ADD COLUMN fresh text";
  pair.a.execute(migration);
  application.execute(
      "UPDATE t SET fresh = 'only this' WHERE id = 3; UPDATE t SET fresh = 'both', v = 'both' WHERE id = 4; INSERT "
      "INTO "
      "t (id, fresh) VALUES (11, 'inserted'); DELETE FROM t WHERE id = 5; UPDATE p SET fresh = 'only this' WHERE id "
      "IN (95, 105); INSERT INTO p VALUES (111, 'x', 'inserted'); UPDATE p_high SET fresh = 'direct' WHERE id = 106");
  const auto captured = pair.a.store().poll();
  REQUIRE(captured);
  pair.b.execute(migration);
  REQUIRE(pair.a.store().refresh());
  REQUIRE(pair.b.store().refresh());
  pair.exchange();
  for (const char* table : {"t", "p"}) {
    INFO(table);
    CHECK(Pair::rows(pair.a, table) == Pair::rows(pair.b, table));
  }
  CHECK(pair.b.scalar("SELECT string_agg(fresh, ',' ORDER BY id) FROM t") == "only this,both,inserted");
  CHECK(pair.b.scalar("SELECT string_agg(fresh, ',' ORDER BY id) FROM p") == "only this,only this,direct,inserted");
  CHECK(pair.a.scalar("SELECT count(*) FROM mbsync.capture") == "0");
}

TEST_CASE("renamed columns and tables keep what was written to them and not sent yet", "[schemas]") {
  Pair pair("CREATE TABLE old_name (id int PRIMARY KEY, phone text, note text)");
  pair.a.execute("INSERT INTO old_name SELECT i, 'old', 'old' FROM generate_series(1, 5) i");
  pair.exchange();
  pair.a.execute("UPDATE old_name SET phone = 'of a' WHERE id = 1; UPDATE old_name SET phone = 'of a' WHERE id = 2");
  pair.b.execute("UPDATE old_name SET phone = 'of b' WHERE id = 2; DELETE FROM old_name WHERE id = 3");
  REQUIRE(pair.a.store().seal_pending());
  const char* migration = "ALTER TABLE old_name RENAME phone TO tel; ALTER TABLE old_name RENAME TO new_name";
  for (auto* node : {&pair.a, &pair.b}) {
    node->execute(migration);
    node->execute("UPDATE new_name SET tel = 'after' WHERE id = 4");  // before mbsync has looked
    REQUIRE(node->store().refresh());
  }
  pair.exchange();
  CHECK(Pair::rows(pair.a, "new_name") == Pair::rows(pair.b, "new_name"));
  CHECK(pair.b.scalar("SELECT tel FROM new_name WHERE id = 1") == "of a");
  CHECK(pair.b.scalar("SELECT count(*) FROM new_name") == "4");
  CHECK(pair.b.scalar("SELECT count(*) FROM mbsync.conflict_value WHERE column_name = 'tel'") == "1");
  CHECK(pair.a.scalar("SELECT count(*) FROM mbsync.synced_table WHERE schema_name <> 'mbsync'") == "1");
  pair.check_forgotten();
}

TEST_CASE("a key that changes: what waits goes over to the new one", "[schemas]") {
  Pair pair(
      "CREATE TABLE t (id text PRIMARY KEY, code text NOT NULL UNIQUE, v text); CREATE TABLE other (id int PRIMARY "
      "KEY)");
  pair.a.execute("INSERT INTO t SELECT 'c' || i, i::text, 'old' FROM generate_series(1, 5) i");
  pair.exchange();
  pair.a.execute("UPDATE t SET v = 'of a' WHERE id = 'c1'");
  pair.b.execute("UPDATE t SET v = 'of b' WHERE id = 'c2'");
  REQUIRE(pair.a.store().seal_pending());
  const char* migration =
      "ALTER TABLE t DROP CONSTRAINT t_pkey, ALTER code TYPE int USING code::int, ADD PRIMARY KEY (code)";
  pair.a.execute(migration);
  pair.a.execute("INSERT INTO t VALUES ('c9', 9, 'of a')");
  pair.b.execute(migration);
  for (auto* node : {&pair.a, &pair.b}) {
    const auto report = node->store().refresh();
    REQUIRE(report);
    CHECK(report->rekeyed == std::vector<std::string>{"public.t"});
  }
  pair.a.execute("INSERT INTO other VALUES (1)");
  pair.exchange();
  CHECK(Pair::rows(pair.a, "t") == Pair::rows(pair.b, "t"));
  CHECK(pair.b.scalar("SELECT count(*) FROM other") == "1");
  CHECK(pair.b.scalar("SELECT count(*) FROM t") == "6");
  // Nobody knows any more which of two different rows is the newer one; the other is kept.
  CHECK(pair.b.scalar("SELECT count(*) FROM mbsync.conflict_value WHERE column_name = 'v'") == "2");
  pair.check_forgotten();
}

TEST_CASE("a row that is deleted while its table has just changed is deleted everywhere", "[schemas]") {
  Pair pair("CREATE TABLE item (id int PRIMARY KEY, name text)");
  pair.a.execute("INSERT INTO item VALUES (1, 'one'), (2, 'two')");
  pair.check_forgotten();
  for (auto* node : {&pair.a, &pair.b}) {
    node->execute("ALTER TABLE item ADD COLUMN price int");
  }
  pair.a.execute("DELETE FROM item WHERE id = 1");
  CHECK(pair.a.scalar("SELECT string_agg(op::text, '') FROM mbsync.capture") == "R");
  for (auto* node : {&pair.a, &pair.b}) {
    REQUIRE(node->store().refresh());
  }
  pair.exchange();
  CHECK(pair.b.scalar("SELECT string_agg(id::text, ' ') FROM item") == "2");
}

TEST_CASE("a trigger that fires although constraints are bypassed is named", "[schemas]") {
  PgNode node(shared_cluster(), fresh_database_name(), R"sql(
CREATE TABLE item (id int PRIMARY KEY);
CREATE FUNCTION nothing() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NEW; END $$;
CREATE TRIGGER plain BEFORE INSERT ON item FOR EACH ROW EXECUTE FUNCTION nothing();
CREATE TRIGGER ever BEFORE INSERT ON item FOR EACH ROW EXECUTE FUNCTION nothing();
ALTER TABLE item ENABLE ALWAYS TRIGGER ever;
)sql");
  const auto report = node.prepare();
  CHECK(report.bypasses_constraints);
  CHECK(report.application_triggers == std::vector<std::string>{"public.item: ever"});
}
