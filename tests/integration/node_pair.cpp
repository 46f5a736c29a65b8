#include "node_pair.h"

#include <catch2/catch.hpp>

namespace mbsync::test {

TempCluster& shared_cluster() {
  static TempCluster cluster;
  return cluster;
}

std::string fresh_database_name() {
  static int number = 0;
  return "db" + std::to_string(++number);
}

const char* const kPinned =
    "SET datestyle = 'ISO, YMD'; SET timezone = 'UTC'; SET intervalstyle = 'postgres'; SET extra_float_digits = 3; "
    "SET bytea_output = 'hex'; SET lc_monetary = 'C'; ";

const char* const kOddSession =
    "SET datestyle = 'SQL, DMY'; SET timezone = 'Asia/Kathmandu'; SET intervalstyle = 'iso_8601'; "
    "SET extra_float_digits = -10; SET bytea_output = 'escape'; SET lc_monetary = 'C.UTF-8'; SET search_path = ''; SET "
    "client_min_messages = warning; ";

std::string literal(std::string_view text) {
  std::string quoted = "E'";
  for (const char c : text) {
    if (c == '\'' || c == '\\') {
      quoted += '\\';
    }
    quoted += c;
  }
  return quoted + "'";
}

Pair::Pair(const std::string& schema) : Pair(schema, schema) {}

Pair::Pair(const std::string& schema_a, const std::string& schema_b)
    : a(shared_cluster(), fresh_database_name(), schema_a), b(shared_cluster(), fresh_database_name(), schema_b) {
  a.prepare();
  b.prepare();
}

std::string Pair::rows(PgNode& node, const std::string& table) {
  const auto columns = node.scalar(
      "SELECT string_agg('r.' || quote_ident(attname), ', ' ORDER BY attname COLLATE \"C\") "
      "FROM pg_attribute WHERE attrelid = " +
      literal(table) + "::regclass AND attnum > 0 AND NOT attisdropped");
  return node.scalar(kPinned +
                     ("SELECT coalesce(string_agg(text, E'\\n' ORDER BY text COLLATE \"C\"), '') FROM (SELECT ROW(" +
                      columns + ")::text FROM " + table + " r) all_rows (text)"));
}

void Pair::check_forgotten() {
  exchange();
  REQUIRE(a.store().forget_stable());
  REQUIRE(b.store().forget_stable());
  CHECK(a.scalar("SELECT count(*) FROM mbsync.change") == "0");
  CHECK(b.scalar("SELECT count(*) FROM mbsync.change") == "0");
}

void Three::forget() {
  for (auto* node : {&a, &b, &c}) {
    REQUIRE(node->store().forget_stable());
    CHECK(node->scalar("SELECT count(*) FROM mbsync.change") == "0");
  }
}

void try_parked_again(PgNode& node) {
  node.execute("UPDATE mbsync.parked SET next_try = now()");
  REQUIRE(node.store().settle_unseen());
}

}  // namespace mbsync::test
