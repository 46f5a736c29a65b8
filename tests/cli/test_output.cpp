#include <catch2/catch.hpp>
#include <sstream>

#include "exit_code.h"
#include "output.h"

using namespace mbsync;

TEST_CASE("output: columns are aligned by characters") {
  CHECK(format_table({"peer", "state"}, {{"Kasse \xc3\xa4\xc3\xb6", "live"}, {"b"}, {"", "away"}}) ==
        "peer      state\n"
        "Kasse \xc3\xa4\xc3\xb6  live\n"
        "b\n"
        "          away");
  CHECK(format_table({"peer"}, {}) == "peer");
}

TEST_CASE("output: results and talk go different ways") {
  std::ostringstream results;
  std::ostringstream talk;
  Output text{false, results, talk};
  CHECK(text.result("line", {{"a", 1}}));
  text.hint("note");
  text.error({ErrorKind::kConfig, "message", "hint"});
  text.error({ErrorKind::kConfig, "message", ""});
  CHECK(results.str() == "line\n");
  CHECK(talk.str() == "note\nmbsync: message\n  what to do: hint\nmbsync: message\n");

  results.str("");
  talk.str("");
  Output json{true, results, talk};
  CHECK(json.result("line", {{"a", 1}}));
  json.error({ErrorKind::kInDoubt, "message", "hint"});
  CHECK(results.str() ==
        "{\n  \"a\": 1\n}\n"
        "{\n  \"error\": {\n    \"kind\": \"in_doubt\",\n    \"message\": \"message\",\n    \"hint\": \"hint\"\n  "
        "}\n}\n");
}

TEST_CASE("output: a result that could not be written is an error") {
  std::ostringstream results;
  std::ostringstream talk;
  results.setstate(std::ios::badbit);
  for (const bool json : {false, true}) {
    const auto written = Output{json, results, talk}.result("line", {{"a", 1}});
    REQUIRE_FALSE(written);
    CHECK(exit_code_for(written.error()) == ExitCode::kFailure);
    CHECK_THAT(written.error().message, Catch::Contains("could not be written"));
    CHECK_FALSE(written.error().hint.empty());
  }
}

TEST_CASE("exit codes: one for every kind of error") {
  CHECK(exit_code_for(Error{ErrorKind::kConfig, "", ""}) == ExitCode::kConfig);
  CHECK(exit_code_for(Error{ErrorKind::kConfig, "", ""}.about(ErrorArea::kDatabase)) == ExitCode::kDatabase);
  CHECK(exit_code_for(Error{ErrorKind::kConfig, "", ""}.about(ErrorArea::kPort)) == ExitCode::kPort);
  for (const ErrorKind kind :
       {ErrorKind::kTransient, ErrorKind::kInDoubt, ErrorKind::kRejected, ErrorKind::kConflict}) {
    CHECK(exit_code_for(Error{kind, "", ""}) == ExitCode::kDatabase);
  }
  for (const ErrorKind kind :
       {ErrorKind::kCorrupt, ErrorKind::kNotFound, ErrorKind::kCancelled, ErrorKind::kInternal}) {
    CHECK(exit_code_for(Error{kind, "", ""}) == ExitCode::kFailure);
  }
}
