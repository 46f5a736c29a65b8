// Tables that the configuration leaves out: when they go, what is said, and that nothing is lost on the way.
#include <catch2/catch.hpp>
#include <string>
#include <vector>

#include "node_pair.h"
#include "sql_session.h"

using namespace mbsync;
using namespace mbsync::test;

namespace {

constexpr const char* kSchema =
    "CREATE TABLE item (id int PRIMARY KEY, name text); CREATE TABLE audit_log (id int PRIMARY KEY, what text); "
    "CREATE SCHEMA reports; CREATE TABLE reports.daily (id int PRIMARY KEY, n int)";

using Refused = std::vector<std::pair<std::string, std::string>>;

std::string triggers_on(PgNode& node, const std::string& table) {
  return node.scalar("SELECT count(*) FROM pg_trigger WHERE NOT tgisinternal AND tgrelid = '" + table + "'::regclass");
}

void leave_out(PgNode& node, std::vector<std::string> patterns) {
  node.choose_tables({{"*"}, std::move(patterns)});
}

}  // namespace

TEST_CASE("tables: what is left out from the start has no triggers, and is named with the reason", "[left_out]") {
  PgNode node(shared_cluster(), fresh_database_name(), kSchema);
  node.choose_tables({{"public.*"}, {"audit_*", "publik.*"}});
  const auto report = node.restart();
  CHECK(report.tables == 1);
  CHECK(report.refused ==
        Refused{{"public.audit_log", "is left out by tables_except ('audit_*')"},
                {"reports.daily", "is left out: it is not among those that the setting 'tables' names"}});
  CHECK(report.unmatched == std::vector<std::string>{"publik.*"});
  CHECK(report.still_in.empty());
  CHECK(triggers_on(node, "audit_log") == "0");
  CHECK(triggers_on(node, "item") == "4");
  // Commands beside the node say the same.
  const auto status = PgStore::read_status(*parse_database_url(node.url()));
  REQUIRE(status);
  CHECK(status->refused == report.refused);
  CHECK(status->tables == std::vector<std::string>{"public.item"});
}

TEST_CASE("tables: all leave a table out, each on its side keeps what it has, and goes on with the rest",
          "[left_out]") {
  Pair nodes(kSchema);
  nodes.a.execute("INSERT INTO audit_log VALUES (1, 'both')");
  nodes.check_forgotten();
  for (auto* node : {&nodes.a, &nodes.b}) {
    leave_out(*node, {"audit_*"});
    CHECK(node->restart().still_in.empty());
    CHECK(triggers_on(*node, "audit_log") == "0");
  }
  nodes.a.execute("INSERT INTO audit_log VALUES (2, 'a alone'); INSERT INTO item VALUES (1, 'x')");
  nodes.b.execute("INSERT INTO audit_log VALUES (2, 'b alone'); DELETE FROM audit_log WHERE id = 1");
  nodes.check_forgotten();
  CHECK(nodes.b.rows("item") == nodes.a.rows("item"));
  CHECK(nodes.a.scalar("SELECT string_agg(what, ',' ORDER BY id) FROM audit_log") == "both,a alone");
  CHECK(nodes.b.scalar("SELECT string_agg(what, ',' ORDER BY id) FROM audit_log") == "b alone");
}

TEST_CASE("tables: one with writes that some member lacks stays until all have them", "[left_out]") {
  Pair nodes(kSchema);
  nodes.check_forgotten();
  nodes.a.execute("INSERT INTO audit_log VALUES (1, 'not yet with b')");
  leave_out(nodes.a, {"audit_*"});
  auto report = nodes.a.restart();
  CHECK(report.still_in ==
        std::vector<std::string>{"public.audit_log: it has 1 writes that not all members are known to have"});
  CHECK(report.tables == 3);
  CHECK(triggers_on(nodes.a, "audit_log") == "4");
  nodes.check_forgotten();
  CHECK(nodes.b.scalar("SELECT what FROM audit_log") == "not yet with b");
  const auto refreshed = nodes.a.store().refresh();
  REQUIRE(refreshed);
  CHECK(refreshed->still_in.empty());
  CHECK(refreshed->tables == 2);
  CHECK(triggers_on(nodes.a, "audit_log") == "0");
}

TEST_CASE("tables: while an application transaction writes to it, a table stays, and what it writes is captured",
          "[left_out]") {
  Pair nodes(kSchema);
  nodes.check_forgotten();
  SqlSession application(nodes.a.url());
  application.execute("BEGIN; INSERT INTO audit_log VALUES (1, 'open')");
  leave_out(nodes.a, {"audit_*"});
  CHECK(nodes.a.restart().still_in ==
        std::vector<std::string>{"public.audit_log: an application transaction holds it"});
  application.execute("COMMIT");
  nodes.exchange();
  CHECK(nodes.b.scalar("SELECT what FROM audit_log") == "open");
}

TEST_CASE("tables: left out on one node alone, that one takes nothing that has rows of it, and catches up later",
          "[left_out]") {
  Pair nodes(kSchema);
  nodes.check_forgotten();
  leave_out(nodes.a, {"audit_*"});
  nodes.a.restart();
  nodes.b.execute("INSERT INTO audit_log VALUES (1, 'b'); INSERT INTO item VALUES (1, 'b')");
  nodes.a.execute("INSERT INTO audit_log VALUES (2, 'a'); INSERT INTO item VALUES (2, 'a')");
  const auto turned_down = nodes.a.try_pull(nodes.b);
  REQUIRE_FALSE(turned_down);
  CHECK(turned_down.error().kind == ErrorKind::kRejected);
  CHECK_THAT(turned_down.error().text(),
             Catch::Contains("table public.audit_log takes part on") &&
                 Catch::Contains("but not here: it is left out by tables_except ('audit_*')") &&
                 Catch::Contains("set 'tables' and 'tables_except' alike on all machines"));
  CHECK(nodes.a.scalar("SELECT count(*) FROM item") == "1");
  CHECK(nodes.b.try_pull(nodes.a));
  CHECK(nodes.b.scalar("SELECT count(*) FROM item") == "2");

  // In again: the rows of both are with both.
  leave_out(nodes.a, {});
  CHECK(nodes.a.restart().refused.empty());
  nodes.check_forgotten();
  CHECK(nodes.a.scalar("SELECT string_agg(what, ',' ORDER BY id) FROM audit_log") == "b,a");
  CHECK(nodes.a.rows("audit_log") == nodes.b.rows("audit_log"));
  CHECK(nodes.a.rows("item") == nodes.b.rows("item"));
}
