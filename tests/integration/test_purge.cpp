// mbsync leaves a database: what pg_dump says of it is what it said before mbsync came.
#include <fmt/format.h>

#include <catch2/catch.hpp>
#include <chrono>
#include <sstream>

#include "child_process.h"
#include "node_pair.h"
#include "purge.h"
#include "sql_session.h"

using namespace mbsync;
using namespace mbsync::test;
using namespace std::chrono_literals;

namespace {

constexpr const char* kSchema = R"(
  CREATE SCHEMA reports;
  CREATE TABLE parent (id text PRIMARY KEY, note text, stamp timestamptz DEFAULT now());
  CREATE TABLE child (id text PRIMARY KEY, parent text REFERENCES parent ON DELETE CASCADE, n integer);
  CREATE TABLE "Odd ""name" (id integer PRIMARY KEY, "Price %" numeric(10, 2));
  CREATE TABLE reports.day (day date, shop text, sum numeric, PRIMARY KEY (day, shop)) PARTITION BY RANGE (day);
  CREATE TABLE reports.day_1 PARTITION OF reports.day FOR VALUES FROM ('2020-01-01') TO ('2025-01-01');
  CREATE TABLE reports.day_2 PARTITION OF reports.day FOR VALUES FROM ('2025-01-01') TO ('2030-01-01');
  CREATE TABLE keyless (v text);
  CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.note := 'touched'; RETURN NEW; END $$;
  CREATE TRIGGER touch BEFORE UPDATE ON parent FOR EACH ROW EXECUTE FUNCTION touch();
  INSERT INTO parent (id, note, stamp) SELECT 'p' || i, 'n' || i, '2020-01-01' FROM generate_series(1, 50) i;
  INSERT INTO child SELECT 'c' || i, 'p' || i, i FROM generate_series(1, 50) i;
  INSERT INTO "Odd ""name" VALUES (1, 1.50), (2, NULL);
  INSERT INTO reports.day SELECT date '2024-12-20' + i, 's', i FROM generate_series(1, 30) i;
  INSERT INTO keyless VALUES ('x'))";

std::string dump(const std::string& database) {
  const auto& cluster = shared_cluster();
  const auto pg_dump = find_pg_dump();
  if (pg_dump.empty()) {
    std::printf("skipped: there is no pg_dump here for PostgreSQL %d\n", postgres_major());
    std::fflush(stdout);
    std::_Exit(77);
  }
  const auto finished = run_program(pg_dump, {.arguments = {cluster.url(database)}});
  REQUIRE(finished.exit_code == 0);
  // Its guard against what a dump might tell psql to do is another word each time.
  std::string text;
  std::istringstream lines(finished.out);
  for (std::string line; std::getline(lines, line);) {
    text += line.starts_with("\\restrict") || line.starts_with("\\unrestrict") ? "" : line + "\n";
  }
  return text;
}

DatabaseUrl url_of(const std::string& url) {
  return *parse_database_url(url);
}

/// A database of the application, in which a node has been at work; what it was before that.
struct Place {
  std::string name;
  std::string before;
  std::string url;

  explicit Place(const std::string& database) : name(database), url(shared_cluster().url(database)) {
    PgNode node(shared_cluster(), name, kSchema);
    before = dump(name);
    node.prepare();
    // What was written while mbsync was there stays, of course; this is taken back.
    node.execute("INSERT INTO parent (id) VALUES ('new'); DELETE FROM parent WHERE id = 'new'");
  }
  [[nodiscard]] Result<PurgeLook> purge(std::chrono::milliseconds patience = 5s) const {
    return mbsync::purge(url_of(url), patience);
  }
  void execute(const std::string& sql) const { shared_cluster().execute(name, sql); }
};

}  // namespace

TEST_CASE("purge: the database is again what it was, to the byte", "[purge]") {
  const Place place("purge_bytes");
  REQUIRE((dump(place.name) != place.before));
  const auto look = look_at_purge(url_of(place.url), 5s);
  REQUIRE(look);
  CHECK(look->schema_there);
  CHECK(look->triggers >= 16);
  CHECK(look->used_by.empty());
  {
    SqlSession node(place.url);
    node.scalar("SELECT pg_advisory_lock(hashtext('mbsync'), hashtext('node'))");
    const auto refused = place.purge(100ms);
    REQUIRE_FALSE(refused);
    CHECK(refused.error().area == ErrorArea::kDatabase);
    CHECK_THAT(refused.error().message, Catch::Contains("an mbsync is at work"));
  }
  const auto purged = place.purge();
  REQUIRE(purged);
  CHECK(purged->triggers == look->triggers);
  CHECK((dump(place.name) == place.before));
  // Nothing to do is no error.
  const auto again = place.purge();
  REQUIRE(again);
  CHECK_FALSE(again->schema_there);
}

TEST_CASE("purge: what the application has built upon schema mbsync is not taken along", "[purge]") {
  const Place place("purge_used");
  place.execute("CREATE VIEW open_ones AS SELECT * FROM mbsync.open_conflict; CREATE TABLE seen (n mbsync.node)");
  const auto now = dump(place.name);
  const auto refused = place.purge();
  REQUIRE_FALSE(refused);
  CHECK_THAT(refused.error().message,
             Catch::Contains("view public.open_ones") && Catch::Contains("column n of table public.seen"));
  CHECK((dump(place.name) == now));
  place.execute("DROP VIEW open_ones; DROP TABLE seen");
  CHECK(place.purge());
  CHECK((dump(place.name) == place.before));
}

TEST_CASE("purge: a table that is in use is waited for, and given up without anything done", "[purge]") {
  const Place place("purge_held");
  const auto now = dump(place.name);
  SqlSession application(place.url);
  application.execute("BEGIN");
  application.execute("UPDATE keyless SET v = v; UPDATE child SET n = n WHERE id = 'c1'");
  const auto refused = place.purge(1500ms);
  REQUIRE_FALSE(refused);
  CHECK(refused.error().kind == ErrorKind::kTransient);
  application.execute("ROLLBACK");
  CHECK((dump(place.name) == now));
  CHECK(place.purge());
}

TEST_CASE("purge: a right that is missing is named with its statement", "[purge]") {
  const Place place("purge_rights");
  place.execute("CREATE ROLE purge_stranger LOGIN");
  auto url = place.url;
  url.replace(url.find("postgres@"), std::string("postgres@").size(), "purge_stranger@");
  const auto refused = purge(url_of(url), 5s);
  REQUIRE_FALSE(refused);
  CHECK(refused.error().area == ErrorArea::kDatabase);
  CHECK_THAT(refused.error().hint, Catch::Contains("ALTER SCHEMA mbsync OWNER TO purge_stranger;") &&
                                       Catch::Contains("ALTER TABLE public.child OWNER TO purge_stranger;"));
  CHECK(place.purge());
}
