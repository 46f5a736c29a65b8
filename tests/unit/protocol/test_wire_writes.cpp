#include <rapidcheck.h>

#include <catch2/catch.hpp>

#include "generators.h"
#include "message.h"
#include "protocol_limits.h"

using namespace mbsync;
using namespace mbsync::test;

namespace {

std::string problem(std::string_view json) {
  const auto parsed = parse_wire_row(json);
  if (!parsed) {
    CHECK(parsed.error().kind == ErrorKind::kCorrupt);
  }
  return parsed ? "ok" : parsed.error().message;
}

}  // namespace

TEST_CASE("wire writes: the form of PROTOCOL.md") {
  const std::vector<WireWrite> writes = {
      {{NodeId{26}, 17}, {1'700'000'000'000'000}, {0, 2}, false, std::nullopt, 0},
      {{NodeId{43}, 4}, kTimeUnknown, {1}, true, "(7,\"a b\",)", 5},
  };
  const std::string json =
      R"json([[26,17,1700000000000000,"1010",false,null,0,null],[43,4,null,"0100",true,"(7,\"a b\",)",5,null]])json";
  CHECK(to_json(WireRow{writes, {}}, 4).value() == json);
  CHECK(parse_wire_row(json).value() == WireRow{writes, {}});
}

TEST_CASE("wire writes: with counters") {
  WireRow row{{{{NodeId{26}, 17}, {0}, {0, 2}, true, "(,5)", 3, {{2, "-1.50"}}}}, {{2, NodeId{26}, 9, "-3.50", "0"}}};
  const std::string json =
      R"json({"counters":[[2,26,9,"-3.50","0"]],"writes":[[26,17,0,"101",true,"(,5)",3,{"2":"-1.50"}]]})json";
  CHECK(to_json(row, 3).value() == json);
  CHECK(parse_wire_row(json).value() == row);
  row.writes.clear();
  CHECK(parse_wire_row(to_json(row, 3).value()).value() == row);
}

TEST_CASE("wire writes: counters that must not be") {
  const auto with = [](const std::string& counters) {
    return problem(R"({"writes":[],"counters":[)" + counters + "]}");
  };
  CHECK(with(R"([1,1,1,"1","0.5"])") == "ok");
  CHECK(with("") != "ok");
  for (const auto* counter :
       {R"([0,1,1,"1","0"])", R"([1,0,1,"1","0"])", R"([1,1,0,"1","0"])", R"([1,1,1,1,"0"])", R"([1,1,1,"","0"])",
        R"([1,1,1,"-","0"])", R"([1,1,1,"NaN","0"])", R"([1,1,1,"1.","0"])", R"([1,1,1,".1","0"])",
        R"([1,1,1,"1.1.1","0"])", R"([1,1,1,"1e5","0"])", R"([1,1,1,"1"])", R"([1,1,1,"1","0"],[1,1,2,"1","0"])"}) {
    CAPTURE(counter);
    CHECK(with(counter) != "ok");
  }
  CHECK(problem(R"([[1,1,0,"1",false,null,0,{"1":"5"}]])") == "ok");
  CHECK(problem(R"([[1,1,0,"1",false,null,0,{"0":"5"}]])") != "ok");
  CHECK(problem(R"([[1,1,-62135596800000001,"1",false,null,0,null]])") != "ok");
  CHECK(problem(R"([[1,1,253402300800000000,"1",false,null,0,null]])") != "ok");
  CHECK(problem(R"([[1,1,0,"1",false,null,0,{"01":"5"}]])") != "ok");
  CHECK(problem(R"([[1,1,0,"1",false,null,0,{"1":"x"}]])") != "ok");
  CHECK(problem(R"({"writes":[[1,1,0,"1",false,null,0,null]]})") != "ok");
}

TEST_CASE("wire writes: decode(encode(x)) = x") {
  CHECK(rc::check([] {
    std::map<Dot, WireWrite> by_dot;
    const auto count = *rc::gen::inRange(1, 5);
    for (int i = 0; i < count; ++i) {
      WireWrite write;
      write.dot = {*any_node(), *positive()};
      write.at = {*rc::gen::oneOf(rc::gen::inRange(kWriteTimeMin, kWriteTimeMax), rc::gen::just(kTimeUnknown.micros),
                                  rc::gen::just(kWriteTimeMin), rc::gen::just(kWriteTimeMax))};
      for (const auto number :
           *rc::gen::nonEmpty(rc::gen::container<std::vector<ColumnNumber>>(rc::gen::inRange<ColumnNumber>(0, 300)))) {
        write.columns.insert(number);
      }
      write.deleted = *rc::gen::arbitrary<bool>();
      if (*rc::gen::arbitrary<bool>()) {
        write.kept = "(" + *any_text() + ")";
      }
      write.policy = *rc::gen::inRange<std::int64_t>(0, 1'000'000'000'000);
      if (*rc::gen::arbitrary<bool>()) {
        write.sums[*rc::gen::inRange<ColumnNumber>(1, 300)] = "-4.20";
      }
      by_dot[write.dot] = write;
    }
    WireRow row;
    for (const auto& [dot, write] : by_dot) {
      row.writes.push_back(write);
    }
    const auto any_decimal = rc::gen::element<std::string>("0", "-1", "12.50", "-0.001", "123456789012345678901234567");
    std::map<std::pair<ColumnNumber, NodeId>, WireCounter> counters;
    for (int i = *rc::gen::inRange(0, 4); i > 0; --i) {
      WireCounter counter{*rc::gen::inRange<ColumnNumber>(1, 300), *any_node(), *positive(), *any_decimal,
                          *any_decimal};
      counters[{counter.number, counter.origin}] = counter;
    }
    for (const auto& [key, counter] : counters) {
      row.counters.push_back(counter);
    }
    RC_ASSERT(parse_wire_row(to_json(row, *rc::gen::inRange<std::size_t>(0, 40)).value()).value() == row);
  }));
}

TEST_CASE("wire writes: what must not be") {
  CHECK(problem(R"([[1,1,0,"1",false,null,0,null]])") == "ok");
  CHECK(problem(R"([[1,1,0,"1",false,null,-1,null]])") != "ok");
  CHECK(problem(R"([[1,1,0,"1",false,null,0]])") != "ok");
  CHECK(problem(R"([[1,1,0,"1",false,null,0,{"a":1}]])") != "ok");
  CHECK(problem(R"([])") != "ok");
  CHECK(problem(R"({})") != "ok");
  CHECK(problem(R"([[1,1,0,"1",false]])") != "ok");
  CHECK(problem(R"([[1,1,0,"1",false,null,null,0,null]])") != "ok");
  CHECK(problem(R"([[0,1,0,"1",false,null,0,null]])") != "ok");
  CHECK(problem(R"([[-1,1,0,"1",false,null,0,null]])") != "ok");
  CHECK(problem(R"([[1,0,0,"1",false,null,0,null]])") != "ok");
  CHECK(problem(R"([[9223372036854775808,1,0,"1",false,null,0,null]])") != "ok");
  CHECK(problem(R"([[1,1,-9223372036854775808,"1",false,null,0,null]])") != "ok");  // null is its only form
  CHECK(problem(R"([[1,1,0,"",false,null,0,null]])") != "ok");
  CHECK(problem(R"([[1,1,0,"000",false,null,0,null]])") != "ok");
  CHECK(problem(R"([[1,1,0,"012",false,null,0,null]])") != "ok");
  CHECK(problem(R"([[1,1,0,"1",null,null,0,null]])") != "ok");
  CHECK(problem(R"([[1,1,0,"1",false,3,0,null]])") != "ok");
  CHECK(problem("[[1,1,0,\"1" + std::string(kColumnNumberMax, '0') + "\",false,null,0,null]]") == "ok");
  CHECK(problem("[[1,1,0,\"1" + std::string(kColumnNumberMax + 1, '0') + "\",false,null,0,null]]") != "ok");
}

TEST_CASE("wire writes: dots rise, and none comes twice") {
  CHECK(problem(R"([[1,1,0,"1",false,null,0,null],[1,2,0,"1",false,null,0,null],[2,1,0,"1",false,null,0,null]])") ==
        "ok");
  CHECK(problem(R"([[1,2,0,"1",false,null,0,null],[1,1,0,"1",false,null,0,null]])") != "ok");
  CHECK(problem(R"([[1,1,0,"1",false,null,0,null],[1,1,0,"1",false,null,0,null]])") != "ok");
}

TEST_CASE("wire writes: kept values that JSON cannot carry are an error, never damaged") {
  const std::vector<WireWrite> writes = {{{NodeId{1}, 1}, {0}, {0}, true, "(\xff)", 0}};
  CHECK(to_json(WireRow{writes, {}}, 1).error().kind == ErrorKind::kCorrupt);
}
