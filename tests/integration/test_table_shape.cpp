// What rules have to know of a column's type, read from a real catalog.
#include <catch2/catch.hpp>

#include "node_pair.h"
#include "table_shape.h"

using namespace mbsync;
using namespace mbsync::test;

namespace {

TableShape shape_in(PgNode& node, std::string_view schema, std::string_view name) {
  const auto session = PgConnection::open(*parse_database_url(node.url()), "test");
  REQUIRE(session);
  const auto read = read_schema(**session);
  REQUIRE(read);
  const auto* table = read->find(schema, name);
  REQUIRE(table != nullptr);
  return shape_of(*table);
}

ValueKind kind_of(const TableShape& shape, std::string_view name) {
  for (const auto& column : shape.columns) {
    if (column.name == name) {
      return column.type.kind;
    }
  }
  FAIL("there is no column " << name);
  return ValueKind::kOther;
}

}  // namespace

TEST_CASE("a column's kind of value follows its type, through domains", "[schemas]") {
  PgNode node(shared_cluster(), fresh_database_name(), R"(
    CREATE EXTENSION citext;
    CREATE DOMAIN money_amount AS numeric(12,2) CHECK (VALUE >= 0);
    CREATE DOMAIN price AS money_amount;
    CREATE TYPE mood AS ENUM ('sad', 'glad');
    ALTER TYPE mood ADD VALUE 'so so' BEFORE 'glad';
    CREATE DOMAIN own_mood AS mood;
    CREATE DOMAIN tags AS text[];
    CREATE TYPE pair AS (a int, b int);
    CREATE TABLE t (
      i2 int2, i4 int4, i8 int8, num numeric(10,2), dom price, f4 real, f8 float8,
      txt text, var varchar(20), chr char(3), nam name, ci citext,
      dat date, ts timestamp(3), tstz timestamptz, tim time, timtz timetz, boo boolean,
      moo mood, domoo own_mood, arr text[], moos mood[], domarr tags, js json, jsb jsonb,
      uid uuid, byt bytea, iv interval, ran int4range, com pair, vec int2vector, mon money,
      gen int GENERATED ALWAYS AS (i4 + 1) STORED,
      "Key 2" int, "Key 1" text, PRIMARY KEY ("Key 1", "Key 2"));)");
  const auto shape = shape_in(node, "public", "t");
  const std::vector<std::pair<ValueKind, std::vector<const char*>>> expected{
      {ValueKind::kNumber, {"i2", "i4", "i8", "num", "dom"}},
      {ValueKind::kFloat, {"f4", "f8"}},
      {ValueKind::kText, {"txt", "var", "chr", "nam", "ci", "Key 1"}},
      {ValueKind::kTimestamp, {"dat", "ts", "tstz"}},
      {ValueKind::kTime, {"tim"}},
      {ValueKind::kBoolean, {"boo"}},
      {ValueKind::kEnum, {"moo", "domoo"}},
      {ValueKind::kArray, {"arr", "moos", "domarr"}},
      {ValueKind::kJson, {"js", "jsb"}},
      {ValueKind::kOther, {"timtz", "uid", "byt", "iv", "ran", "com", "vec", "mon"}},
  };
  for (const auto& [kind, names] : expected) {
    for (const auto* name : names) {
      INFO(name);
      CHECK(kind_of(shape, name) == kind);
    }
  }
  std::vector<std::string> keys;
  for (const auto& column : shape.columns) {
    CHECK(column.name != "gen");
    if (column.type.kind == ValueKind::kEnum) {
      CHECK(column.type.labels == std::vector<std::string>{"sad", "so so", "glad"});
    } else {
      CHECK(column.type.labels.empty());
    }
    if (column.key) {
      keys.push_back(column.name);
    }
  }
  CHECK(keys == std::vector<std::string>{"Key 2", "Key 1"});
  CHECK(shape.schema == "public");
  CHECK(shape.name == "t");
}
