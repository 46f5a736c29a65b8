// Three nodes in a line A-B-C: there is no link between A and C, so all that they know of each other B has told them.
#include <fmt/format.h>

#include <catch2/catch.hpp>
#include <functional>

#include "fleet.h"
#include "wait_until.h"

using namespace mbsync::test;
using Clock = std::chrono::steady_clock;

namespace {

constexpr const char* kSchema = R"sql(
CREATE TYPE "Status" AS ENUM ('NEW', 'sent off');
CREATE TABLE "Customer" (id text PRIMARY KEY, "fullName" text, photo bytea, tags text[], extra json, extra_b jsonb);
CREATE TABLE "Order" (id uuid, line int, "customerId" text NOT NULL REFERENCES "Customer" ON DELETE CASCADE,
                      total numeric, ratio float8, small float4, status "Status" NOT NULL DEFAULT 'NEW', placed timestamptz,
                      took interval, PRIMARY KEY (id, line));
)sql";

/// Everything that a text, a bytea, a number or a time can hold, and rows in parents and children.
std::string rows_of(const std::string& who, int seed) {
  return fmt::format(R"sql(
INSERT INTO "Customer" SELECT '{0} ' || i || E' \t\n\\ ''"äß€😀', CASE WHEN i % 7 = 0 THEN NULL WHEN i % 7 = 1 THEN '' ELSE repeat(chr(1 + (i * 37 + {1}) % 1000), i) END,
  decode(repeat(lpad(to_hex((i + {1}) % 256), 2, '0'), i * 3) || '00ff', 'hex'), ARRAY['a,b', '"', NULL, i::text],
  ('{{"b" : ' || i || ',  "a":1.10}}')::json, '{{"b": 1.10, "a": null}}' FROM generate_series(1, 200) i;
INSERT INTO "Order" SELECT md5('{0}' || i)::uuid, i, '{0} ' || (1 + i % 200) || E' \t\n\\ ''"äß€😀',
  CASE i % 5 WHEN 0 THEN numeric 'NaN' WHEN 1 THEN 'Infinity' ELSE (i + 0.10)::numeric END,
  CASE i % 4 WHEN 0 THEN float8 '-0' WHEN 1 THEN 'NaN' WHEN 2 THEN 4.9e-324 ELSE 0.1 + i END, 0.1 + i, 'sent off'::"Status",
  CASE i % 6 WHEN 0 THEN timestamptz 'infinity' WHEN 1 THEN '0044-03-15 12:00:00 BC' ELSE '2026-01-01 00:00:00.123456+02' END,
  make_interval(months => i, days => -i, secs => 0.000001 * i) FROM generate_series(1, 400) i;
)sql",
                     who, seed);
}

}  // namespace

TEST_CASE("line: what A writes reaches C through B byte for byte, and back") {
  Fleet fleet;
  TempCluster& cluster = Fleet::shared_cluster();
  Node& a = fleet.add_node(cluster, "a", kSchema);
  Node& b = fleet.add_node(cluster, "b", kSchema);
  Node& c = fleet.add_node(cluster, "c", kSchema);
  fleet.connect(a, b);
  Link& far = fleet.connect(b, c);
  a.start();
  b.start();
  c.start();
  fleet.await_met({&a, &b, &c});

  a.execute(rows_of("a", 1));
  c.execute(rows_of("c", 500));
  fleet.await_converged({&a, &b, &c});
  for (Node* node : {&a, &b, &c}) {
    CHECK(node->scalar("SELECT count(*) FROM \"Order\"") == "800");
  }

  SqlSession writer = a.connect();
  SqlSession reader = c.connect();
  std::vector<std::chrono::microseconds> samples;
  for (int i = 0; i < 30; ++i) {
    writer.execute(fmt::format("UPDATE \"Customer\" SET \"fullName\" = 'update {}' WHERE id LIKE 'c 5 %'", i));
    const auto committed = Clock::now();
    const auto arrived = fmt::format("SELECT \"fullName\" = 'update {}' FROM \"Customer\" WHERE id LIKE 'c 5 %'", i);
    REQUIRE(wait_until(
        seconds{10}, [&] { return reader.scalar(arrived) == "t"; }, milliseconds{1}));
    samples.push_back(std::chrono::duration_cast<std::chrono::microseconds>(Clock::now() - committed));
  }

  // Each of the ends changes rows of the other while B is cut off from one of them.
  far.cut();
  a.execute("UPDATE \"Customer\" SET tags = '{a}' WHERE id LIKE 'c 1%'; DELETE FROM \"Customer\" WHERE id LIKE 'a 2%'");
  c.execute("UPDATE \"Customer\" SET photo = NULL WHERE id LIKE 'c 1%'");
  c.execute("UPDATE \"Order\" SET total = total + 1 WHERE line < 50 AND \"customerId\" LIKE 'c %'");
  fleet.await_converged({&a, &b});
  far.restore();
  const auto took = fleet.await_converged({&a, &b, &c});
  CHECK(a.scalar("SELECT count(*) FROM \"Customer\" WHERE id LIKE 'c 1%' AND tags = '{a}' AND photo IS NULL") == "111");

  CHECK(a.scalar("SELECT count(*) FROM mbsync.conflict_value") ==
        c.scalar("SELECT count(*) FROM mbsync.conflict_value"));
  // Nobody spoke with whom he has no link to.
  CHECK(a.count_in_log(std::to_string(c.port())) == 0);
  const double p50 = static_cast<double>(percentile_us(samples, 0.5)) / 1000;
  const double p95 = static_cast<double>(percentile_us(samples, 0.95)) / 1000;
  report(fmt::format("line: a to c through b p50 {:.1f} ms p95 {:.1f} ms, converged {} ms after the link was restored",
                     p50, p95, took.count()));
  CHECK(p95 < (sanitized() ? 10'000 : 1'000));
  for (Node* node : {&a, &b, &c}) {
    node->stop();
  }
}
