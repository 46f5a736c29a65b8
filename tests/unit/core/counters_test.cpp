#include "counters.h"

#include <rapidcheck.h>

#include <algorithm>
#include <compare>
#include <cstdlib>

#include "core_literals.h"

namespace mbsync {

namespace {

Contribution share(std::int64_t counter, const std::string& total, const std::string& shown = "0") {
  return Contribution{counter, *Decimal::parse(total), *Decimal::parse(shown)};
}

std::string text(const Sums& sums) {
  std::string all;
  for (const auto& [column, sum] : sums) {
    all += std::to_string(column) + "=" + sum.to_string() + " ";
  }
  return all;
}

// Of some number, one with a scale of up to two digits.
std::string decimal_from(std::int64_t number) {
  static const std::vector<std::string> kFractions{"", ".5", ".25"};
  return std::to_string(number) + kFractions[static_cast<std::size_t>(std::abs(number) % 3)];
}

// A node's counter says which total it is, as in a real fleet.
Counters any_counters() {
  Counters counters;
  for (int i = *rc::gen::inRange(0, 5); i > 0; --i) {
    const auto column = *rc::gen::inRange<ColumnNumber>(1, 3);
    const auto origin = *rc::gen::inRange<std::int64_t>(1, 4);
    const auto counter = *rc::gen::inRange<std::int64_t>(1, 5);
    counters[column][NodeId{origin}] =
        share(counter, decimal_from(counter * 17 - origin * 31), decimal_from(*rc::gen::inRange(-9, 9)));
  }
  return counters;
}

}  // namespace

TEST_CASE("counters: of one node's share the later holds, and all shares add up (C16)") {
  const Counters mine{{2, {{NodeId{1}, share(5, "-3", "-3")}, {NodeId{2}, share(1, "1.50", "1.50")}}}};
  const Counters theirs{{2, {{NodeId{1}, share(4, "-2")}, {NodeId{2}, share(2, "2.50")}, {NodeId{3}, share(1, "4")}}}};
  const auto joined = join(mine, theirs);
  CHECK(text(total_of(joined)) == "2=3.50 ");
  // What is shown is what the row here shows, whatever is known besides.
  CHECK(text(shown_of(joined)) == "2=-1.50 ");
}

TEST_CASE("counters: joins are commutative, associative and idempotent in what they add up to (C16)") {
  CHECK(rc::check([] {
    const auto a = any_counters();
    const auto b = any_counters();
    const auto c = any_counters();
    RC_ASSERT(text(total_of(join(a, b))) == text(total_of(join(b, a))));
    RC_ASSERT(text(total_of(join(join(a, b), c))) == text(total_of(join(a, join(b, c)))));
    RC_ASSERT(text(total_of(join(a, a))) == text(total_of(a)));
    RC_ASSERT(text(total_of(join(join(a, b), b))) == text(total_of(join(a, b))));
    RC_ASSERT(text(total_of(join(join(a, b), a))) == text(total_of(join(a, b))));
  }));
}

TEST_CASE("counters: a join leaves what the row here shows, and knows no share that neither side knew (C10, C16)") {
  CHECK(rc::check([] {
    const auto mine = any_counters();
    const auto theirs = any_counters();
    for (const auto& [column, origins] : join(mine, theirs)) {
      for (const auto& [origin, joined] : origins) {
        const auto find = [&, number = column, id = origin](const Counters& in) {
          const auto place = in.find(number);
          return place != in.end() && place->second.contains(id) ? place->second.at(id) : Contribution{};
        };
        const auto own = find(mine);
        const auto other = find(theirs);
        RC_ASSERT(joined.counter == std::max(own.counter, other.counter));
        RC_ASSERT(joined.total.to_string() == (own.counter >= other.counter ? own.total : other.total).to_string());
        RC_ASSERT(joined.shown.to_string() == own.shown.to_string());
      }
    }
  }));
}

TEST_CASE("counters: what the parts of a fleet know comes to one total in whatever order it is heard (C16)") {
  CHECK(rc::check([] {
    std::vector<Counters> heard(4);
    for (auto& one : heard) {
      one = any_counters();
    }
    const auto all_of = [](const std::vector<Counters>& order) {
      Counters all;
      for (const auto& one : order) {
        all = join(all, one);
      }
      return text(total_of(all));
    };
    const auto total = all_of(heard);
    std::reverse(heard.begin(), heard.end());
    heard.push_back(heard.front());
    RC_ASSERT(all_of(heard) == total);
  }));
}

TEST_CASE("counters: from what a row shows to its base and back; what is no number stays (C16)") {
  Values values{{1, "10"}, {2, std::nullopt}, {3, "NaN"}, {4, "1.5"}, {5, "other"}};
  const auto before = values;
  const Sums sums{{1, *Decimal::parse("-3")},
                  {2, *Decimal::parse("1")},
                  {3, *Decimal::parse("1")},
                  {4, *Decimal::parse("0.25")},
                  {9, *Decimal::parse("1")}};
  subtract_sums(values, sums);
  CHECK(values == Values{{1, "13"}, {2, std::nullopt}, {3, "NaN"}, {4, "1.25"}, {5, "other"}});
  add_sums(values, sums);
  CHECK(values.at(1) == "10");
  CHECK(values.at(4) == "1.50");
  CHECK(values.at(3) == before.at(3));
}

TEST_CASE("counters: a sum has the greater scale, and its base keeps it (C16)") {
  const struct {
    const char* base;
    const char* sum;
    const char* shown;
    const char* back;
  } cases[] = {
      {"10", "-3", "7", "10"},
      {"10", "0.25", "10.25", "10.00"},
      {"10.5", "-10.50", "0.00", "10.50"},
      {"1.500", "1", "2.500", "1.500"},
      {"0", "-0.01", "-0.01", "0.00"},
      {"5", "0.00", "5.00", "5.00"},
      // No digit is lost where a number is too long for a double or for 64 bits.
      {"9223372036854775807", "1", "9223372036854775808", "9223372036854775807"},
      {"12345678901234567890.000000000000000001", "0.1", "12345678901234567890.100000000000000001",
       "12345678901234567890.000000000000000001"},
  };
  for (const auto& [base, sum, shown, back] : cases) {
    CAPTURE(base, sum);
    Values values{{1, base}};
    const Sums sums{{1, *Decimal::parse(sum)}};
    add_sums(values, sums);
    CHECK(values == Values{{1, shown}});
    subtract_sums(values, sums);
    CHECK(values == Values{{1, back}});
    // From then on it is the same text each time.
    add_sums(values, sums);
    CHECK(values == Values{{1, shown}});
  }
}

TEST_CASE("counters: NULL and what is no finite number neither gain nor lose anything (C16)") {
  const Sums sums{{1, *Decimal::parse("1.5")}};
  for (const auto& value : {Value(), Value(""), Value("NaN"), Value("Infinity"), Value("-Infinity"), Value("1e3"),
                            Value(" 1"), Value("one")}) {
    Values values{{1, value}};
    add_sums(values, sums);
    CHECK(values == Values{{1, value}});
    subtract_sums(values, sums);
    CHECK(values == Values{{1, value}});
  }
  // A column that a write does not hold is not made up.
  Values other{{2, "7"}};
  add_sums(other, sums);
  subtract_sums(other, sums);
  CHECK(other == Values{{2, "7"}});
}

TEST_CASE("counters: sums are taken off and put back without a trace (C16)") {
  CHECK(rc::check([] {
    const auto sums = total_of(any_counters());
    const auto number = decimal_from(*rc::gen::inRange(-500, 500));
    Values values{{1, number}, {2, number}};
    subtract_sums(values, sums);
    add_sums(values, sums);
    for (const auto& [column, value] : values) {
      RC_ASSERT(std::is_eq(Decimal::parse(*value)->compare(*Decimal::parse(number))));
    }
    auto again = values;
    subtract_sums(again, sums);
    add_sums(again, sums);
    RC_ASSERT(again == values);
  }));
}

}  // namespace mbsync
