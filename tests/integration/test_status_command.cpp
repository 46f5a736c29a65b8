// mbsync status as a user meets it: what waits, and why.
#include <catch2/catch.hpp>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "child_process.h"
#include "node_pair.h"
#include "policies.h"

using namespace mbsync;
using namespace mbsync::test;

namespace {

std::string status(PgNode& node, std::vector<std::string> arguments = {}) {
  arguments.insert(arguments.begin(), "status");
  const auto finished = run_program(MBSYNC_PROGRAM, {.arguments = std::move(arguments),
                                                     .environment = {{"DATABASE_URL", node.url()}},
                                                     .unset = {"SYNC_REGISTRATION_KEY", "SYNC_STATUS_PORT"},
                                                     .working_directory = std::filesystem::temp_directory_path()});
  INFO(finished.err);
  REQUIRE(finished.exit_code == 1);  // the node is this test, which has no local port
  return finished.out;
}

}  // namespace

// CONFLICTS.md C21
TEST_CASE("status: rows that the database refuses, with the reason") {
  Pair pair("CREATE TABLE item (id int PRIMARY KEY, price int)");
  pair.exchange();
  pair.b.execute("ALTER TABLE item ADD CONSTRAINT price_is_positive CHECK (price > 0)");
  pair.a.execute("INSERT INTO item VALUES (1, 0), (2, 5)");
  pair.exchange();
  CHECK_THAT(status(pair.b), Catch::Contains("Rows that this database refuses: 1.") &&
                                 Catch::Contains("  public.item 1: new row for relation \"item\" violates check "
                                                 "constraint \"price_is_positive\" (since "));
  const auto document = nlohmann::json::parse(status(pair.b, {"--json"}));
  CHECK(document["parked_rows"] == 1);
  REQUIRE(document["parked"].size() == 1);
  CHECK(document["parked"][0]["key"] == "1");
  CHECK(nlohmann::json::parse(status(pair.a, {"--json"}))["parked_rows"] == 0);
}

// CONFLICTS.md C13
TEST_CASE("status: functions of the policy that this database lacks, or has as others") {
  Pair pair("CREATE TABLE item (id int PRIMARY KEY, price int, name text)");
  for (const char* name : {"price_of", "name_of"}) {
    pair.a.execute(std::string("CREATE FUNCTION ") + name +
                   "(s jsonb) RETURNS text IMMUTABLE LANGUAGE sql AS 'SELECT s -> 0 ->> ''value'''");
  }
  pair.b.execute(
      "CREATE FUNCTION name_of(s jsonb) RETURNS text IMMUTABLE LANGUAGE sql AS 'SELECT s -> 1 ->> ''value'''");
  pair.exchange();
  publish(
      pair.a,
      "[[table]]\nname = 'item'\n[table.columns]\nprice = { rule = 'function', function = 'public.price_of' }\nname = "
      "{ rule = 'function', function = 'public.name_of' }\n");
  pair.exchange();
  const auto unusable = [](PgNode& node) { return nlohmann::json::parse(status(node, {"--json"}))["policy_trouble"]; };
  CHECK(unusable(pair.a).empty());
  CHECK(unusable(pair.b) == nlohmann::json{"public.name_of(jsonb) is another one than where the policy was published",
                                           "public.price_of(jsonb) is missing"});
  CHECK_THAT(status(pair.b), Catch::Contains("is on the other nodes:\n  public.name_of(jsonb) is another"));
  const auto refreshed = pair.b.store().refresh();
  REQUIRE(refreshed);
  CHECK(refreshed->policy_trouble.size() == 2);
  pair.b.execute("DROP FUNCTION name_of");
  for (const char* name : {"price_of", "name_of"}) {
    pair.b.execute(std::string("CREATE FUNCTION ") + name +
                   "(s jsonb) RETURNS text IMMUTABLE LANGUAGE sql AS 'SELECT s -> 0 ->> ''value'''");
  }
  CHECK(unusable(pair.b).empty());
  // One that this program cannot read.
  pair.b.execute("INSERT INTO mbsync.policy VALUES (9223372036854775807, 'from = ''the future''', 'x', now())");
  CHECK_THAT(unusable(pair.b)[0].get<std::string>(), Catch::Contains("policy"));
}
