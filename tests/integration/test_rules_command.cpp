// mbsync rules as a user meets it, on real databases: what is printed, exit codes, and the way from one node to
// another.
#include <catch2/catch.hpp>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "child_process.h"
#include "node_pair.h"

using namespace mbsync;
using namespace mbsync::test;

namespace {

constexpr const char* kSchema =
    "CREATE TABLE orders (id text PRIMARY KEY, total int NOT NULL DEFAULT 0, note text, code text CONSTRAINT code_key "
    "UNIQUE); CREATE TABLE items (id text PRIMARY KEY, v text)";

Finished run(PgNode& node, std::vector<std::string> arguments, const std::string& input = "") {
  arguments.insert(arguments.begin(), "rules");
  return run_program(MBSYNC_PROGRAM, {.arguments = std::move(arguments),
                                      .environment = {{"DATABASE_URL", node.url()}},
                                      .unset = {"SYNC_REGISTRATION_KEY"},
                                      .working_directory = std::filesystem::temp_directory_path(),
                                      .input = input});
}

nlohmann::json json_of(const Finished& finished) {
  INFO(finished.err);
  REQUIRE_FALSE(finished.out.empty());
  return nlohmann::json::parse(finished.out);
}

std::string columns(const std::string& lines) {
  return "[[table]]\nname = \"orders\"\n[table.columns]\n" + lines;
}

}  // namespace

TEST_CASE("rules: from the built-in document to a policy of one's own on both nodes", "[rules]") {
  Pair pair(kSchema);
  const auto built_in = run(pair.a, {"show"});
  CHECK(built_in.exit_code == 0);
  CHECK_THAT(built_in.out, Catch::StartsWith("# No policy has been published.") && Catch::Contains("[defaults]"));
  const auto nothing = json_of(run(pair.a, {"show", "--json"}));
  CHECK(nothing["version"] == 0);
  CHECK(nothing["published_by"].is_null());
  CHECK(nothing["tables"].size() == 2);
  CHECK(nothing["tables"][0]["built_in"] == true);
  CHECK(run(pair.a, {"history"}).out ==
        "No policy has been published; the rules are the built-in ones ('mbsync rules show').\n");
  CHECK(json_of(run(pair.a, {"history", "--json"}))["versions"].empty());
  const auto empty = run(pair.a, {"apply", "-"}, "# nothing\n");
  CHECK(empty.exit_code == 0);
  CHECK(empty.out == "The document says nothing else than the built-in rules; nothing has been published.\n");

  // What show prints can be edited and applied.
  const auto file = std::filesystem::temp_directory_path() / (pair.a.database() + " rules.toml");
  std::ofstream(file) << built_in.out << columns("total = \"sum\"\nnote = \"append\"\n");
  const auto checked = run(pair.a, {"check", file.string()});
  CHECK(checked.exit_code == 0);
  CHECK(checked.err.empty());
  CHECK_THAT(checked.out, Catch::StartsWith(file.string() + ": no faults.\n\npublic.orders\n") &&
                              Catch::Contains("column total") && Catch::Contains("the changes add up") &&
                              Catch::Contains("1 table has the built-in rules."));
  const auto applied = run(pair.a, {"apply", file.string()});
  std::filesystem::remove(file);
  CHECK(applied.exit_code == 0);
  CHECK_THAT(applied.out, Catch::StartsWith("Changes against the built-in rules:\n\npublic.orders\n") &&
                              Catch::Contains("  column total: last-writer-wins -> sum (the changes add up)\n") &&
                              Catch::Contains("Published version 1 (") && !Catch::Contains("items"));

  pair.exchange();
  for (auto* node : {&pair.a, &pair.b}) {
    const auto shown = run(*node, {"show"});
    CHECK_THAT(shown.out, Catch::StartsWith("# version 1 (") &&
                              Catch::Contains("published by " + pair.a.database() + " at 20") &&
                              Catch::Contains("\"total\" = \"sum\""));
    // And so can what has been published.
    const auto again = run(*node, {"apply", "-", "--yes"}, shown.out);
    CHECK(again.exit_code == 0);
    CHECK_THAT(again.out, Catch::StartsWith("The document says the same as version 1 ("));
  }
  const auto table = run(pair.b, {"show", "--table", "public.o*"});
  CHECK_THAT(table.out, Catch::StartsWith("version 1 (") && Catch::Contains("\n\npublic.orders\n") &&
                            Catch::Contains("column note") && Catch::Contains("unique code_key") &&
                            !Catch::Contains("items"));
  CHECK_THAT(run(pair.b, {"show", "--table", "items"}).out, Catch::Contains("last-writer-wins"));

  const auto second =
      json_of(run(pair.b, {"apply", "-", "--json"},
                  "[nodes]\n" + pair.a.database() + " = 1\n" + columns("total = \"max\"\nnote = \"node-priority\"\n")));
  CHECK(second["published"] == true);
  CHECK(second["serial"] == 2);
  CHECK(second["tables"][0]["table"] == "public.orders");
  CHECK(second["tables"][0]["changes"][0]["from"] == "sum");
  CHECK(second["tables"][0]["changes"][0]["to"] == "max");
  CHECK(second["tables"][1]["table"].is_null());
  CHECK(second["tables"][1]["changes"][0]["name"] == pair.a.database());
  pair.exchange();
  CHECK_THAT(run(pair.a, {"show"}).out, Catch::Contains(" is " + pair.a.database() + "\n"));
  CHECK_THAT(run(pair.a, {"show", "--version", "1"}).out, Catch::Contains("\"sum\""));
  const auto history = json_of(run(pair.a, {"history", "--json"}))["versions"];
  REQUIRE(history.size() == 2);
  CHECK(history[0]["version"] == second["version"]);
  CHECK(history[0]["holds"] == true);
  CHECK(history[0]["published_by"] == pair.b.database());
  CHECK(history[1]["holds"] == false);
  CHECK_THAT(run(pair.a, {"history"}).out, Catch::StartsWith("Version  Number") && Catch::Contains("holds"));
}

TEST_CASE("rules: faults are all told, with line, object and what to do, and nothing is published", "[rules]") {
  PgNode node(shared_cluster(), fresh_database_name(), kSchema);
  node.prepare();
  const auto wrong = columns("totl = \"max\"\nnote = \"sum\"\n");
  for (const char* command : {"check", "apply"}) {
    INFO(command);
    const auto finished = run(node, {command, "-"}, wrong);
    CHECK(finished.exit_code == 2);
    CHECK(finished.out.empty());
    CHECK(finished.err ==
          "mbsync: standard input:4: \"totl\": public.orders has no column \"totl\"\n"
          "  what to do: correct the name, or leave it out\n"
          "mbsync: standard input:5: \"note\" = \"sum\": column public.orders.note is text, which cannot be added up "
          "exactly\n"
          "  what to do: sum is for integers and numeric\n");
    const auto json = run(node, {command, "-", "--json"}, wrong);
    CHECK(json.exit_code == 2);
    const auto document = json_of(json);
    CHECK(document["valid"] == false);
    CHECK(document["faults"].size() == 2);
    CHECK(document["faults"][0]["line"] == 4);
  }
  CHECK(node.scalar("SELECT count(*) FROM mbsync.policy") == "0");
  const auto no_toml = run(node, {"check", "-"}, "[defaults\n");
  CHECK(no_toml.exit_code == 2);
  CHECK_THAT(no_toml.err, Catch::StartsWith("mbsync: standard input:1: this is not TOML"));
  const auto too_long = run(node, {"check", "-"}, std::string(300000, '\n'));
  CHECK(too_long.exit_code == 2);
  CHECK_THAT(too_long.err, Catch::Contains("262144"));

  const auto warned = run(node, {"check", "-"}, "[nodes]\ntill = 1\n");
  CHECK(warned.exit_code == 0);
  CHECK_THAT(warned.err, Catch::StartsWith("mbsync: warning: standard input:2: nodes: no node 'till' is known here"));
  CHECK(json_of(run(node, {"check", "-", "--json"}, "[nodes]\ntill = 1\n"))["warnings"].size() == 2);
}

TEST_CASE("rules: what there is not ends with 1 or 2", "[rules]") {
  PgNode node(shared_cluster(), fresh_database_name(), kSchema);
  const auto no_schema = run(node, {"show"});
  CHECK(no_schema.exit_code == 3);
  CHECK_THAT(no_schema.err, Catch::Contains("has no schema mbsync") && Catch::Contains("mbsync run"));
  node.prepare();
  CHECK(run(node, {"show", "--version", "7"}).exit_code == 1);
  CHECK(run(node, {"show", "--version", "seven"}).exit_code == 2);
  const auto no_table = run(node, {"show", "--table", "nothing"});
  CHECK(no_table.exit_code == 1);
  CHECK_THAT(no_table.err, Catch::Contains("\"nothing\"") && Catch::Contains("mbsync status"));
}
