#include "counters.h"

#include <rapidcheck.h>

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

// A node's counter says which total it is, as in a real fleet.
Counters any_counters() {
  Counters counters;
  for (int i = *rc::gen::inRange(0, 5); i > 0; --i) {
    const auto column = *rc::gen::inRange<ColumnNumber>(1, 3);
    const auto origin = *rc::gen::inRange<std::int64_t>(1, 4);
    const auto counter = *rc::gen::inRange<std::int64_t>(1, 5);
    counters[column][NodeId{origin}] = share(counter, std::to_string(counter * 10 + origin));
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

}  // namespace mbsync
