#include <catch2/catch.hpp>
#include <map>
#include <string>

#include "config_file.h"

using namespace mbsync;

namespace {

std::map<std::string, std::string> env(std::string_view text) {
  const auto entries = parse_env_file(text, "service.env");
  REQUIRE(entries);
  std::map<std::string, std::string> result;
  for (const auto& entry : *entries) {
    result[entry.name] = entry.values.front();
  }
  return result;
}

std::string env_refusal(std::string_view text) {
  const auto entries = parse_env_file(text, "service.env");
  REQUIRE_FALSE(entries);
  CHECK(entries.error().kind == ErrorKind::kConfig);
  CHECK_THAT(entries.error().text(), !Catch::Contains("s3cret"));
  return entries.error().message;
}

}  // namespace

TEST_CASE("env file: names, values, comments, quotes") {
  CHECK(env("\xef\xbb\xbf# comment\r\n\r\nA=1\r\n  export B = two words \nC=\nD=a#b # note\nE=#none\n"
            "F='it # \\n is' # note\nG=\"say \\\"hi\\\"\\n\\$x \\q\"\nH=a=b\nlast=x") ==
        std::map<std::string, std::string>{{"A", "1"},
                                           {"B", "two words"},
                                           {"C", ""},
                                           {"D", "a#b"},
                                           {"E", ""},
                                           {"F", "it # \\n is"},
                                           {"G", "say \"hi\"\n$x \\q"},
                                           {"H", "a=b"},
                                           {"last", "x"}});
  CHECK(env("").empty());
  CHECK(env("\n\n# only a comment").empty());
}

TEST_CASE("env file: lines are counted and mistakes are named without the value") {
  CHECK(parse_env_file("A=1\n\n# x\nB=2\n", "f").value().back().line == 4);
  CHECK(env_refusal("A=1\ns3cret\n") == "service.env:2: this is neither a comment nor KEY=value");
  CHECK(env_refusal("1A=s3cret") == "service.env:1: this is neither a comment nor KEY=value");
  CHECK(env_refusal("A-B=s3cret") == "service.env:1: this is neither a comment nor KEY=value");
  CHECK(env_refusal("\nA=\"s3cret\nB=1") == "service.env:2: the quote around the value of A is not closed");
  CHECK(env_refusal("A='s3cret' s3cret") == "service.env:1: something follows the closing quote of A");
}

TEST_CASE("toml file: types and lines") {
  const auto entries =
      parse_toml_file("a = 'x'\n\n# note\nb = 7\nc = ['p', \"q\"]\nd = true\ne = [1]\n[f]\ng = 1\n", "m");
  REQUIRE(entries);
  REQUIRE(entries->size() == 6);
  const auto& list = *entries;
  CHECK(list[0].name == "a");
  CHECK(list[0].type == FileEntry::Type::kText);
  CHECK(list[0].values == std::vector<std::string>{"x"});
  CHECK(list[1].type == FileEntry::Type::kInteger);
  CHECK(list[1].line == 4);
  CHECK(list[2].values == std::vector<std::string>{"p", "q"});
  CHECK(list[3].type == FileEntry::Type::kBoolean);
  CHECK(list[3].type_name == "true or false");
  CHECK(list[4].type_name == "a list that contains a whole number");
  CHECK(list[5].type_name == "a table");
}

TEST_CASE("toml file: what is no TOML is named by its place, without the value") {
  for (const char* text : {"a = s3cret", "a = \"s3cret", "a = 1\na = \"s3cret\"", "s3cret", "a = 's3cret' x"}) {
    const auto entries = parse_toml_file(text, "mbsync.toml");
    INFO(text);
    REQUIRE_FALSE(entries);
    CHECK_THAT(entries.error().message, Catch::StartsWith("mbsync.toml:") && Catch::EndsWith("this is not TOML"));
    CHECK_THAT(entries.error().text(), !Catch::Contains("s3cret"));
  }
}
