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

struct Pair {
  Fleet fleet;
  Node& a = fleet.add_node(Fleet::shared_cluster(), "a", kSchema);
  Node& b = fleet.add_node(Fleet::shared_cluster(), "b", kSchema);

  Pair() {
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
  Pair pair;
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

TEST_CASE(
    "open transaction: when the peer changes the locked row too, nothing is lost and the application does not wait") {
  Pair pair;
  SqlSession holder = pair.a.connect();
  holder.execute("BEGIN; UPDATE item SET note = 'held' WHERE id = 1");
  SqlSession on_a = pair.a.connect();
  SqlSession on_b = pair.b.connect();

  // One pull brings the locked row and others; they belong together, so all of them wait for the lock.
  on_b.execute("UPDATE item SET note = 'of b' WHERE id IN (1, 10)");
  const auto written = Clock::now();
  // The other direction has nothing to do with it.
  milliseconds slowest_there{0};
  milliseconds slowest_local{0};
  int passed = 0;
  const auto arrived = [&](int id) {
    return on_a.scalar(fmt::format("SELECT note = 'of b' FROM item WHERE id = {}", id)) == "t";
  };
  while (since(written) < seconds{5}) {
    slowest_there = std::max(slowest_there, pass(on_a, on_b, 50 + passed % 40, fmt::format("of a {}", passed)));
    // Row 10 came with the locked one; an application that writes it meets the lock that apply holds for moments.
    const auto began = Clock::now();
    on_a.execute("BEGIN; UPDATE item SET note = note WHERE id = 10; ROLLBACK");
    slowest_local = std::max(slowest_local, since(began));
    ++passed;
  }
  const bool together_arrived = arrived(10);
  on_b.execute("UPDATE item SET note = 'of b' WHERE id = 20");
  const bool later_arrived = wait_until(seconds{5}, [&] { return arrived(20); });

  holder.execute("COMMIT");
  const auto committed = Clock::now();
  pair.fleet.await_converged({&pair.a, &pair.b}, seconds{120});
  const auto took = since(committed);
  CHECK(arrived(10));
  CHECK(arrived(20));
  // The held write was made before, or after, what b wrote; the other is kept.
  INFO(pair.a.scalar("SELECT string_agg(c::text, E'\\n') FROM mbsync.conflict c"));
  CHECK(pair.a.scalar("SELECT count(*) FROM mbsync.conflict") == "1");
  CHECK(pair.a.scalar("SELECT count(*) FROM mbsync.conflict WHERE key = '1'") == "1");
  report(fmt::format(
      "open transaction, locked row changed by the peer as well: a to b at most {} ms ({} writes in 5 s); local "
      "writes to a row of that pull wait up to {} ms; from b, a row of the same pull {}, a row written later {} "
      "within 5 s; converged {} ms after the commit",
      slowest_there.count(), passed, slowest_local.count(), together_arrived ? "arrived" : "did not arrive",
      later_arrived ? "arrived" : "did not arrive", took.count()));
}
