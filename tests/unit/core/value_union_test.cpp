#include "value_union.h"

#include <rapidcheck.h>

#include "core_literals.h"

namespace mbsync {

namespace {

using Texts = std::vector<std::string>;
using Text = std::optional<std::string>;

struct Case {
  Texts values;
  Text united;
};

// A text of few different pieces, so that values drawn independently have something in common.
std::string any_of(const Texts& pieces, const std::string& between) {
  const auto chosen = *rc::gen::resize(6, rc::gen::container<Texts>(rc::gen::elementOf(pieces)));
  std::string text;
  for (std::size_t i = 0; i < chosen.size(); ++i) {
    text += (i == 0 ? "" : between) + chosen[i];
  }
  return text;
}

std::string any_array() {
  return '{' + any_of({"a", "b", "NULL", R"("b c")", R"("")", R"("\"")", R"("null")"}, ",") + '}';
}
std::string any_json_array() {
  return '[' + any_of({"1", "1.0", R"("a, b")", "null", "[1, 2]", R"({"a": 1, "bb": []})"}, ", ") + ']';
}
std::string any_json_object() {
  return '{' +
         any_of({R"("a": 1)", R"("a": {"b": 1})", R"("a":{"c":[ ],"b":2})", R"("bb": null)", R"("b": "x")"}, ",") + '}';
}
std::string any_lines() {
  return any_of({"one", "two", "three\r", ""}, "\n") + *rc::gen::element<std::string>("", "\n");
}

}  // namespace

TEST_CASE("union of arrays: elements in the order of time, each as often as the value with the most of it") {
  for (const Case& row : {
           Case{{"{}"}, "{}"},
           Case{{"{}", "{}"}, "{}"},
           Case{{"{a,b}"}, "{a,b}"},
           Case{{"{a,b}", "{}"}, "{a,b}"},
           Case{{"{}", "{a,b}"}, "{a,b}"},
           Case{{"{a,b}", "{b,c,a,d}"}, "{a,b,c,d}"},
           Case{{"{b}", "{a}"}, "{b,a}"},
           Case{{"{1}", "{2}", "{1,3}"}, "{1,2,3}"},
           Case{{"{a,a}", "{a}"}, "{a,a}"},
           Case{{"{a}", "{b,a,a}"}, "{a,b,a}"},
           Case{{"{a,a}", "{a,b,a,a}"}, "{a,a,b,a}"},
           Case{{"{NULL}", R"({"NULL","null",NULL})"}, R"({NULL,"NULL","null"})"},
           Case{{R"({"b c","",",","{}"})", R"({"","x"})"}, R"({"b c","",",","{}",x})"},
           Case{{R"({"a\"b","a\\b"})", R"({"a\\b"})"}, R"({"a\"b","a\\b"})"},
           Case{{R"({"plain",nUll,"\p"})"}, "{plain,NULL,p}"},
           Case{{"{\"\t\",\"\n\",\"\v\"}"}, "{\"\t\",\"\n\",\"\v\"}"},
           Case{{"{a;b,ä}"}, "{a;b,ä}"},
       }) {
    INFO(row.values.front() << " to " << row.values.back());
    CHECK(unite_arrays(row.values) == row.united);
  }
}

TEST_CASE("union of arrays: anything but plain arrays of one dimension is refused, wherever it stands") {
  for (const char* text :
       {"",          "{",           "}",        "a",     "{a",    "a}",   "{a}}",   "{{a}}", "{{}}",
        "{a,{b}}",   "[2:3]={1,2}", "{a}{b}",   "{,}",   "{a,}",  "{,a}", "{a,,b}", "{\"}",  "{\"a}",
        "{\"a\\\"}", "{\"a\"b}",    "{a\"b\"}", "{a\\}", "{a b}", "{ a}", "{a} ",   " {a}",  "{\"a\" }"}) {
    INFO(text);
    CHECK_FALSE(unite_arrays({text}));
    CHECK_FALSE(unite_arrays({"{a}", text}));
    CHECK_FALSE(unite_arrays({text, "{a}"}));
  }
  CHECK_FALSE(unite_arrays({}));
}

TEST_CASE("union of JSON arrays: equal is what jsonb prints alike") {
  for (const Case& row : {
           Case{{"[]"}, "[]"},
           Case{{" [ ] ", "[]\n"}, "[]"},
           Case{{"[1,2]", "[2,3]"}, "[1, 2, 3]"},
           Case{{"[1,1]", "[2,1]"}, "[1, 1, 2]"},
           Case{{"[1.0]", "[1.00,1e5,-0,1E+2]"}, "[1.0, 1.00, 1e5, -0, 1E+2]"},
           Case{{"[12345678901234567890.12345678901234567890]"}, "[12345678901234567890.12345678901234567890]"},
           Case{{"[true,false,null]", R"(["true",null])"}, R"([true, false, null, "true"])"},
           Case{{R"([{"a":1,"b":[ 1 ]}])", R"([{"b": [1], "a" :1}])"}, R"([{"a": 1, "b": [1]}])"},
           Case{{R"(["a , b","ü"])", R"(["a , b","\u00fc","\u00FC"])"}, R"(["a , b", "ü", "ü"])"},
           Case{{R"(["\/\"\\\b\f\n\r\t\u001f\u000a"])"}, R"(["/\"\\\b\f\n\r\t\u001f\n"])"},
           Case{{R"(["\ud83d\ude00"])", R"(["😀"])"}, R"(["😀"])"},
           Case{{R"(["\u20ac\u0041"])"}, R"(["€A"])"},
           Case{{R"(["\u0000"])"}, R"(["\u0000"])"},
           Case{{"[[1,2]]", "[[2,1],[1,2]]"}, "[[1, 2], [2, 1]]"},
       }) {
    INFO(row.values.front() << " to " << row.values.back());
    CHECK(unite_json(row.values) == row.united);
  }
}

TEST_CASE("union of JSON objects: members of all, the last in time where they differ, objects within united") {
  for (const Case& row : {
           Case{{"{}"}, "{}"},
           Case{{R"({"a":1})", "{}"}, R"({"a": 1})"},
           Case{{R"({"a":1})", R"({"b":2})"}, R"({"a": 1, "b": 2})"},
           Case{{R"({"b":2})", R"({"a":1})"}, R"({"a": 1, "b": 2})"},
           Case{{R"({"a":1})", R"({"a":2})"}, R"({"a": 2})"},
           Case{{R"({"a":2})", R"({"a":1})"}, R"({"a": 1})"},
           Case{{R"({"a":1,"a":2})"}, R"({"a": 2})"},
           Case{{R"({"a":[1]})", R"({"a":[2]})"}, R"({"a": [2]})"},
           Case{{R"({"bb":1,"c":2,"ä":3,"":4,"aaa":5})"}, R"({"": 4, "c": 2, "bb": 1, "ä": 3, "aaa": 5})"},
           Case{{R"({"\u0061\u0062":1})", R"({"c":2})"}, R"({"c": 2, "ab": 1})"},
           Case{{R"({"a":{"x":1,"y":1}})", R"({"a":{"y":2,"z":2}})"}, R"({"a": {"x": 1, "y": 2, "z": 2}})"},
           Case{{R"({"a":{"x":1}})", R"({"a":null})"}, R"({"a": null})"},
           Case{{R"({"a":{"x":1}})", R"({"a":0})", R"({"a":{"y":1}})"}, R"({"a": {"y": 1}})"},
           Case{{R"({"a":{"x":1}})", R"({"b":0})", R"({"a":{"y":1}})"}, R"({"a": {"x": 1, "y": 1}, "b": 0})"},
           Case{{R"({"a":{"b":{"x":1}}})", R"({"a":{"b":{"y":{}}}})"}, R"({"a": {"b": {"x": 1, "y": {}}}})"},
       }) {
    INFO(row.values.front() << " to " << row.values.back());
    CHECK(unite_json(row.values) == row.united);
  }
}

TEST_CASE("union of JSON objects: objects are united 32 levels deep, below the last in time is kept") {
  const auto nested = [](int levels, const std::string& inner) {
    std::string text = inner;
    for (int level = 1; level < levels; ++level) {
      text.insert(0, R"({"k": )");
      text += '}';
    }
    return text;
  };
  const std::string x = R"({"x": 1})";
  const std::string y = R"({"y": 1})";
  CHECK(unite_json({nested(32, x), nested(32, y)}) == nested(32, R"({"x": 1, "y": 1})"));
  CHECK(unite_json({nested(33, x), nested(33, y)}) == nested(33, y));
}

TEST_CASE("union of JSON: scalars, mixtures and bad syntax are refused, wherever they stand") {
  for (const char* text : {"",
                           " ",
                           "1",
                           "\"a\"",
                           "null",
                           "true",
                           "{}",
                           "[",
                           "]",
                           "[1",
                           "[1,]",
                           "[,1]",
                           "[1 2]",
                           "[1]]",
                           "[1] 2",
                           "[01]",
                           "[-]",
                           "[+1]",
                           "[.5]",
                           "[1.]",
                           "[1e]",
                           "[1e+]",
                           "[NaN]",
                           "[nul]",
                           "[True]",
                           "[']",
                           "[\"]",
                           "[\"\\\"]",
                           "[\"\\x\"]",
                           "[\"\\u12\"]",
                           "[\"\\u12g4\"]",
                           "[\"\\ud800\"]",
                           "[\"\\ud800\\u0041\"]",
                           "[\"\\udc00\"]",
                           "[\"\n\"]",
                           "[{]",
                           "[{\"a\"}]",
                           "[{\"a\":}]",
                           "[{a:1}]",
                           "[{1:1}]",
                           "[{\"a\":1,}]",
                           "[\v1]",
                           "[1}"}) {
    INFO(text);
    CHECK_FALSE(unite_json({"[1]", text}));
    CHECK_FALSE(unite_json({text, "[1]"}));
  }
  for (const char* text : {"", "1", "[]", "{", "{\"a\":1", "{\"a\":1}}", "{\"a\" 1}", "{\"a\":1 \"b\":2}"}) {
    INFO(text);
    CHECK_FALSE(unite_json({"{}", text}));
    CHECK_FALSE(unite_json({text, "{}"}));
  }
  CHECK_FALSE(unite_json({"1"}));
  CHECK_FALSE(unite_json({}));
}

TEST_CASE("union of JSON: nesting is read 512 levels deep and refused beyond, without end") {
  const auto nested = [](std::size_t levels) { return std::string(levels, '[') + std::string(levels, ']'); };
  CHECK(unite_json({nested(512)}) == nested(512));
  CHECK_FALSE(unite_json({nested(513)}));
  CHECK_FALSE(unite_json({std::string(1000000, '[')}));
}

TEST_CASE("append: common leading lines once, then each rest in the order of time") {
  struct Row {
    Texts values;
    std::string united;
  };
  for (const Row& row : {
           Row{{}, ""},
           Row{{""}, ""},
           Row{{"a\n"}, "a\n"},
           Row{{"a", "b"}, "a\nb"},
           Row{{"a\n", "b\n"}, "a\nb\n"},
           Row{{"a\n", "b"}, "a\nb"},
           Row{{"a", "b\n"}, "a\nb\n"},
           Row{{"", "b"}, "b"},
           Row{{"x\na", "x\nb"}, "x\na\nb"},
           Row{{"x\na\n", "x\nb\n", "x\nc\n"}, "x\na\nb\nc\n"},
           Row{{"x", "x\nb"}, "x\nb"},
           Row{{"x\nb", "x"}, "x\nb"},
           Row{{"x\na", "x\na\nb"}, "x\na\nb"},
           Row{{"x\r\na\r\n", "x\r\nb\r\n"}, "x\r\na\r\nb\r\n"},
           Row{{"x\r\na", "x\nb"}, "x\r\na\nb"},
           Row{{"x\n\na\n", "x\n\nb\n"}, "x\n\na\nb\n"},
           // The rest of the second equals that of the first; in the next two, one rest begins another.
           Row{{"x\na\n", "x\na", "x\nb"}, "x\na\nb"},
           Row{{"x\na", "x\na\nb", "x\nc"}, "x\na\nb\nc"},
           Row{{"x\nc", "x\na\nb", "x\na\n"}, "x\nc\na\nb"},
           Row{{"x\na", "x\nab"}, "x\na\nab"},
           Row{{"a\nend", "b\nend"}, "a\nend\nb\nend"},
       }) {
    INFO(Catch::Detail::stringify(row.values));
    CHECK(append_texts(row.values) == row.united);
  }
}

TEST_CASE("union and append: values that are united already stay as they are") {
  CHECK(rc::check("arrays", [] {
    const std::string a = any_array();
    const std::string b = any_array();
    const std::string both = unite_arrays({a, b}).value();
    RC_ASSERT(unite_arrays({a, a}) == a);
    RC_ASSERT(unite_arrays({both, a}) == both);
    RC_ASSERT(unite_arrays({both, b}) == both);
  }));
  CHECK(rc::check("JSON arrays", [] {
    const std::string a = any_json_array();
    const std::string b = any_json_array();
    const std::string both = unite_json({a, b}).value();
    RC_ASSERT(unite_json({a, a}) == a);
    RC_ASSERT(unite_json({both, a}) == both);
    RC_ASSERT(unite_json({both, b}) == both);
  }));
  CHECK(rc::check("JSON objects", [] {
    const std::string a = any_json_object();
    const std::string b = any_json_object();
    const std::string both = unite_json({a, b}).value();
    RC_ASSERT(unite_json({a, a}) == unite_json({a}));
    RC_ASSERT(unite_json({both, b}) == both);
  }));
  // A text that ends with another one's lines could be a coincidence, so only its beginning counts.
  CHECK(rc::check("texts", [] {
    const std::string a = any_lines();
    const std::string b = any_lines();
    const std::string both = append_texts({a, b});
    RC_ASSERT(append_texts({a}) == a);
    RC_ASSERT(append_texts({a, a}) == a);
    RC_ASSERT(append_texts({both, a}) == both);
    RC_ASSERT(append_texts({both, both}) == both);
  }));
}

TEST_CASE("union: arbitrary text never crashes, and what comes out can be united again") {
  CHECK(rc::check([] {
    const auto text = *rc::gen::container<std::string>(rc::gen::elementOf(std::string("{}[]\",:\\ au01e.-\n\t")));
    for (const auto unite : {&unite_arrays, &unite_json}) {
      if (const auto once = unite({text})) {
        RC_ASSERT(unite({*once}) == once);
        RC_ASSERT(unite({text, *once}) == once);
      }
    }
    RC_ASSERT(append_texts({text, text}) == text);
  }));
}

}  // namespace mbsync
