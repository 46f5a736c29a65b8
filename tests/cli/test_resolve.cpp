// mbsync resolve without a database: help, what is wrong on the command line, and how values are shown.
#include <catch2/catch.hpp>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "child_process.h"
#include "commands/resolve_view.h"
#include "commands/resolve_walk.h"

using namespace mbsync;
using namespace mbsync::test;

namespace {

Finished resolve(std::vector<std::string> arguments, const std::string& url = "postgres://u:TOPSECRET@127.0.0.1:1/d") {
  arguments.insert(arguments.begin(), "resolve");
  return run_program(MBSYNC_PROGRAM, {.arguments = std::move(arguments),
                                      .environment = {{"DATABASE_URL", url}},
                                      .unset = {"SYNC_REGISTRATION_KEY"},
                                      .working_directory = std::filesystem::temp_directory_path()});
}

}  // namespace

TEST_CASE("resolve: help of every form has its flags, its exit codes and an example") {
  const auto all = resolve({"--help"});
  CHECK(all.exit_code == 0);
  for (const char* command : {"list", "show", "accept", "keep", "set", "undo"}) {
    CHECK_THAT(all.out, Catch::Contains(command));
    const auto one = resolve({command, "--help"});
    INFO(command);
    CHECK(one.exit_code == 0);
    CHECK_THAT(one.out, Catch::Contains("--json") && Catch::Contains("Exit codes") && Catch::Contains("Example") &&
                            Catch::Contains(std::string("mbsync resolve ") + command));
  }
  CHECK_THAT(resolve({"keep", "--help"}).out, Catch::Contains("--version NUMBER") && Catch::Contains("--force"));
  CHECK_THAT(resolve({"set", "--help"}).out, Catch::Contains("--null COLUMN"));
  CHECK_THAT(resolve({"list", "--help"}).out, Catch::Contains("--table GLOB") && Catch::Contains("--since TIME"));
}

TEST_CASE("resolve: mistakes on the command line end with 2 and say what is missing") {
  const std::vector<std::pair<std::vector<std::string>, std::string>> cases{
      {{"frobnicate"}, "there is no command 'frobnicate'"},
      {{"show"}, "id is required"},
      {{"show", "abcd", "efgh"}, "show takes the id of one conflict"},
      {{"accept"}, "accept needs the id of a conflict"},
      {{"accept", "abcd", "efgh"}, "there is an argument too many"},
      {{"accept", "abcd", "--all"}, "there is an argument too many"},
      {{"accept", "abcd", "--table", "t"}, "filters go with --all"},
      {{"keep", "abcd"}, "keep needs to know which version"},
      {{"keep", "abcd", "--version", "two"}, "--version"},
      {{"set", "abcd"}, "set needs a column and a value"},
      {{"set", "column=value"}, "set needs the id of a conflict"},
      {{"set", "abcd", "column"}, "'column' is no column=value"},
      {{"set", "abcd", "column:=5"}, "after := only null can stand"},
      {{"set", "abcd", "a=1", "--null", "a"}, "column 'a' is set twice"},
      {{"undo", "--all", "--frobnicate"}, "unknown option: --frobnicate"},
      {{"list", "--limit", "few"}, "--limit"},
      {{"list", "--database-url", "postgres://u:TOPSECRET@h/d"}, "DATABASE_URL is not taken from the command line"},
  };
  for (const auto& [arguments, message] : cases) {
    const auto finished = resolve(arguments);
    INFO(message << "\n" << finished.err);
    CHECK(finished.exit_code == 2);
    CHECK(finished.out.empty());
    CHECK_THAT(finished.err,
               Catch::StartsWith("mbsync: ") && Catch::Contains(message) && !Catch::Contains("TOPSECRET"));
  }
  CHECK_THAT(resolve({"list"}, "").err, Catch::Contains("Missing DATABASE_URL"));
}

TEST_CASE("resolve: a database that is not there ends with 3, as JSON as well") {
  for (const auto& arguments : {std::vector<std::string>{"--json"},
                                {"list", "--json"},
                                {"show", "abcd", "--json"},
                                {"accept", "abcd", "--json"},
                                {"set", "--all", "a=1", "--yes", "--json"}}) {
    const auto finished = resolve(arguments);
    CHECK(finished.exit_code == 3);
    CHECK(nlohmann::json::parse(finished.out).at("error").at("kind") == "transient");
  }
}

TEST_CASE("resolve: column=value") {
  CHECK(*parse_assignment("a=b") == std::pair<std::string, Value>{"a", "b"});
  CHECK(*parse_assignment("a= b = 'c'\n") == std::pair<std::string, Value>{"a", " b = 'c'\n"});
  CHECK(*parse_assignment("a=") == std::pair<std::string, Value>{"a", ""});
  CHECK(*parse_assignment("a=null") == std::pair<std::string, Value>{"a", "null"});
  CHECK(*parse_assignment("a:=null") == std::pair<std::string, Value>{"a", Value()});
  CHECK(*parse_assignment("full name:=NULL") == std::pair<std::string, Value>{"full name", Value()});
  for (const char* wrong : {"", "a", "=b", ":=null", "a:=", "a:=5"}) {
    CHECK_FALSE(parse_assignment(wrong));
  }
}

TEST_CASE("resolve: what a value holds cannot steer the terminal") {
  CHECK(printable(Value(), 9) == "(null)");
  CHECK(printable("", 9) == "(empty)");
  CHECK(printable("K\xc3\xa4se", 9) == "K\xc3\xa4se");
  CHECK(printable("1234567890", 9) == "123456789...");
  CHECK(printable("\xc3\xa4\xc3\xa4\xc3\xa4", 2) == "\xc3\xa4\xc3\xa4...");
  CHECK(printable("a\n\t\r\x1b[2J\x7f", 20) == "a\\n\\t\\r\\x1b[2J\\x7f");
  CHECK(printable("\xc2\x9b"
                  "2J",
                  20) == "\\u009b2J");
}
