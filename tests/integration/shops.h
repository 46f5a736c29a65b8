// Three machines of a shop, and what tests of members that are away (CONFLICTS.md C22) do with them.
#pragma once

#include <catch2/catch.hpp>
#include <memory>
#include <string>

#include "membership_desk.h"
#include "node_pair.h"

namespace mbsync::test {

inline const char* const kShop =
    "CREATE TABLE product (id int PRIMARY KEY, name text, stock int); INSERT INTO product SELECT i, 'p' || i, 10 FROM "
    "generate_series(1, 5) i";

/// A fleet whose machines have been off for long enough.
struct Shops : Three {
  Shops() : Three(kShop) {
    exchange();
    forget();
    for (auto* node : {&a, &b, &c}) {
      silence(*node);
    }
  }

  /// As if it had heard of nobody for an hour.
  static void silence(PgNode& node) { node.execute("UPDATE mbsync.node SET last_seen = now() - interval '1 hour'"); }
};

inline std::unique_ptr<MembershipDesk> desk(PgNode& node) {
  auto opened = MembershipDesk::open(*parse_database_url(node.url()));
  REQUIRE(opened);
  return std::move(*opened);
}

inline std::string id_of(PgNode& node) {
  return to_string(node.store().self().id);
}

inline void say_forget(PgNode& on, PgNode& of) {
  Shops::silence(on);
  const auto said = desk(on)->forget(id_of(of));
  REQUIRE(said);
  CHECK(said->news);
  Shops::silence(on);
}

/// What a pull says, or "" if all is well; repeated as a running node does.
inline std::string pull(PgNode& to, PgNode& from) {
  for (int tries = 0; tries < 5; ++tries) {
    const auto outcome = to.try_pull(from);
    if (!outcome) {
      return outcome.error().message;
    }
    if (!outcome->ask_again) {
      return "";
    }
  }
  return "asks again for ever";
}

/// Whoever can, from whomever it can.
inline void meet(std::initializer_list<PgNode*> nodes, int rounds = 4) {
  for (int round = 0; round < rounds; ++round) {
    for (auto* to : nodes) {
      for (auto* from : nodes) {
        if (to != from) {
          pull(*to, *from);
        }
      }
      try_parked_again(*to);
    }
  }
}

inline std::string live_writes(PgNode& node) {
  REQUIRE(node.store().forget_stable());
  return node.scalar("SELECT count(*) FROM mbsync.change");
}

inline void check_all_equal(std::initializer_list<PgNode*> nodes, const std::string& table) {
  for (auto* node : nodes) {
    CHECK(Pair::rows(*node, table) == Pair::rows(**nodes.begin(), table));
  }
}

}  // namespace mbsync::test
