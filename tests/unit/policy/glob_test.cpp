#include "glob.h"

#include <catch2/catch.hpp>

using namespace mbsync;

TEST_CASE("glob: stars, question marks and plain characters") {
  CHECK(glob_matches("users", "users"));
  CHECK_FALSE(glob_matches("users", "Users"));
  CHECK_FALSE(glob_matches("users", "users2"));
  CHECK_FALSE(glob_matches("users2", "users"));
  CHECK(glob_matches("*", ""));
  CHECK(glob_matches("*", "anything"));
  CHECK(glob_matches("a*b*c", "aXbXbYc"));
  CHECK(glob_matches("*At", "updatedAt"));
  CHECK_FALSE(glob_matches("*At", "updatedAtX"));
  CHECK(glob_matches("***", "x"));
  CHECK_FALSE(glob_matches("", "x"));
  CHECK(glob_matches("", ""));
}

TEST_CASE("glob: a question mark is one character, not one byte") {
  CHECK(glob_matches("b?ro", "büro"));
  CHECK_FALSE(glob_matches("b?ro", "büüro"));
  CHECK(glob_matches("*?o", "büro"));
  CHECK_FALSE(glob_matches("?", ""));
}

TEST_CASE("glob: a table's pattern has a schema only with a dot") {
  CHECK(table_glob_matches("users", "public", "users"));
  CHECK(table_glob_matches("users", "shop", "users"));
  CHECK(table_glob_matches("shop.*", "shop", "users"));
  CHECK_FALSE(table_glob_matches("shop.*", "public", "users"));
  CHECK(table_glob_matches("*.users", "public", "users"));
  CHECK(table_glob_matches("*", "public", "users"));
  CHECK_FALSE(table_glob_matches("public", "public", "users"));
  CHECK(table_glob_matches("public.a?b", "public", "a.b"));
}
