#include <rapidcheck.h>

#include <catch2/catch.hpp>

#include "generators.h"
#include "protocol_limits.h"
#include "record_text.h"

using namespace mbsync;
using namespace mbsync::test;

TEST_CASE("record: fields as row_out writes them") {
  // Each line is what PostgreSQL 15 answers to select row(...)::text.
  CHECK(format_record({"1", "a"}) == "(1,a)");
  CHECK(format_record({"1", std::nullopt, ""}) == "(1,,\"\")");
  CHECK(format_record({"a \"b\"", "c\\d"}) == R"(("a ""b""","c\\d"))");
  CHECK(format_record({"(", ")", ","}) == "(\"(\",\")\",\",\")");
  CHECK(format_record({" a", "b\n", "\t"}) == "(\" a\",\"b\n\",\"\t\")");
  CHECK(format_record({"{1,2}", "NULL", "ä"}) == R"(("{1,2}",NULL,ä))");
  CHECK(format_record({std::nullopt}) == "()");
  CHECK(format_record({std::nullopt, std::nullopt}) == "(,)");
}

TEST_CASE("record: everything row_in takes") {
  const auto fields = [](std::string_view text) { return parse_record(text).value(); };
  CHECK(fields("(1,a)") == std::vector<Value>{"1", "a"});
  CHECK(fields("  ( a,b )\n ") == std::vector<Value>{" a", "b "});
  CHECK(fields("(\"a\"\"b\",\"c\\\"d\")") == std::vector<Value>{"a\"b", "c\"d"});
  CHECK(fields("(a\"b,c\"d)") == std::vector<Value>{"ab,cd"});
  CHECK(fields("(\\,,\\))") == std::vector<Value>{",", ")"});
  CHECK(fields("(\"\",)") == std::vector<Value>{"", std::nullopt});
  CHECK(fields("()") == std::vector<Value>{std::nullopt});
  CHECK(fields("(,)") == std::vector<Value>{std::nullopt, std::nullopt});
}

TEST_CASE("record: everything row_in refuses") {
  for (const char* text :
       {"", " ", "1", "(", "(1", "(1,", "(1,2", "1)", "(1)x", "(1))", "(\"a", "(\"a)", "(a\\", "(\\"}) {
    INFO(text);
    const auto parsed = parse_record(text);
    REQUIRE_FALSE(parsed);
    CHECK(parsed.error().kind == ErrorKind::kCorrupt);
  }
  CHECK_FALSE(parse_record(std::string_view("(a\0b)", 5)));
  CHECK_FALSE(parse_record(std::string_view("(\\\0)", 4)));
}

TEST_CASE("record: decode(encode(x)) = x") {
  CHECK(rc::check([] {
    const auto fields = *rc::gen::nonEmpty(rc::gen::container<std::vector<Value>>(any_value()));
    RC_ASSERT(parse_record(format_record(fields)).value() == fields);
  }));
}

TEST_CASE("record: arbitrary text never crashes, and what is taken can be said again") {
  CHECK(rc::check([] {
    const std::string text = *rc::gen::oneOf(rc::gen::string<std::string>(), any_text());
    for (const std::string& attempt : {text, "(" + text + ")", "(\"" + text + "\")"}) {
      const auto fields = parse_record(attempt);
      RC_ASSERT((!fields || parse_record(format_record(*fields)).value() == *fields));
    }
  }));
}

TEST_CASE("record: the number of fields is limited") {
  CHECK(parse_record("(" + std::string(kColumnNumberMax - 1, ',') + ")").value().size() == kColumnNumberMax);
  CHECK_FALSE(parse_record("(" + std::string(kColumnNumberMax, ',') + ")"));
}
