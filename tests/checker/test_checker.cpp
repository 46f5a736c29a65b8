// The model checker: what the model says and what real nodes do, over random histories (README.md).
//
// MBSYNC_HISTORIES=n   how many        MBSYNC_SEED=n   the first of them; a failure names its own
// MBSYNC_MINUTES=n     in place of a number of histories: the long form
#include <catch2/catch.hpp>
#include <cstdlib>
#include <iostream>

#include "runner.h"

using namespace mbsync;
using namespace mbsync::checker;

namespace {

constexpr std::uint64_t kHistories = 500;

test::TempCluster& cluster() {
  static test::TempCluster one(fast_cluster());
  return one;
}

const char* given(const char* name) {
  const char* text = std::getenv(name);
  return text != nullptr && *text != '\0' ? text : nullptr;
}

}  // namespace

TEST_CASE("histories: real nodes do what the model says", "[histories]") {
  Wanted wanted;
  // Small enough to be typed again.
  wanted.seed =
      given("MBSYNC_SEED") != nullptr ? test::seed_from_environment() : test::seed_from_environment() % 100000000;
  wanted.histories = given("MBSYNC_HISTORIES") != nullptr ? std::stoull(given("MBSYNC_HISTORIES")) : kHistories;
  if (given("MBSYNC_MINUTES") != nullptr) {
    wanted.minutes = std::stod(given("MBSYNC_MINUTES"));
  }
  const auto verdict = check(cluster(), wanted);
  std::cout << verdict.histories << " histories from seed " << wanted.seed << ", " << verdict.schemas << " schemas, "
            << verdict.seconds << " s\n"
            << verdict.counts.text() << "\n";
  if (!verdict.failure.empty()) {
    FAIL(verdict.failure);
  }
}
