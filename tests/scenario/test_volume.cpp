// Much at once: a transaction of many rows, values that are larger than what a process may hold, many tables, many
// columns. All of it arrives, and neither process grows beyond its bound, since everything streams.
//
//   short: 200,000 rows, a bytea of 60 MB.      MBSYNC_LONG=1: 1,000,000 rows, a bytea and a text of 100 MB each.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <catch2/catch.hpp>

#include "fleet.h"
#include "wait_until.h"

using namespace mbsync::test;
using Clock = std::chrono::steady_clock;

namespace {

constexpr int kTables = 300;
constexpr int kColumns = 200;

std::string schema() {
  std::string sql =
      "CREATE TABLE bulk (id bigint PRIMARY KEY, name text NOT NULL, amount numeric(12,2), at timestamptz);"
      "CREATE TABLE large (id int PRIMARY KEY, bytes bytea, words text);";
  // Large values as they are: compressing them would take longer than sending them and hide their size.
  sql += "ALTER TABLE large ALTER bytes SET STORAGE EXTERNAL, ALTER words SET STORAGE EXTERNAL;";
  std::vector<std::string> columns;
  for (int i = 1; i <= kColumns; ++i) {
    columns.push_back(fmt::format("\"column {}\" {}", i,
                                  i % 4 == 0   ? "int"
                                  : i % 4 == 1 ? "text"
                                  : i % 4 == 2 ? "numeric"
                                               : "timestamptz"));
  }
  sql += fmt::format("CREATE TABLE wide (id int PRIMARY KEY, {});", fmt::join(columns, ", "));
  for (int i = 1; i <= kTables; ++i) {
    sql += fmt::format("CREATE TABLE many_{} (id int PRIMARY KEY, note text);", i);
  }
  return sql;
}

struct WidePair {
  Fleet fleet;
  Node& a = fleet.add_node(Fleet::shared_cluster(), "a", schema());
  Node& b = fleet.add_node(Fleet::shared_cluster(), "b", schema());
  std::size_t peak_at_start = 0;

  WidePair() {
    fleet.connect(a, b);
    a.start();
    b.start();
    fleet.await_met({&a, &b});
    for (Node* node : {&a, &b}) {
      peak_at_start = std::max(peak_at_start, node->peak_resident_kib());
      node->forget_peak();
    }
  }

  /// Runs `sql` on a, waits for the other side to have as many rows, compares, and reports. The processes have done
  /// nothing else in their lives.
  void carry(const std::string& what, const std::string& sql, const std::string& arrived) {
    const auto started = Clock::now();
    a.execute(sql);
    const auto committed = Clock::now();
    const std::string expected = a.scalar(arrived);
    const bool there = wait_until(
        seconds{600}, [&] { return b.scalar(arrived) == expected; }, milliseconds{100});
    const auto took = since(committed);
    CHECK(there);
    fleet.await_converged({&a, &b}, seconds{120});
    const auto kib_a = a.peak_resident_kib();
    const auto kib_b = b.peak_resident_kib();
    report(fmt::format("volume {}: written in {} ms, at the peer {} ms later; peak resident {} + {} MiB", what,
                       std::chrono::duration_cast<milliseconds>(committed - started).count(), took.count(),
                       kib_a / 1024, kib_b / 1024));
    if (!sanitized()) {
      CHECK(peak_at_start < kResidentKibMax);
      CHECK(kib_a < kResidentKibMax);
      CHECK(kib_b < kResidentKibMax);
    }
    CHECK(a.scalar("SELECT count(*) FROM mbsync.conflict_value") == "0");
    a.stop();
    b.stop();
  }
};

}  // namespace

TEST_CASE("volume: one transaction of many rows arrives") {
  WidePair pair;
  const int rows = long_form() ? 1'000'000 : 200'000;
  pair.carry(
      fmt::format("{} rows in one transaction", rows),
      fmt::format(
          "INSERT INTO bulk SELECT i, 'name of row ' || i, i * 0.01, '2026-01-01'::timestamptz + i * interval '1 s' "
          "FROM generate_series(1, {}) i",
          rows),
      "SELECT count(*) FROM bulk");
}

TEST_CASE("volume: a value that is half as large as the bound of memory arrives") {
  WidePair pair;
  const int megabytes = long_form() ? 100 : 60;
  // Of no pattern that compression could feed on: that is the hard case for whoever buffers.
  pair.carry(fmt::format("bytea of {} MB", megabytes),
             fmt::format("INSERT INTO large SELECT 1, string_agg(sha512(i::text::bytea), ''::bytea), NULL FROM "
                         "generate_series(1, {}) i",
                         megabytes * 1'000'000 / 64),
             "SELECT md5(bytes) FROM large");
}

TEST_CASE("volume: rows with large values that are written on both sides are judged in bounded memory") {
  Fleet fleet;
  Node& a = fleet.add_node(Fleet::shared_cluster(), "a", schema());
  Node& b = fleet.add_node(Fleet::shared_cluster(), "b", schema());
  Link& link = fleet.connect(a, b);
  a.start();
  b.start();
  fleet.await_met({&a, &b});
  const auto value = [](const std::string& seed, int megabytes) {
    return fmt::format("(SELECT string_agg(sha512(('{}' || i)::bytea), ''::bytea) FROM generate_series(1, {}) i)", seed,
                       megabytes * 1'000'000 / 64);
  };
  const int megabytes = long_form() ? 100 : 8;
  const int photographs = long_form() ? 38 : 10;
  // Two rows as large as it gets, and photographs of the usual size, many of them.
  a.execute(
      fmt::format("INSERT INTO large SELECT i, {}, 'old' FROM generate_series(1, 2) i; INSERT INTO large SELECT i, {}, "
                  "'old' FROM generate_series(3, {}) i",
                  value("first", megabytes), value("photo", 2), photographs + 2));
  fleet.await_converged({&a, &b}, seconds{120});
  for (Node* node : {&a, &b}) {
    node->forget_peak();
  }
  link.cut();
  a.execute(fmt::format("UPDATE large SET bytes = {} WHERE id IN (1, 2)", value("of a", megabytes)));
  a.execute("UPDATE large SET words = 'of a' WHERE id > 2");
  b.execute(fmt::format("UPDATE large SET bytes = {} WHERE id IN (1, 2)", value("of b", megabytes)));
  b.execute("UPDATE large SET bytes = bytes || '\\x00'::bytea WHERE id > 2");
  const auto restored = Clock::now();
  link.restore();
  fleet.await_converged({&a, &b}, seconds{300});
  const auto took = since(restored);
  for (Node* node : {&a, &b}) {
    CHECK(
        node->scalar(fmt::format("SELECT count(*) FROM mbsync.conflict_value WHERE losers -> 0 ->> 'value' = {}::text",
                                 value("of a", megabytes))) == "2");
    CHECK(node->scalar("SELECT count(*) FROM mbsync.conflict_value") == "2");
    CHECK(node->scalar("SELECT count(*) FROM large WHERE words = 'of a' AND length(bytes) % 64 = 1") ==
          std::to_string(photographs));
  }
  const auto kib_a = a.peak_resident_kib();
  const auto kib_b = b.peak_resident_kib();
  report(fmt::format(
      "volume conflicts of {} MB values and of {} rows with 2 MB: settled {} ms after the link was restored; peak "
      "resident {} + {} MiB",
      megabytes, photographs, took.count(), kib_a / 1024, kib_b / 1024));
  if (!sanitized()) {
    CHECK(kib_a < kResidentKibMax);
    CHECK(kib_b < kResidentKibMax);
  }
  a.stop();
  b.stop();
}

TEST_CASE("volume: a long text arrives") {
  if (!long_form()) {
    return;
  }
  WidePair pair;
  pair.carry("text of 100 MB",
             fmt::format("INSERT INTO large SELECT 1, NULL, string_agg(md5(i::text) || E'\\t\\n\\\\ä😀', '') FROM "
                         "generate_series(1, {}) i",
                         100'000'000 / 41),
             "SELECT md5(words) FROM large");
}

TEST_CASE("volume: rows of 300 tables and of a table with 200 columns arrive") {
  WidePair pair;
  std::string sql = "BEGIN;";
  for (int i = 1; i <= kTables; ++i) {
    sql += fmt::format("INSERT INTO many_{} SELECT i, 'row ' || i FROM generate_series(1, {}) i;", i, 1 + i % 7);
  }
  std::vector<std::string> values;
  for (int i = 1; i <= kColumns; ++i) {
    values.push_back(i % 4 == 0   ? fmt::format("i + {}", i)
                     : i % 4 == 1 ? fmt::format("'text ' || i || ' of {}'", i)
                     : i % 4 == 2 ? fmt::format("i * 1.5 + {}", i)
                                  : fmt::format("timestamptz '2026-01-01' + i * interval '{} s'", i));
  }
  sql += fmt::format("INSERT INTO wide SELECT i, {} FROM generate_series(1, 1000) i;", fmt::join(values, ", "));
  // The column in the middle alone, so that both ends of the bit string are in use.
  sql += "COMMIT; UPDATE wide SET \"column 100\" = -1, \"column 200\" = -2 WHERE id % 10 = 0;";
  pair.carry("300 tables, 1000 rows of 200 columns", sql, "SELECT count(*) FROM wide WHERE \"column 200\" = -2");
}
