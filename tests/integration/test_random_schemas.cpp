// Random schemas and random writes on two nodes: whatever happens, both end up with the same rows and nothing to tell.
//
// MBSYNC_HISTORIES=n   how many schemas; MBSYNC_SEED=n   the first of them (a failure names its own)
#include <catch2/catch.hpp>
#include <cstdlib>

#include "node_pair.h"
#include "random_schema.h"

using namespace mbsync;
using namespace mbsync::test;

namespace {

int histories() {
  const char* given = std::getenv("MBSYNC_HISTORIES");
  return given == nullptr ? 6 : std::atoi(given);
}

// How many of the writes were taken; the others broke a constraint and changed nothing.
int write(PgNode& node, RandomSchema& schema, Rng& rng, int number) {
  const auto sql = schema.write(rng, number);
  try {
    node.execute((rng.below(2) == 0 ? std::string("SET client_min_messages = error; ") : std::string(kOddSession)) +
                 sql);
    return 1;
  } catch (const std::exception& error) {
    // Class 23 and nothing else: the application must never see a failure of mbsync's.
    const std::string text = error.what();
    const bool expected =
        text.find("violates") != std::string::npos || text.find("cannot affect row a second time") != std::string::npos;
    if (!expected) {
      FAIL_CHECK(text << "\nin: " << sql);
    }
    return 0;
  }
}

void run(std::uint64_t seed) {
  INFO("the same again: MBSYNC_HISTORIES=1 MBSYNC_SEED=" << seed);
  RandomSchema schema(seed);
  INFO(schema.ddl(true));
  Pair nodes(schema.ddl(false), schema.ddl(true));
  Rng rng(seed ^ 0x5DEECE66DULL);
  int taken = 0;
  for (int round = 0; round < 6; ++round) {
    if (rng.below(3) == 0) {
      auto& node = rng.below(2) == 0 ? nodes.a : nodes.b;
      for (int i = 0; i < 10; ++i) {
        taken += write(node, schema, rng, &node == &nodes.a ? 1 : 2);
      }
    } else {
      for (int i = 0; i < 20; ++i) {
        const bool on_a = rng.below(2) == 0;
        taken += write(on_a ? nodes.a : nodes.b, schema, rng, on_a ? 1 : 2);
        if (rng.below(5) == 0) {
          on_a ? nodes.a.pull(nodes.b) : nodes.b.pull(nodes.a);
        }
      }
    }
    nodes.exchange();
    nodes.exchange();  // what mbsync mends travels as well
    for (const auto& table : schema.tables()) {
      INFO("round " << round << ", table " << table);
      REQUIRE(Pair::rows(nodes.a, table) == Pair::rows(nodes.b, table));
    }
  }
  CHECK(taken > 0);
  nodes.check_forgotten();
}

}  // namespace

TEST_CASE("random schemas and rows are the same on both nodes in the end", "[schemas][random]") {
  const auto first = seed_from_environment();
  for (int i = 0; i < histories(); ++i) {
    run(first + static_cast<std::uint64_t>(i));
  }
}
