// Members that are away, where it is least likely to go well: whoever said it dies, several come back at once or twice,
// clocks were wrong, backups are restored (CONFLICTS.md C22).
#include <atomic>
#include <catch2/catch.hpp>
#include <thread>

#include "policies.h"
#include "shops.h"
#include "wait_until.h"

using namespace mbsync;
using namespace mbsync::test;

TEST_CASE("membership: who has said it is gone before all have heard it, and the others go on (C22.3)") {
  Shops shops;
  auto& [a, b, c] = static_cast<Three&>(shops);
  say_forget(a, c);
  CHECK(pull(b, a).empty());
  // The disk of a dies. b and c are all that is left, and healthy.
  b.execute("UPDATE product SET name = 'of b' WHERE id = 1");
  c.execute("UPDATE product SET name = 'of c' WHERE id = 2");
  meet({&b, &c}, 6);
  Shops::silence(b);
  Shops::silence(c);
  const auto on_b = desk(b)->forget(id_of(a));
  INFO("on b: " << (on_b ? "said" : on_b.error().text()));
  const auto on_c = desk(c)->forget(id_of(a));
  INFO("on c: " << (on_c ? "said" : on_c.error().text()));
  meet({&b, &c}, 6);
  const auto says = pull(c, b);
  INFO("c is told: " << says);
  check_all_equal({&b, &c}, "product");
}

TEST_CASE("membership: a ban is not lifted because the member had asked to be taken back (C22)") {
  Shops shops;
  auto& [a, b, c] = static_cast<Three&>(shops);
  say_forget(a, c);
  pull(b, a);
  // It turns out to be there, and is not meant to be.
  REQUIRE(desk(a)->ban(id_of(c)));
  pull(c, b);  // b has heard the first word only, and puts a wish beside it
  meet({&a, &b, &c});
  for (auto* node : {&a, &b}) {
    CHECK(node->scalar("SELECT banned FROM mbsync.membership") == "t");
  }
}

TEST_CASE("membership: of two that were away together, the second does not undo what came after the first (C22.4)") {
  Shops shops;
  auto& [a, b, c] = static_cast<Three&>(shops);
  PgNode d(shared_cluster(), fresh_database_name(), kShop);
  PgNode e(shared_cluster(), fresh_database_name(), kShop);
  d.prepare();
  e.prepare();
  meet({&a, &b, &c, &d, &e}, 4);
  // c and d are one site, and in step with each other when the line to the others fails.
  c.execute("UPDATE product SET name = 'of the site' WHERE id = 1");
  c.execute("INSERT INTO product VALUES (7, 'of the site', 1)");
  meet({&c, &d});
  for (auto* node : {&a, &b, &e}) {
    Shops::silence(*node);
  }
  say_forget(a, c);
  say_forget(a, d);
  meet({&a, &b, &e});
  // First c comes back, and all go on from there.
  meet({&a, &b, &e, &c});
  CHECK(a.scalar("SELECT name FROM product WHERE id = 1") == "of the site");
  b.execute("UPDATE product SET name = 'corrected since' WHERE id = 1");
  b.execute("DELETE FROM product WHERE id = 7");
  meet({&a, &b, &e, &c});
  for (auto* node : {&a, &b, &e, &c}) {
    CHECK(live_writes(*node) == "0");
  }
  // Then d, which has written nothing itself.
  meet({&a, &b, &e, &c, &d}, 6);
  check_all_equal({&a, &b, &c, &d, &e}, "product");
  CHECK(a.scalar("SELECT name FROM product WHERE id = 1") == "corrected since");
  CHECK(a.scalar("SELECT count(*) FROM product WHERE id = 7") == "0");
}

TEST_CASE("membership: a backup of a node from before it came back does not undo what came after that (C22.4)") {
  Shops shops;
  auto& [a, b, c] = static_cast<Three&>(shops);
  c.execute("UPDATE product SET name = 'of c' WHERE id = 1");
  REQUIRE(c.store().seal_pending());
  say_forget(a, c);
  meet({&a, &b});
  auto& cluster = shared_cluster();
  PgNode old(cluster, fresh_database_name(), "");
  cluster.execute("postgres", "DROP DATABASE \"" + old.database() + "\"");
  cluster.execute("postgres",
                  "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '" + c.database() + "'");
  REQUIRE(wait_until(std::chrono::seconds{10}, [&] {
    try {
      cluster.execute("postgres", "CREATE DATABASE \"" + old.database() + "\" TEMPLATE \"" + c.database() + "\"");
      return true;
    } catch (const std::exception&) {
      return false;
    }
  }));
  CHECK_THROWS(c.scalar("SELECT 1"));  // its session was ended for the copy
  c.restart();
  meet({&a, &b, &c});
  CHECK(a.scalar("SELECT name FROM product WHERE id = 1") == "of c");
  b.execute("UPDATE product SET name = 'corrected since' WHERE id = 1");
  meet({&a, &b, &c});
  // c's machine is set back to the backup.
  old.prepare();
  meet({&a, &b, &old}, 4);
  INFO("old is told: " << pull(old, a));
  CHECK(a.scalar("SELECT name FROM product WHERE id = 1") == "corrected since");
}

TEST_CASE("membership: a clock that was ahead once does not keep a member from being forgotten (C22)") {
  Shops shops;
  auto& [a, b, c] = static_cast<Three&>(shops);
  a.execute("UPDATE mbsync.node SET last_seen = now() + interval '10 years' WHERE id = " +
            c.scalar("SELECT id FROM mbsync.node WHERE is_self"));
  const auto said = desk(a)->forget(id_of(c));
  INFO((said ? "" : said.error().text()));
  CHECK(said);
}

TEST_CASE("membership: nor does such a clock keep it from being counted as silent (C22)") {
  Shops shops;
  auto& [a, b, c] = static_cast<Three&>(shops);
  a.execute("UPDATE product SET name = 'new' WHERE id = 1");
  meet({&a, &b});
  a.execute("UPDATE mbsync.node SET last_seen = now() + interval '10 years' WHERE id = " +
            c.scalar("SELECT id FROM mbsync.node WHERE is_self"));
  const auto silent = a.store().look_after_silent(180);
  REQUIRE(silent);
  CHECK(silent->size() == 1);
}

TEST_CASE("membership: who was taken back is not left out again the next moment (C22)") {
  Shops shops;
  auto& [a, b, c] = static_cast<Three&>(shops);
  const auto of_c = " WHERE id = " + c.scalar("SELECT id FROM mbsync.node WHERE is_self");
  // A row of a's waits on c, and nobody else writes: c's report does not go on, and a hears of c by b alone.
  SqlSession application(c.url());
  application.execute("BEGIN; UPDATE product SET stock = 4 WHERE id = 1");
  a.execute("UPDATE product SET name = 'new' WHERE id = 1");
  meet({&a, &b});
  pull(c, b);
  a.execute("UPDATE mbsync.node SET silent_days = 200, last_seen = now() - interval '200 days'" + of_c);
  const auto first = a.store().look_after_silent(180);
  REQUIRE(first);
  REQUIRE(first->size() == 1);
  REQUIRE(first->front().declared);
  pull(b, a);
  pull(c, b);
  pull(a, b);
  CHECK(a.scalar("SELECT away FROM mbsync.membership") == "f");
  const auto second = a.store().look_after_silent(180);
  REQUIRE(second);
  CHECK((second->empty() || !second->front().declared));
  CHECK(a.scalar("SELECT away FROM mbsync.membership") == "f");
}

TEST_CASE("membership: nobody is warned of a member that the fleet has gone on without already (C22)") {
  Shops shops;
  auto& [a, b, c] = static_cast<Three&>(shops);
  say_forget(a, c);
  meet({&a, &b});
  CHECK(b.scalar("SELECT count(*) FROM mbsync.node WHERE agreed") == "1");
  // b had counted as many days by the time that a said it.
  b.execute("UPDATE mbsync.node SET silent_days = 179, last_seen = now() - interval '179 days' WHERE agreed");
  const auto silent = b.store().look_after_silent(180);
  REQUIRE(silent);
  CHECK(silent->empty());  // each is a warning "switch it on" in the log, at every start of mbsync
}

TEST_CASE("membership: a banned node does not make the fleet wait for those that it names (C22)") {
  Shops shops;
  auto& [a, b, c] = static_cast<Three&>(shops);
  REQUIRE(desk(a)->ban(id_of(c)));
  meet({&a, &b});
  CHECK(live_writes(a) == "0");
  // c goes on by itself, at another place, and somebody joins it.
  PgNode late(shared_cluster(), fresh_database_name(), kShop);
  late.prepare();
  meet({&c, &late});
  CHECK(pull(c, a).find("banned") != std::string::npos);
  CHECK(a.scalar("SELECT count(*) FROM mbsync.node") == "3");
  a.execute("UPDATE product SET name = 'new' WHERE id = 1");
  meet({&a, &b});
  CHECK(live_writes(a) == "0");
}

TEST_CASE("membership: a banned node's reports let nobody forget (C22)") {
  Shops shops;
  auto& [a, b, c] = static_cast<Three&>(shops);
  REQUIRE(desk(a)->ban(id_of(c)));
  meet({&a, &b});
  a.execute("UPDATE product SET name = 'new' WHERE id = 1");
  REQUIRE(a.store().seal_pending());
  auto session = c.store().open_pull("a");
  REQUIRE(session);
  auto request = (*session)->ask(std::chrono::milliseconds{0});
  REQUIRE(request);
  request->reports[b.store().self().id] = VersionVector(
      {{a.store().self().id, std::stoll(a.scalar("SELECT counter FROM mbsync.version_vector v JOIN mbsync.node n ON "
                                                 "n.id = v.origin WHERE n.is_self"))}});
  REQUIRE(a.store().accept(*request));
  REQUIRE(a.store().answer(*request, (*session)->sink()));
  CHECK(live_writes(a) != "0");
  pull(b, a);
  CHECK(b.scalar("SELECT name FROM product WHERE id = 1") == "new");
}

TEST_CASE("membership: several that have joined by one that was away come back (C22.6)") {
  Shops shops;
  auto& [a, b, c] = static_cast<Three&>(shops);
  c.execute("UPDATE product SET name = 'of c' WHERE id = 1");
  say_forget(a, c);
  meet({&a, &b});
  PgNode d(shared_cluster(), fresh_database_name(), kShop);
  PgNode e(shared_cluster(), fresh_database_name(), kShop);
  d.prepare();
  e.prepare();
  meet({&c, &d, &e});
  d.execute("UPDATE product SET name = 'of d' WHERE id = 2");
  e.execute("UPDATE product SET name = 'of e' WHERE id = 3");
  SECTION("all meet") {
    meet({&a, &b, &c, &d, &e}, 12);
  }
  SECTION("c is broken by now") {
    meet({&d, &e});
    meet({&a, &b, &d, &e}, 12);
    INFO("d is told: " << pull(d, a) << "; e is told: " << pull(e, a));
    check_all_equal({&a, &b, &d, &e}, "product");
  }
  INFO("d is told: " << pull(d, a) << "; e is told: " << pull(e, a));
  check_all_equal({&a, &b, &d, &e}, "product");
  for (auto* node : {&a, &b, &d, &e}) {
    CHECK(live_writes(*node) == "0");
  }
}

TEST_CASE("membership: who is not banned any more comes back although another machine is switched off (C22)") {
  Shops shops;
  auto& [a, b, c] = static_cast<Three&>(shops);
  PgNode d(shared_cluster(), fresh_database_name(), kShop);
  d.prepare();
  meet({&a, &b, &c, &d});
  auto& low = a.store().self().id < b.store().self().id ? a : b;
  auto& high = &low == &a ? b : a;
  REQUIRE(desk(high)->ban(id_of(c)));
  meet({&a, &b});
  REQUIRE(desk(low)->unban(id_of(c)));
  c.execute("UPDATE product SET name = 'of c' WHERE id = 1");
  meet({&a, &b, &c}, 6);
  INFO("c is told: " << pull(c, a));
  CHECK(a.scalar("SELECT name FROM product WHERE id = 1") == "of c");
}

TEST_CASE("membership: who comes back without the right to bypass constraints (C20, C22)") {
  shared_cluster().execute("postgres", "CREATE ROLE review_app LOGIN");
  const char* const schema =
      "CREATE TABLE customer (id int PRIMARY KEY, mail text UNIQUE); CREATE TABLE bill (id int PRIMARY KEY, customer "
      "int "
      "NOT NULL REFERENCES customer ON DELETE RESTRICT, note text); CREATE TABLE line (bill int REFERENCES bill ON "
      "DELETE "
      "CASCADE, no int, PRIMARY KEY (bill, no)); INSERT INTO customer VALUES (1, 'one'), (2, 'two'), (3, 'three'), (4, "
      "'four'); INSERT INTO bill VALUES (1, 3, 'old'), (2, 4, 'old'); INSERT INTO line VALUES (1, 1), (2, 1)";
  PgNode a(shared_cluster(), fresh_database_name(), schema, "review_app");
  PgNode b(shared_cluster(), fresh_database_name(), schema, "review_app");
  PgNode c(shared_cluster(), fresh_database_name(), schema, "review_app");
  for (auto* node : {&a, &b, &c}) {
    node->prepare();
  }
  meet({&a, &b, &c});
  for (auto* node : {&a, &b, &c}) {
    CHECK(live_writes(*node) == "0");
    Shops::silence(*node);
  }
  c.execute("INSERT INTO bill VALUES (5, 1, 'of c')");
  c.execute("UPDATE bill SET note = 'of c' WHERE id = 2");
  c.execute("UPDATE customer SET mail = CASE id WHEN 1 THEN 'x' ELSE mail END");
  say_forget(a, c);
  a.execute("DELETE FROM bill; DELETE FROM customer WHERE id <> 2; INSERT INTO customer VALUES (6, 'x')");
  a.execute("UPDATE customer SET mail = 'one' WHERE id = 2");
  meet({&a, &b});
  CHECK(live_writes(a) == "0");
  meet({&a, &b, &c}, 6);
  INFO("c is told: " << pull(c, a));
  for (const char* table : {"customer", "bill", "line"}) {
    check_all_equal({&a, &b, &c}, table);
  }
  for (auto* node : {&a, &b, &c}) {
    CHECK(live_writes(*node) == "0");
  }
}
