#include <rapidcheck.h>

#include <catch2/catch.hpp>

#include "copy_text.h"
#include "generators.h"
#include "protocol_limits.h"

using namespace mbsync;
using namespace mbsync::test;

TEST_CASE("copy: fields as COPY TO writes them") {
  std::string out;
  append_copy_line(out, {"1", std::nullopt, "", "a\tb\nc\\d\re", "\b\f\v", "\\N", "ä"});
  CHECK(out == "1\t\\N\t\ta\\tb\\nc\\\\d\\re\t\\b\\f\\v\t\\\\N\tä\n");
}

TEST_CASE("copy: every escape that COPY FROM reads") {
  const auto field = [](std::string_view text) { return parse_copy_line(text).value().at(0); };
  CHECK(field("\\N") == Value{});
  CHECK(field("\\\\N") == Value{"\\N"});
  CHECK(field("a\\Nb") == Value{"aNb"});
  CHECK(field("\\b\\f\\n\\r\\t\\v") == Value{"\b\f\n\r\t\v"});
  CHECK(field("\\101\\60\\7x") == Value{"A0\ax"});
  CHECK(field("\\x41\\x4g\\xg") == Value{"A\x04gxg"});
  CHECK(field("\\a\\.") == Value{"a."});
  CHECK(field("\\1234") == Value{"S4"});
  CHECK(parse_copy_line("a\\\tb").value() == std::vector<Value>{"a\tb"});
  CHECK(parse_copy_line("a\\\\\tb").value() == std::vector<Value>{"a\\", "b"});
  CHECK(parse_copy_line("").value() == std::vector<Value>{""});
  CHECK(parse_copy_line("\t").value() == std::vector<Value>{"", ""});
}

TEST_CASE("copy: what COPY FROM refuses") {
  for (const char* line : {"\\", "a\tb\\", "\\.", "a\nb", "a\rb", "\\0", "a\\x00"}) {
    INFO(line);
    const auto parsed = parse_copy_line(line);
    REQUIRE_FALSE(parsed);
    CHECK(parsed.error().kind == ErrorKind::kCorrupt);
  }
  CHECK_FALSE(parse_copy_line(std::string_view("a\0b", 3)));
}

TEST_CASE("copy: decode(encode(x)) = x, and a line holds one newline") {
  CHECK(rc::check([] {
    const auto fields = *rc::gen::nonEmpty(rc::gen::container<std::vector<Value>>(any_value()));
    std::string line;
    append_copy_line(line, fields);
    RC_ASSERT(line.find('\n') == line.size() - 1);
    line.pop_back();
    RC_ASSERT(parse_copy_line(line).value() == fields);
  }));
}

TEST_CASE("copy: arbitrary text never crashes, and what is taken can be said again") {
  CHECK(rc::check([] {
    const std::string text = *rc::gen::oneOf(rc::gen::string<std::string>(), any_text());
    const auto fields = parse_copy_line(text);
    if (fields) {
      std::string line;
      append_copy_line(line, *fields);
      line.pop_back();
      RC_ASSERT(parse_copy_line(line).value() == *fields);
    }
  }));
}

TEST_CASE("copy: the number of fields is limited") {
  CHECK(parse_copy_line(std::string(kCopyFieldsMax - 1, '\t')).value().size() == kCopyFieldsMax);
  CHECK_FALSE(parse_copy_line(std::string(kCopyFieldsMax, '\t')));
}
