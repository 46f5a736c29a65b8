#include "decimal.h"

#include <rapidcheck.h>

#include <array>
#include <cstdint>

#include "core_literals.h"

namespace mbsync {

namespace {

std::string printed(std::string_view text) {
  return Decimal::parse(text).value().to_string();
}
std::string sum(std::string_view a, std::string_view b) {
  return (Decimal::parse(a).value() + Decimal::parse(b).value()).to_string();
}
std::string difference(std::string_view a, std::string_view b) {
  return (Decimal::parse(a).value() - Decimal::parse(b).value()).to_string();
}

std::string any_decimal() {
  const auto digits = [](int most) {
    return *rc::gen::resize(most, rc::gen::container<std::string>(rc::gen::inRange('0', static_cast<char>('9' + 1))));
  };
  const std::string fraction = digits(20);
  return *rc::gen::element<std::string>("", "-") + "0" + digits(25) + (fraction.empty() ? "" : "." + fraction);
}

}  // namespace

TEST_CASE("decimal: prints as numeric does") {
  CHECK(Decimal{}.to_string() == "0");
  for (const char* same : {"0", "7", "-12.50", "0.00", "0.05", "-0.05", "100", "1.000",
                           "123456789012345678901234567890.123456789012345678901234567890"}) {
    CHECK(printed(same) == same);
  }
  CHECK(printed("-0") == "0");
  CHECK(printed("-0.00") == "0.00");
  CHECK(printed("+5") == "5");
  CHECK(printed("007.10") == "7.10");
  CHECK(printed(".5") == "0.5");
  CHECK(printed("-.5") == "-0.5");
  CHECK(printed("5.") == "5");
}

TEST_CASE("decimal: anything but a sign, digits and a point is refused") {
  for (const char* text : {"", "-", "+", ".", "-.", "1e5", "1E5", "NaN", "Infinity", "-Infinity", " 1", "1 ", "1.2.3",
                           "--1", "1-", "1,5", "0x10", "1_000", "\xd9\xa1"}) {
    INFO(text);
    CHECK_FALSE(Decimal::parse(text));
  }
  CHECK_FALSE(Decimal::parse(std::string_view("1\0", 2)));
}

TEST_CASE("decimal: sums and differences are exact and keep the greater scale") {
  struct Case {
    const char *a, *b, *sum, *difference;
  };
  for (const Case& row : {Case{"1.50", "1", "2.50", "0.50"},         //
                          Case{"1", "1.50", "2.50", "-0.50"},        //
                          Case{"0.1", "0.2", "0.3", "-0.1"},         //
                          Case{"0", "0.00", "0.00", "0.00"},         //
                          Case{"1.5", "-1.50", "0.00", "3.00"},      //
                          Case{"-1.5", "-1.50", "-3.00", "0.00"},    //
                          Case{"999", "1", "1000", "998"},           //
                          Case{"1000", "-1", "999", "1001"},         //
                          Case{"0.05", "0.95", "1.00", "-0.90"},     //
                          Case{"-0.01", "100", "99.99", "-100.01"},  //
                          Case{"5", "-7", "-2", "12"},               //
                          Case{"9223372036854775807", "9223372036854775807", "18446744073709551614", "0"}}) {
    INFO(row.a << " and " << row.b);
    CHECK(sum(row.a, row.b) == row.sum);
    CHECK(sum(row.b, row.a) == row.sum);
    CHECK(difference(row.a, row.b) == row.difference);
  }
  CHECK((-Decimal::parse("0.00").value()).to_string() == "0.00");
  CHECK((-Decimal::parse("1.0").value()).to_string() == "-1.0");
}

TEST_CASE("decimal: numbers are ordered by value, whatever their scale") {
  // Each group is equal and less than the next.
  const std::vector<std::vector<std::string>> rising{{"-Infinity"},
                                                     {"-100000000000000000000000"},
                                                     {"-10", "-10.00", "-010"},
                                                     {"-9.99"},
                                                     {"-0.011"},
                                                     {"-0.01", "-.0100"},
                                                     {"0", "-0", "0.000", "-0.0"},
                                                     {"0.0000000000000000000000000001"},
                                                     {"0.09"},
                                                     {"0.1", "0.10", "+0.1"},
                                                     {"0.10000000000000000000000001"},
                                                     {"1"},
                                                     {"9", "9.0"},
                                                     {"10"},
                                                     {"10.5", "10.50"},
                                                     {"9223372036854775808"},
                                                     {"9223372036854775809"},
                                                     {"Infinity"},
                                                     {"NaN"}};
  for (std::size_t i = 0; i < rising.size(); ++i) {
    for (std::size_t j = 0; j < rising.size(); ++j) {
      for (const std::string& a : rising[i]) {
        for (const std::string& b : rising[j]) {
          INFO(a << " and " << b);
          CHECK((compare_numbers(a, b).value() == (i <=> j)));
        }
      }
    }
  }
  CHECK_FALSE(compare_numbers("1", "one"));
  CHECK_FALSE(compare_numbers("", "1"));
  CHECK_FALSE(compare_numbers("nan", "NaN"));
}

TEST_CASE("decimal: agrees with 64-bit arithmetic") {
  CHECK(rc::check([](std::int32_t a, std::int32_t b) {
    const auto text = [](std::int64_t number) { return std::to_string(number); };
    RC_ASSERT(sum(text(a), text(b)) == text(std::int64_t{a} + b));
    RC_ASSERT(difference(text(a), text(b)) == text(std::int64_t{a} - b));
    RC_ASSERT((compare_numbers(text(a), text(b)).value() == (a <=> b)));
  }));
}

TEST_CASE("decimal: sums do not depend on the order, and a difference takes back a sum") {
  CHECK(rc::check([] {
    const std::string a = any_decimal();
    const std::string b = any_decimal();
    const std::string c = any_decimal();
    RC_ASSERT(sum(a, b) == sum(b, a));
    RC_ASSERT(sum(sum(a, b), c) == sum(a, sum(b, c)));
    RC_ASSERT(std::is_eq(compare_numbers(difference(sum(a, b), b), a).value()));
    RC_ASSERT((compare_numbers(a, b).value() == compare_numbers(difference(a, b), "0").value()));
    RC_ASSERT((compare_numbers(b, a).value() == compare_numbers("0", difference(a, b)).value()));
  }));
}

}  // namespace mbsync
