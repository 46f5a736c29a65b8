// mbsync rules without a database: help, what is wrong on the command line, and how rules are shown.
#include <catch2/catch.hpp>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "child_process.h"
#include "commands/rules_view.h"

using namespace mbsync;
using namespace mbsync::test;

namespace {

Finished rules(std::vector<std::string> arguments, const std::string& input = "",
               const std::string& url = "postgres://u:TOPSECRET@127.0.0.1:1/d") {
  arguments.insert(arguments.begin(), "rules");
  return run_program(MBSYNC_PROGRAM, {.arguments = std::move(arguments),
                                      .environment = {{"DATABASE_URL", url}},
                                      .unset = {"SYNC_REGISTRATION_KEY"},
                                      .working_directory = std::filesystem::temp_directory_path(),
                                      .input = input});
}

TableMeaning table(std::vector<RuleMeaning> meanings) {
  return TableMeaning{"public", "t", false, std::move(meanings)};
}

}  // namespace

TEST_CASE("rules: help of every form has its flags, its exit codes and an example") {
  const auto all = rules({"--help"});
  CHECK(all.exit_code == 0);
  CHECK_THAT(all.out, Catch::Contains("Exit codes") && Catch::Contains("mbsync rules show > rules.toml"));
  for (const char* command : {"show", "check", "apply", "history"}) {
    CHECK_THAT(all.out, Catch::Contains(command));
    const auto one = rules({command, "--help"});
    INFO(command);
    CHECK(one.exit_code == 0);
    CHECK_THAT(one.out, Catch::Contains("--json") && Catch::Contains("Exit codes") && Catch::Contains("Example") &&
                            Catch::Contains(std::string("mbsync rules ") + command));
  }
  CHECK_THAT(rules({"show", "--help"}).out, Catch::Contains("--table GLOB") && Catch::Contains("--version NUMBER"));
  CHECK_THAT(rules({"apply", "--help"}).out, Catch::Contains("--yes") && Catch::Contains("FILE"));
}

TEST_CASE("rules: mistakes on the command line end with 2 and say what is missing") {
  const std::vector<std::pair<std::vector<std::string>, std::string>> cases{
      {{}, "subcommand is required"},
      {{"frobnicate"}, "there is no command 'frobnicate'"},
      {{"check"}, "file is required"},
      {{"apply"}, "file is required"},
      {{"check", "a", "b"}, "there is an argument too many"},
      {{"check", "a", "--yes"}, "unknown option: --yes"},
      {{"history", "--table", "t"}, "unknown option: --table"},
      {{"show", "--version"}, "--version"},
      {{"check", "/nowhere/rules.toml"}, "/nowhere/rules.toml: the document cannot be read: No such file"},
      {{"apply", "/"}, "/: the document cannot be read: Is a directory"},
      {{"show", "--database-url", "postgres://u:TOPSECRET@h/d"}, "DATABASE_URL is not taken from the command line"},
  };
  for (const auto& [arguments, message] : cases) {
    const auto finished = rules(arguments);
    INFO(message << "\n" << finished.err);
    CHECK(finished.exit_code == 2);
    CHECK(finished.out.empty());
    CHECK_THAT(finished.err,
               Catch::StartsWith("mbsync: ") && Catch::Contains(message) && !Catch::Contains("TOPSECRET"));
  }
  CHECK_THAT(rules({"show"}, "", "").err, Catch::Contains("Missing DATABASE_URL"));
}

TEST_CASE("rules: a database that is not there ends with 3, as JSON as well") {
  for (const auto& arguments : {std::vector<std::string>{"show", "--json"},
                                {"history", "--json"},
                                {"check", "-", "--json"},
                                {"apply", "-", "--yes", "--json"}}) {
    const auto finished = rules(arguments, "[defaults]\n");
    CHECK(finished.exit_code == 3);
    CHECK(nlohmann::json::parse(finished.out).at("error").at("kind") == "transient");
  }
}

TEST_CASE("rules: the built-in document says what holds without one") {
  const auto reading = read_policy_text(kBuiltInDocument);
  CHECK(reading.faults.empty());
  CHECK(reading.policy.defaults.rule == Rule::kLastWriterWins);
  CHECK(reading.policy.defaults.merge == MergeUnit::kField);
  CHECK(reading.policy.defaults.on_delete == DeleteRule::kUpdateWins);
  CHECK(reading.policy.defaults.keep_both == false);
  CHECK(reading.policy.default_unique == UniqueRule::kAuto);
  CHECK(reading.policy.tables.empty());
  // What stands in comments is right as well, once it is none.
  std::string whole;
  std::istringstream lines(kBuiltInDocument);
  for (std::string line; std::getline(lines, line);) {
    const auto is_example = line.starts_with("# ") && (line.find('=') != std::string::npos || line.starts_with("# ["));
    whole += (is_example ? line.substr(2) : line) + "\n";
  }
  const auto examples = read_policy_text(whole);
  CHECK(examples.faults.empty());
  CHECK(examples.policy.tables.size() == 1);
  CHECK(examples.policy.nodes.size() == 2);
}

TEST_CASE("rules: changes are found rule by rule") {
  const RuleMeaning latest{"columns", "", "last-writer-wins", "the latest write stands"};
  const RuleMeaning greatest{"column", "total", "max", "the greatest value stands"};
  const RuleMeaning least{"column", "total", "min", "the least"};
  CHECK(changes_between({table({latest, greatest})}, {table({latest, greatest})}).empty());
  const auto text = [](const std::vector<TableMeaning>& before, const std::vector<TableMeaning>& after) {
    return changes_text(changes_between(before, after));
  };
  CHECK(text({table({latest, greatest})}, {table({latest, least})}) ==
        "public.t\n  column total: max -> min (the least)");
  CHECK(text({table({latest})}, {table({latest, greatest})}) ==
        "public.t\n  column total: last-writer-wins -> max (the greatest value stands)");
  CHECK(text({table({latest, greatest})}, {table({latest})}) ==
        "public.t\n  column total: max -> last-writer-wins (the latest write stands)");
  Policy before;
  Policy after;
  before.nodes = {{"0000000000000011", 1, 1}, {"0000000000000012", 2, 2}};
  after.nodes = {{"0000000000000011", 3, 1}, {"0000000000000012", 2, 2}, {"till", 4, 3}};
  CHECK(changes_text({node_changes(before, after, {{"0000000000000011", "office"}})}) ==
        "numbers of nodes\n  node office: 1 -> 3\n  node till: none -> 4");
}

TEST_CASE("rules: names cannot steer the terminal") {
  auto odd = table({{"columns", "", "last-writer-wins", "the latest write stands"},
                    {"column", "a\x1b[2J", "max", "the greatest value stands"}});
  odd.table = "t\n";
  CHECK(tables_text({odd}, false) ==
        "public.t\\n\n"
        "  columns without a rule of their own  last-writer-wins  the latest write stands\n"
        "  column a\\x1b[2J                      max               the greatest value stands");
}
