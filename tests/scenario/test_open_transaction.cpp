// A transaction of the application that stays open for long stalls nothing but its own rows.
#include <fmt/format.h>

#include <catch2/catch.hpp>

#include "fleet.h"
#include "wait_until.h"

using namespace mbsync::test;
using Clock = std::chrono::steady_clock;

namespace {

constexpr const char* kSchema = "CREATE TABLE item (id int PRIMARY KEY, note text)";

/// How long an update of row `id` takes from its commit on `from` to be seen on `to`.
milliseconds pass(SqlSession& from, SqlSession& to, int id, const std::string& note,
                  milliseconds patience = seconds{60}) {
  from.execute(fmt::format("UPDATE item SET note = '{}' WHERE id = {}", note, id));
  const auto committed = Clock::now();
  const std::string look = fmt::format("SELECT note = '{}' FROM item WHERE id = {}", note, id);
  REQUIRE(wait_until(
      patience, [&] { return to.scalar(look) == "t"; }, milliseconds{1}));
  return since(committed);
}

struct MetPair {
  Fleet fleet;
  Node& a = fleet.add_node(Fleet::shared_cluster(), "a", kSchema);
  Node& b = fleet.add_node(Fleet::shared_cluster(), "b", kSchema);

  MetPair() {
    fleet.connect(a, b);
    a.start();
    b.start();
    fleet.await_met({&a, &b});
    // Written when both have met, so that no row is left for the first comparison to look at.
    a.execute("INSERT INTO item SELECT i, 'old' FROM generate_series(1, 100) i");
    fleet.await_converged({&a, &b});
  }
};

const milliseconds kSoon = sanitized() ? milliseconds{10'000} : milliseconds{1'000};

}  // namespace

TEST_CASE("open transaction: other rows go through both ways while one has updated a row and another reads") {
  MetPair pair;
  SqlSession writer = pair.a.connect();
  writer.execute("BEGIN; UPDATE item SET note = 'not committed' WHERE id = 1; DELETE FROM item WHERE id = 2");
  SqlSession reader = pair.a.connect();
  reader.execute(
      "BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM item; SELECT * FROM item WHERE id = 3 FOR KEY "
      "SHARE");
  SqlSession remote_reader = pair.b.connect();
  remote_reader.execute("BEGIN ISOLATION LEVEL SERIALIZABLE; SELECT count(*) FROM item");

  SqlSession on_a = pair.a.connect();
  SqlSession on_b = pair.b.connect();
  milliseconds slowest_there{0};
  milliseconds slowest_back{0};
  for (int i = 0; i < 20; ++i) {
    slowest_there = std::max(slowest_there, pass(on_a, on_b, 3 + i, fmt::format("of a {}", i)));
    slowest_back = std::max(slowest_back, pass(on_b, on_a, 3 + i, fmt::format("of b {}", i)));
  }
  CHECK(slowest_there < kSoon);
  CHECK(slowest_back < kSoon);
  // What is not committed is nobody's business.
  CHECK(pair.b.scalar("SELECT string_agg(note, ',' ORDER BY id) FROM item WHERE id < 3") == "old,old");

  writer.execute("COMMIT");
  const auto committed = Clock::now();
  reader.execute("COMMIT");
  remote_reader.execute("COMMIT");
  pair.fleet.await_converged({&pair.a, &pair.b});
  const auto own = since(committed);
  CHECK(pair.b.scalar("SELECT note FROM item WHERE id = 1") == "not committed");
  CHECK(pair.b.scalar("SELECT count(*) FROM item WHERE id = 2") == "0");
  report(fmt::format(
      "open transaction: other rows took at most {} ms from a to b and {} ms back; its own {} ms after the commit",
      slowest_there.count(), slowest_back.count(), own.count()));
}

TEST_CASE("open transaction: when the peer changes the locked row too, only that row waits, and nothing is lost") {
  MetPair pair;
  SqlSession holder = pair.a.connect();
  holder.execute("BEGIN; UPDATE item SET note = 'held' WHERE id = 10");
  SqlSession on_a = pair.a.connect();
  SqlSession on_b = pair.b.connect();

  // One pull brings the locked row and others.
  on_b.execute("UPDATE item SET note = 'of b' WHERE id IN (1, 10)");
  const auto written = Clock::now();
  const auto arrived = [&](int id) {
    return on_a.scalar(fmt::format("SELECT note = 'of b' FROM item WHERE id = {}", id)) == "t";
  };
  CHECK(wait_until(seconds{10}, [&] { return arrived(1); }));
  const auto together = since(written);

  milliseconds slowest_there{0};
  milliseconds slowest_back{0};
  milliseconds slowest_local{0};
  int passed = 0;
  while (since(written) < seconds{5}) {
    slowest_there = std::max(slowest_there, pass(on_a, on_b, 50 + passed % 40, fmt::format("of a {}", passed)));
    // The peer goes on writing the locked row as well: every pull meets it.
    on_b.execute(fmt::format("UPDATE item SET note = 'of b {}' WHERE id = 10", passed));
    slowest_back = std::max(slowest_back, pass(on_b, on_a, 50 + passed % 40, fmt::format("of b {}", passed)));
    // An application that writes a row of such a pull meets the lock that apply holds for moments.
    const auto began = Clock::now();
    on_a.execute("BEGIN; UPDATE item SET note = note WHERE id = 1; ROLLBACK");
    slowest_local = std::max(slowest_local, since(began));
    ++passed;
  }
  CHECK(on_a.scalar("SELECT note FROM item WHERE id = 10") == "old");
  pair.a.await_log("rows are held by application transactions");
  CHECK(pair.a.count_in_log("rows are held by application transactions") == 1);

  holder.execute("COMMIT");
  const auto committed = Clock::now();
  pair.fleet.await_converged({&pair.a, &pair.b}, seconds{120});
  const auto took = since(committed);
  // The held write was made before, or after, what b wrote; the other is kept.
  INFO(pair.a.scalar("SELECT string_agg(c::text, E'\\n') FROM mbsync.conflict_value c"));
  CHECK(pair.a.scalar("SELECT count(*) FROM mbsync.conflict_value") == "1");
  CHECK(pair.a.scalar("SELECT count(*) FROM mbsync.conflict_value WHERE key = '10'") == "1");
  pair.a.await_log("held rows have all been brought up to date");
  report(fmt::format(
      "open transaction, locked row changed by the peer as well: a row of the same pull arrived {} ms after its write; "
      "then {} writes each way in 5 s, a to b at most {} ms, b to a at most {} ms; local writes to a row of those "
      "pulls waited up to {} ms; converged {} ms after the commit",
      together.count(), passed, slowest_there.count(), slowest_back.count(), slowest_local.count(), took.count()));
  CHECK(slowest_there < kSoon);
  CHECK(slowest_back < kSoon);
}
