// Counters and greatest values: three texts, a line each.
#include "decimal.h"
#include "fuzz.h"

namespace mbsync::fuzz {
namespace {

void check_sums(const Decimal& a, const Decimal& b, const Decimal& c) {
  FUZZ_EXPECT((a + b).to_string() == (b + a).to_string(), "a sum depends on the order");
  FUZZ_EXPECT(((a + b) + c).to_string() == (a + (b + c)).to_string(), "a sum depends on what is added first");
  FUZZ_EXPECT(((a + b) - b).compare(a) == std::strong_ordering::equal, "a difference does not undo a sum");
  FUZZ_EXPECT((a - a).compare(Decimal()) == std::strong_ordering::equal, "a number less itself is not zero");
  FUZZ_EXPECT(a.compare(b) == (a - b).compare(Decimal()), "the order and the difference disagree");
}

void check_text(const Decimal& number) {
  const auto again = Decimal::parse(number.to_string());
  FUZZ_EXPECT(again && again->to_string() == number.to_string(), "a number does not survive being written");
  FUZZ_EXPECT(again->compare(number) == std::strong_ordering::equal, "a number does not survive being written");
}

}  // namespace

void run(std::string_view input) {
  auto parts = split(input, '\n', 3);
  parts.resize(3);
  const auto a = Decimal::parse(parts[0]);
  const auto b = Decimal::parse(parts[1]);
  const auto c = Decimal::parse(parts[2]);
  for (const auto& number : {a, b, c}) {
    if (number) {
      check_text(*number);
    }
  }
  if (a && b && c) {
    check_sums(*a, *b, *c);
  }
  const auto order = compare_numbers(parts[0], parts[1]);
  const auto reverse = compare_numbers(parts[1], parts[0]);
  FUZZ_EXPECT(order.has_value() == reverse.has_value(), "only one of two orders exists");
  FUZZ_EXPECT(!order || (*order <=> 0) == (0 <=> *reverse), "an order is not the reverse of its reverse");
  FUZZ_EXPECT(!a || !b || order == a->compare(*b), "two orders for the same numbers");
}

}  // namespace mbsync::fuzz
