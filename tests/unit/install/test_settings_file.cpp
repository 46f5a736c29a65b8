#include "settings_file.h"

#include <catch2/catch.hpp>

using namespace mbsync;

namespace {

using Type = FileEntry::Type;

std::string toml(std::string_view text, std::string_view name, Type type, const std::vector<std::string>& values) {
  auto result = set_in_toml(text, name, type, values);
  return result ? *result : "error: " + result.error().message;
}

std::string env(std::string_view text, std::string_view name, std::string_view value) {
  auto result = set_in_env(text, name, value);
  return result ? *result : "error: " + result.error().message;
}

/// What a reader takes from it.
std::string read_back(std::string_view value) {
  const auto entries = parse_env_file(env("", "A", value), "f");
  REQUIRE(entries);
  REQUIRE(entries->size() == 1);
  return entries->front().values.front();
}

}  // namespace

TEST_CASE("settings file: a new setting is appended, and what stands there stays as it was written") {
  CHECK(toml("", "port", Type::kInteger, {"9000"}) == "port = 9000\n");
  CHECK(toml("# mine\nport   =   8765 # here\n\n", "node_name", Type::kText, {"a \"b\" \\ \x01"}) ==
        "# mine\nport   =   8765 # here\n\nnode_name = \"a \\\"b\\\" \\\\ \\u0001\"\n");
  CHECK(toml("port = 1", "peers", Type::kList, {"a:1", "b:2"}) == "port = 1\npeers = [\"a:1\", \"b:2\"]\n");
  CHECK(toml("", "skip_db_precheck", Type::kBoolean, {"true"}) == "skip_db_precheck = true\n");
  CHECK(env("", "SYNC_PORT", "9000") == "SYNC_PORT=9000\n");
  CHECK(env("# mine\n\nexport A=b # c", "B", "x y") == "# mine\n\nexport A=b # c\nB='x y'\n");
}

TEST_CASE("settings file: a setting is replaced where it stands, however many lines it has") {
  CHECK(toml("a = 1\nport = 8765 # old\nb = 2\n", "port", Type::kInteger, {"1"}) == "a = 1\nport = 1\nb = 2\n");
  CHECK(toml("peers = [\n  \"a\", # one\n  \"b\"\n]\nport = 1\n", "peers", Type::kList, {"c"}) ==
        "peers = [\"c\"]\nport = 1\n");
  CHECK(toml("text = '''\nport = 1\n'''\nport = 2\n", "port", Type::kInteger, {"3"}) ==
        "text = '''\nport = 1\n'''\nport = 3\n");
  CHECK(toml("text = \"\"\"\nx\n\"\"\"\nport = 2", "text", Type::kText, {"y"}) == "text = \"y\"\nport = 2");
  CHECK(toml("\"port\" = 2\r\na = 1\r\n", "port", Type::kInteger, {"3"}) == "port = 3\na = 1\r\n");
  // The last one counts.
  CHECK(env("A=1\nB=2\nA=3\n", "A", "4") == "A=1\nB=2\nA=4\n");
  CHECK(env("export A=1", "A", "4") == "A=4\n");
}

TEST_CASE("settings file: what is no such file is said, and nothing is written") {
  CHECK(toml("port = \n", "port", Type::kInteger, {"3"}).starts_with("error: "));
  CHECK(env("not a line\n", "A", "1").starts_with("error: "));
}

TEST_CASE("settings file: every value is read back as it was") {
  for (const auto* value : {"plain",
                            "postgresql://u:p%40@h:5432/d?sslmode=require",
                            "a b",
                            " a ",
                            "a#b",
                            "a #b",
                            "it's",
                            "\"q\"",
                            "it's \"q\"",
                            "back\\slash",
                            "it's back\\slash $HOME",
                            "two\nlines",
                            "it's two\nlines\n",
                            "$x",
                            "a\rb\r",
                            "`x`",
                            "äöü",
                            "'",
                            "\"",
                            ""}) {
    INFO(value);
    CHECK(read_back(value) == value);
  }
}
