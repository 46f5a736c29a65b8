// The model checker: what the model says and what real nodes do, over random histories (README.md).
//
// MBSYNC_HISTORIES=n   how many        MBSYNC_SEED=n   the first of them; a failure names its own
// MBSYNC_MINUTES=n     in place of a number of histories: the long form
#include <catch2/catch.hpp>
#include <cstdlib>
#include <filesystem>
#include <iostream>

#include "runner.h"

using namespace mbsync;
using namespace mbsync::checker;

namespace {

constexpr std::uint64_t kHistories = 2000;
// The same ones each time, so that a change is to blame for what it breaks; the long form takes fresh ones.
constexpr std::uint64_t kSeed = 2000;

const char* given(const char* name) {
  const char* text = std::getenv(name);
  return text != nullptr && *text != '\0' ? text : nullptr;
}

// In memory where there is room: with data this short-lived, making and removing files is a sixth of all work.
test::TempCluster& cluster() {
  constexpr std::uintmax_t kRoom = 2'000'000'000;
  std::error_code none;
  const auto shared_memory = std::filesystem::space("/dev/shm", none);
  if (!none && shared_memory.available > kRoom && given("TMPDIR") == nullptr) {
    ::setenv("TMPDIR", "/dev/shm", 1);
  }
  static test::TempCluster one(fast_cluster());
  return one;
}

// Histories always the same, in which what is wrong on purpose has to show.
Verdict check_noticed(Faults faults, bool shrink = false) {
  Wanted wanted;
  wanted.seed = 6300;
  wanted.histories = 200;
  wanted.faults = std::move(faults);
  wanted.shrink = shrink;
  auto verdict = check(cluster(), wanted);
  INFO(verdict.counts.text());
  CHECK_FALSE(verdict.failure.empty());
  return verdict;
}

}  // namespace

TEST_CASE("histories: real nodes do what the model says", "[histories]") {
  Wanted wanted;
  const bool fresh = given("MBSYNC_SEED") != nullptr || given("MBSYNC_MINUTES") != nullptr;
  // Small enough to be typed again.
  wanted.seed = !fresh                            ? kSeed
                : given("MBSYNC_SEED") != nullptr ? test::seed_from_environment()
                                                  : test::seed_from_environment() % 100000000;
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

TEST_CASE("checker: a rule that is wrong is noticed, and what is left of the history is short", "[faults]") {
  Rules rules;
  rules.column = first_writer;
  const auto verdict = check_noticed({.rules = rules}, true);
  INFO(verdict.failure);
  CHECK(verdict.steps_left <= 4);
}

TEST_CASE("checker: so is a deletion that beats an update", "[faults]") {
  Rules rules;
  rules.update_beats_delete = false;
  check_noticed({.rules = rules});
}

TEST_CASE("checker: so is a row of a transaction that does not arrive with the others", "[faults]") {
  check_noticed({.sabotage =
                     "DO $$ DECLARE t text; BEGIN FOR t IN SELECT tablename FROM pg_tables WHERE schemaname = "
                     "'public' LOOP EXECUTE format('DELETE FROM %1$I WHERE ctid = (SELECT min(ctid) FROM %1$I)', "
                     "t); END LOOP; END $$"});
}

TEST_CASE("checker: so is a write that lost and is not on record", "[faults]") {
  check_noticed({.sabotage = "DELETE FROM mbsync.conflict_record"});
}

TEST_CASE("checker: so is what one part of the state does not tell as it should", "[faults]") {
  struct Fault {
    const char* sabotage;
    const char* noticed;
  };
  const auto fault = GENERATE(values<Fault>({
      // What gave way to another row (C19), and what was done because of references (C20).
      {"DELETE FROM mbsync.conflict_record WHERE kind = 'unique'", "on record"},
      {"DELETE FROM mbsync.conflict_record WHERE kind = 'reference'", "on record"},
      // What a newcomer and the fleet had (C9).
      {"DELETE FROM mbsync.conflict_record WHERE kind = 'newcomer'", "on record"},
      // A share of a counter that is counted twice (C16).
      {"UPDATE mbsync.counter SET total = 2 * total", "should have"},
      // A row that waits and is taken for one that does not (C10, C21).
      {"DELETE FROM mbsync.parked; UPDATE mbsync.change SET unseen = false", ""},
      // A write of mbsync's own that nobody hears of (C18).
      {"DELETE FROM mbsync.change c USING mbsync.conflict_record r, mbsync.synced_table t WHERE r.kind IN ('unique', "
       "'reference') AND t.table_name = r.table_name AND c.tab = t.id AND c.key = r.key",
       ""},
  }));
  CAPTURE(fault.sabotage);
  CHECK_THAT(check_noticed({.sabotage = fault.sabotage}).failure, Catch::Contains(fault.noticed));
}

TEST_CASE("checker: so is a mending that nothing called for", "[faults]") {
  const auto verdict = check_noticed(
      {.sabotage =
           "INSERT INTO mbsync.conflict_record (id, kind, schema_name, table_name, key, dots, columns, versions, "
           "outcome, "
           "at, is_open) SELECT md5('made up')::uuid, 'reference', 'public', 't0', '1', '{}', '{}', "
           "'[{\"node\": \"0000000000000001\", \"counter\": 1, \"at\": \"2010-01-01T00:00:00Z\", \"deleted\": true, "
           "\"values\": {}}]', '{\"exists\": true, \"rule\": \"restrict\"}', now(), false ON CONFLICT DO NOTHING"});
  CHECK_THAT(verdict.failure, Catch::Contains("it has come back, and no"));
}
