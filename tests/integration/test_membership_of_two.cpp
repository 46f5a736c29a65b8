// Two that have gone on without each other, the exception to more than half (CONFLICTS.md C22), where either has taken
// others in since: they stay apart, and a person is told how to make them one fleet.
#include <catch2/catch.hpp>

#include "shops.h"

using namespace mbsync;
using namespace mbsync::test;

namespace {

/// What a running node would log and show.
std::string trouble(PgNode& to, PgNode& from) {
  std::string text;
  for (int tries = 0; tries < 5; ++tries) {
    const auto outcome = to.try_pull(from);
    text = outcome ? "" : outcome.error().text();
    if (!outcome || !outcome->ask_again) {
      break;
    }
  }
  return text;
}

/// As it is told to a person: the machine joins as a new one.
void give_way(PgNode& node) {
  node.execute("DROP SCHEMA mbsync CASCADE");
  node.restart();
}

}  // namespace

TEST_CASE("membership: two that each took others in stay apart, until a person makes them one (C22)") {
  Pair pair(kShop);
  auto& [a, b] = pair;
  PgNode c(shared_cluster(), fresh_database_name(), kShop);
  PgNode d(shared_cluster(), fresh_database_name(), kShop);
  pair.exchange();
  pair.check_forgotten();
  say_forget(a, b);
  say_forget(b, a);
  c.prepare();
  d.prepare();
  meet({&a, &c});
  meet({&b, &d});
  a.execute("UPDATE product SET name = 'of a' WHERE id = 1");
  b.execute("UPDATE product SET name = 'of b' WHERE id = 2");
  c.execute("INSERT INTO product VALUES (8, 'of c', 1)");
  d.execute("INSERT INTO product VALUES (9, 'of d', 1)");
  const bool forgets = GENERATE(true, false);
  if (forgets) {
    meet({&a, &c});
    meet({&b, &d});
    for (auto* node : {&a, &b, &c, &d}) {
      CHECK(live_writes(*node) == "0");
    }
  }
  std::vector<std::string> were;
  for (auto* node : {&a, &b, &c, &d}) {
    were.push_back(id_of(*node));
  }

  // The link heals.
  meet({&a, &b, &c, &d}, 8);
  for (auto* node : {&a, &b, &c, &d}) {
    CHECK(id_of(*node) == were[0]);
    were.erase(were.begin());
  }
  check_all_equal({&a, &c}, "product");
  check_all_equal({&b, &d}, "product");
  CHECK(a.scalar("SELECT string_agg(name, ' ' ORDER BY id) FROM product") == "of a p2 p3 p4 p5 of c");
  CHECK(b.scalar("SELECT string_agg(name, ' ' ORDER BY id) FROM product") == "p1 of b p3 p4 p5 of d");
  for (auto* from : {&a, &c}) {
    const auto said = trouble(b, *from);
    CHECK_THAT(said, Catch::Contains("has gone on without this node, and this node without ") &&
                         Catch::Contains(a.database() + " (" + id_of(a) + ")") &&
                         Catch::Contains("DROP SCHEMA mbsync CASCADE"));
  }

  give_way(b);
  give_way(d);
  meet({&a, &c, &b, &d}, 6);
  check_all_equal({&a, &b, &c, &d}, "product");
  CHECK(d.scalar("SELECT string_agg(name, ' ' ORDER BY id) FROM product") == "of a p2 p3 p4 p5 of c of d");
  const auto kept = "SELECT count(*) FROM mbsync.conflict_record WHERE to_jsonb(conflict_record)::text LIKE '%of b%'";
  CHECK(a.scalar(kept) != "0");
}

TEST_CASE("membership: who is alone now, but has forgotten with others, is told why it cannot come back (C22)") {
  Pair pair(kShop);
  auto& [a, b] = pair;
  PgNode c(shared_cluster(), fresh_database_name(), kShop);
  pair.exchange();
  pair.check_forgotten();
  say_forget(a, b);
  say_forget(b, a);
  auto& high = a.store().self().id < b.store().self().id ? b : a;
  auto& low = &high == &a ? b : a;
  c.prepare();
  meet({&high, &c});
  // As it would be had anybody asked it meanwhile; else it takes the other one back.
  low.execute("UPDATE mbsync.node SET agreed = true WHERE declared");
  high.execute("UPDATE product SET name = 'of both' WHERE id = 1");
  meet({&high, &c});
  CHECK(live_writes(high) == "0");
  say_forget(high, c);
  const auto was = id_of(high);
  meet({&high, &low});
  CHECK(id_of(high) == was);
  CHECK(high.scalar("SELECT name FROM product WHERE id = 1") == "of both");
  CHECK_THAT(trouble(high, low), Catch::Contains("may have forgotten what the other has never had"));
}
