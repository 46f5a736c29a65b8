// Members that are away: said, agreed, taken back, and come back as another (CONFLICTS.md C22).
#include <catch2/catch.hpp>

#include "policies.h"
#include "shops.h"

using namespace mbsync;
using namespace mbsync::test;

TEST_CASE("membership: a fleet forgets what a member that is away has not got (C22)") {
  Shops shops;
  shops.a.execute("UPDATE product SET name = 'new' WHERE id = 1");
  meet({&shops.a, &shops.b});
  CHECK(live_writes(shops.a) == "1");
  say_forget(shops.a, shops.c);
  meet({&shops.a, &shops.b});
  CHECK(live_writes(shops.a) == "0");
  CHECK(live_writes(shops.b) == "0");
  for (auto* node : {&shops.a, &shops.b}) {
    CHECK(node->scalar("SELECT agreed FROM mbsync.node WHERE name = '" + shops.c.database() + "'") == "t");
  }
  const auto again = desk(shops.b)->forget(shops.c.database());
  REQUIRE(again);
  CHECK_FALSE(again->news);
}

TEST_CASE("membership: who is there after all is taken back, if not all have heard that it is away (C22)") {
  Shops shops;
  say_forget(shops.a, shops.c);
  CHECK(pull(shops.b, shops.a).empty());
  CHECK(pull(shops.c, shops.b).find("has heard that this node is away") != std::string::npos);
  CHECK(pull(shops.b, shops.c).find("it was said of it that it is away") != std::string::npos);
  shops.c.execute("INSERT INTO product VALUES (7, 'of c', 1)");
  meet({&shops.a, &shops.b, &shops.c});
  check_all_equal({&shops.a, &shops.b, &shops.c}, "product");
  CHECK(shops.a.scalar("SELECT name FROM product WHERE id = 7") == "of c");
  CHECK(shops.c.scalar("SELECT away FROM mbsync.membership") == "f");
  for (auto* node : {&shops.a, &shops.b, &shops.c}) {
    CHECK(node->scalar("SELECT count(*) FROM mbsync.node") == "3");
    CHECK(live_writes(*node) == "0");
  }
}

TEST_CASE("membership: who was away comes back as another, with all that only it has (C22)") {
  Shops shops;
  auto& [a, b, c] = static_cast<Three&>(shops);
  c.execute("INSERT INTO product VALUES (7, 'of c', 1)");
  c.execute("UPDATE product SET name = 'c renamed it' WHERE id = 1");
  c.execute("UPDATE product SET stock = 3 WHERE id = 2");
  c.execute("DELETE FROM product WHERE id = 5");
  say_forget(a, c);
  meet({&a, &b});
  a.execute("UPDATE product SET stock = 8 WHERE id = 1");
  a.execute("DELETE FROM product WHERE id IN (2, 3)");
  b.execute("INSERT INTO product VALUES (8, 'of b', 1)");
  meet({&a, &b});
  CHECK(live_writes(a) == "0");
  CHECK(live_writes(b) == "0");

  const auto was = id_of(c);
  const auto settings = c.scalar("SELECT count(*) FROM mbsync.settings");
  meet({&a, &b, &c});
  CHECK(id_of(c) != was);
  CHECK(c.scalar("SELECT count(*) FROM mbsync.settings") == settings);
  check_all_equal({&a, &b, &c}, "product");
  CHECK(Pair::rows(a, "product") == "(1,\"c renamed it\",8)\n(2,p2,3)\n(4,p4,10)\n(7,\"of c\",1)\n(8,\"of b\",1)");
  for (auto* node : {&a, &b, &c}) {
    CHECK(node->scalar("SELECT count(*) FROM mbsync.node") == "4");
    CHECK(live_writes(*node) == "0");
  }
  c.execute("UPDATE product SET name = 'and goes on' WHERE id = 4");
  c.restart();
  meet({&a, &b, &c});
  CHECK(b.scalar("SELECT name FROM product WHERE id = 4") == "and goes on");
  check_all_equal({&a, &b, &c}, "product");
}

TEST_CASE("membership: a node that comes back has drawn its new id once, although it was stopped meanwhile (C22)") {
  Shops shops;
  auto& [a, b, c] = static_cast<Three&>(shops);
  say_forget(a, c);
  meet({&a, &b});
  const auto ask_as_another = [&] {
    // Told that it is gone, it asks as another, and is stopped before there is an answer.
    auto session = c.store().open_pull("a");
    REQUIRE(session);
    const auto request = (*session)->ask(std::chrono::milliseconds{0});
    REQUIRE(request);
    REQUIRE(a.store().answer(*request, (*session)->sink()));
    REQUIRE((*session)->apply());
    const auto next = (*session)->ask(std::chrono::milliseconds{0});
    REQUIRE(next);
    CHECK(next->was == c.store().self().id);
    return next->sender.id;
  };
  const auto drawn = ask_as_another();
  c.restart();
  CHECK(ask_as_another() == drawn);
  CHECK(pull(c, a).empty());
  CHECK(c.store().self().id == drawn);
  c.restart();
  CHECK(c.store().self().id == drawn);
  meet({&a, &b, &c});
  CHECK(a.scalar("SELECT count(*) FROM mbsync.node") == "4");
}

TEST_CASE("membership: an answer to who this node was is not taken by who it is (C22)") {
  Shops shops;
  auto& [a, b, c] = static_cast<Three&>(shops);
  say_forget(a, c);
  meet({&a, &b});
  REQUIRE(c.try_pull(a));
  auto late = c.store().open_pull("b");
  REQUIRE(late);
  const auto request = (*late)->ask(std::chrono::milliseconds{0});
  REQUIRE(request);
  REQUIRE(b.store().answer(*request, (*late)->sink()));
  CHECK(pull(c, a).empty());
  const auto outcome = (*late)->apply();
  REQUIRE(outcome);
  CHECK(outcome->ask_again);
}

TEST_CASE("membership: what was counted on a node that is away counts once (C16, C22)") {
  Three shops("CREATE TABLE stock (id int PRIMARY KEY, amount int); INSERT INTO stock VALUES (1, 100), (2, 100)");
  auto& [a, b, c] = shops;
  publish_to({&a, &b, &c}, "[[table]]\nname = 'stock'\n[table.columns]\namount = 'sum'\n");
  shops.exchange();
  for (auto* node : {&a, &b, &c}) {
    Shops::silence(*node);
  }
  c.execute("UPDATE stock SET amount = amount - 1 WHERE id = 1");
  pull(c, a);
  c.execute("UPDATE stock SET amount = amount - 2 WHERE id IN (1, 2)");
  c.execute("DELETE FROM stock WHERE id = 2");
  say_forget(a, c);
  a.execute("UPDATE stock SET amount = amount - 10");
  meet({&a, &b});
  meet({&a, &b, &c});
  check_all_equal({&a, &b, &c}, "stock");
  CHECK(Pair::rows(a, "stock") == "(87,1)");
  c.execute("UPDATE stock SET amount = amount + 5 WHERE id = 1");
  b.execute("UPDATE stock SET amount = amount + 5 WHERE id = 1");
  meet({&a, &b, &c});
  for (auto* node : {&a, &b, &c}) {
    CHECK(node->scalar("SELECT amount FROM stock") == "97");
    CHECK(live_writes(*node) == "0");
  }
}

TEST_CASE("membership: who comes back has foreign and unique keys that hold (C18, C22)") {
  Three shops(
      "CREATE TABLE customer (id int PRIMARY KEY, mail text UNIQUE); CREATE TABLE bill (id int PRIMARY KEY, customer "
      "int "
      "NOT NULL REFERENCES customer, note text); INSERT INTO customer VALUES (1, 'one'), (2, 'two'), (3, 'three'); "
      "INSERT INTO bill VALUES (1, 3, 'old')");
  auto& [a, b, c] = shops;
  shops.exchange();
  shops.forget();
  for (auto* node : {&a, &b, &c}) {
    Shops::silence(*node);
  }
  c.execute("INSERT INTO customer VALUES (5, 'new')");
  c.execute("INSERT INTO bill VALUES (2, 1, 'of c'), (3, 5, 'of c')");
  say_forget(a, c);
  a.execute("DELETE FROM bill; DELETE FROM customer WHERE id IN (1, 3)");
  a.execute("INSERT INTO customer VALUES (6, 'new')");
  meet({&a, &b});
  CHECK(live_writes(a) == "0");
  meet({&a, &b, &c});
  check_all_equal({&a, &b, &c}, "customer");
  check_all_equal({&a, &b, &c}, "bill");
  CHECK(Pair::rows(b, "bill") == "(1,2,\"of c\")\n(5,3,\"of c\")");
  CHECK(b.scalar("SELECT string_agg(id::text, ',' ORDER BY id) FROM customer") == "1,2,5,6");
  for (auto* node : {&a, &b, &c}) {
    CHECK(live_writes(*node) == "0");
  }
}

TEST_CASE("membership: rows that wait are looked at again by who comes back (C10, C22)") {
  Shops shops;
  auto& [a, b, c] = static_cast<Three&>(shops);
  SqlSession application(c.url());
  application.execute("BEGIN; UPDATE product SET stock = 4 WHERE id = 1");
  a.execute("UPDATE product SET name = 'new' WHERE id = 1");
  pull(c, a);
  CHECK(c.scalar("SELECT count(*) FROM mbsync.change WHERE unseen") == "1");
  say_forget(a, c);
  meet({&a, &b});
  const auto waits = pull(c, a);
  CHECK(waits != "");
  application.execute("COMMIT");
  meet({&a, &b, &c});
  check_all_equal({&a, &b, &c}, "product");
  CHECK(a.scalar("SELECT name || stock FROM product WHERE id = 1") == "new4");
  for (auto* node : {&a, &b, &c}) {
    CHECK(live_writes(*node) == "0");
  }
}

TEST_CASE("membership: who is banned is not answered, and may come back once it is not (C22)") {
  Shops shops;
  auto& [a, b, c] = static_cast<Three&>(shops);
  c.execute("UPDATE product SET name = 'of c' WHERE id = 1");
  const auto said = desk(a)->ban(c.database());
  REQUIRE(said);
  meet({&a, &b, &c});
  CHECK(pull(c, b).find("says that this node is banned") != std::string::npos);
  CHECK(pull(b, c).find("it was said of it that it is away") != std::string::npos);
  CHECK(b.scalar("SELECT name FROM product WHERE id = 1") == "p1");
  b.execute("UPDATE product SET stock = 1 WHERE id = 1");
  meet({&a, &b, &c});
  CHECK(live_writes(a) == "0");
  CHECK(live_writes(b) == "0");

  REQUIRE(desk(b)->unban(c.database()));
  meet({&a, &b, &c}, 6);
  check_all_equal({&a, &b, &c}, "product");
  CHECK(a.scalar("SELECT name || stock FROM product WHERE id = 1") == "of c1");
}

TEST_CASE("membership: what may not be said is refused with the reason (C22)") {
  Shops shops;
  auto& [a, b, c] = static_cast<Three&>(shops);
  const auto refusal = [](const Result<Said>& said) { return said ? std::string("said") : said.error().message; };
  CHECK(refusal(desk(a)->forget("nobody")).find("no member of the fleet is called \"nobody\"") != std::string::npos);
  CHECK(refusal(desk(a)->forget(id_of(a))).find("is the node of this database itself") != std::string::npos);
  a.execute("UPDATE mbsync.node SET last_seen = now() - interval '5 seconds' WHERE name = '" + c.database() + "'");
  CHECK(refusal(desk(a)->forget(c.database())).find("is there: it was heard of 5 s ago") != std::string::npos);
  Shops::silence(a);
  say_forget(a, c);
  CHECK(refusal(desk(a)->forget(b.database())).find("more than half have to stay") != std::string::npos);
  meet({&a, &b});
  Shops::silence(a);
  pull(c, a);
  CHECK(refusal(desk(a)->forget(b.database())) == "said");
}

TEST_CASE("membership: of two, either may go on alone, and one comes back to the other (C22)") {
  Pair pair(kShop);
  pair.exchange();
  pair.check_forgotten();
  Shops::silence(pair.a);
  Shops::silence(pair.b);
  const auto said = desk(pair.a)->forget(id_of(pair.b));
  REQUIRE(said);
  CHECK(said->alone);
  say_forget(pair.b, pair.a);
  pair.a.execute("UPDATE product SET name = 'of a' WHERE id = 1");
  pair.b.execute("UPDATE product SET name = 'of b' WHERE id = 2");
  pair.b.execute("INSERT INTO product VALUES (9, 'of b', 1)");
  meet({&pair.a, &pair.b}, 6);
  check_all_equal({&pair.a, &pair.b}, "product");
  CHECK(pair.a.scalar("SELECT name FROM product WHERE id = 1") == "of a");
  CHECK(pair.a.scalar("SELECT name FROM product WHERE id = 2") == "of b");
  CHECK(pair.a.scalar("SELECT name FROM product WHERE id = 9") == "of b");
}

TEST_CASE("membership: a node that has joined by one that was away comes back as another (C22)") {
  Shops shops;
  auto& [a, b, c] = static_cast<Three&>(shops);
  c.execute("UPDATE product SET name = 'of c' WHERE id = 1");
  say_forget(a, c);
  meet({&a, &b});
  // Not so by one who knows that it is away.
  PgNode late(shared_cluster(), fresh_database_name(), kShop);
  late.prepare();
  meet({&c, &late});
  CHECK(late.scalar("SELECT name FROM product WHERE id = 1") == "of c");
  CHECK(pull(a, late).find("that nobody else has, and the fleet has gone on without that node") != std::string::npos);
  CHECK(pull(late, a).find("has heard that this node is away") != std::string::npos);
  const auto was = id_of(late);
  meet({&a, &b, &c, &late}, 6);
  CHECK(id_of(late) != was);
  check_all_equal({&a, &b, &c, &late}, "product");
  CHECK(a.scalar("SELECT name FROM product WHERE id = 1") == "of c");
  for (auto* node : {&a, &b, &c, &late}) {
    CHECK(live_writes(*node) == "0");
  }
}

TEST_CASE("membership: who is silent for long is left out, by one, and warned of before (C22)") {
  Shops shops;
  auto& [a, b, c] = static_cast<Three&>(shops);
  a.execute("UPDATE product SET name = 'new' WHERE id = 1");
  meet({&a, &b});
  c.execute("SELECT 1");
  const auto a_day_later = [](PgNode& node, PgNode& silent) {
    node.execute("UPDATE mbsync.node SET silent_on = silent_on - 1");
    node.execute("UPDATE mbsync.node SET last_seen = now() - interval '2 days' WHERE name = '" + silent.database() +
                 "'");
  };
  auto& first = a.store().self().id < b.store().self().id ? a : b;
  for (int day = 1; day <= 3; ++day) {
    a_day_later(first, c);
    const auto silent = first.store().look_after_silent(3);
    REQUIRE(silent);
    REQUIRE(silent->size() == 1);
    CHECK(silent->front().days == day);
    CHECK(silent->front().declared == (day == 3));
    const auto same_day = first.store().look_after_silent(0);
    REQUIRE(same_day);
    CHECK((same_day->empty() || same_day->front().days == day));
  }
  meet({&a, &b});
  CHECK(live_writes(a) == "0");
  CHECK(live_writes(b) == "0");
}

TEST_CASE("membership: days on which nobody is heard of do not count, nor does who lacks nothing (C22)") {
  Shops shops;
  auto& [a, b, c] = static_cast<Three&>(shops);
  const auto silent = [&] {
    const auto found = a.store().look_after_silent(1);
    REQUIRE(found);
    return found->size();
  };
  a.execute("UPDATE mbsync.node SET last_seen = now() - interval '2 days'");
  CHECK(silent() == 0);  // it lacks nothing
  a.execute("UPDATE product SET name = 'new' WHERE id = 1");
  REQUIRE(a.store().seal_pending());
  CHECK(silent() == 0);  // nor has anybody else been here
  pull(b, a);
  CHECK(silent() == 1);
  pull(c, a);
  CHECK(silent() == 0);
}
