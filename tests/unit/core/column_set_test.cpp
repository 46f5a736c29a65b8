#include "column_set.h"

#include "core_literals.h"

namespace mbsync {

TEST_CASE("column set: a number is in it from insert to erase") {
  ColumnSet set;
  CHECK(set.empty());
  for (const ColumnNumber number : {0U, 1U, 63U, 64U, 200U}) {
    set.insert(number);
    set.insert(number);
    CHECK(set.contains(number));
  }
  CHECK(set.size() == 5);
  CHECK(set.numbers() == std::vector<ColumnNumber>{0, 1, 63, 64, 200});
  CHECK_FALSE(set.contains(2));
  CHECK_FALSE(set.contains(100000));
  set.erase(200);
  set.erase(100000);
  CHECK_FALSE(set.contains(200));
  CHECK(set.size() == 4);
}

TEST_CASE("column set: sets with the same numbers are equal, however they were made") {
  ColumnSet shrunk{1, 200};
  shrunk.erase(200);
  CHECK(shrunk == ColumnSet{1});
  CHECK(ColumnSet::parse("0100000").value() == ColumnSet{1});
  CHECK(ColumnSet{1, 200}.minus({200}) == ColumnSet{1});
  CHECK(ColumnSet{1, 200}.intersect({1, 201}) == ColumnSet{1});
  CHECK_FALSE(ColumnSet{1} == ColumnSet{2});
  shrunk.erase(1);
  CHECK(shrunk.empty());
  CHECK(shrunk == ColumnSet{});
}

TEST_CASE("column set: intersect, unite and minus, both ways round") {
  const ColumnSet a{0, 1, 70};
  const ColumnSet b{1, 2};
  CHECK(a.intersect(b) == ColumnSet{1});
  CHECK(b.intersect(a) == ColumnSet{1});
  CHECK(a.unite(b) == ColumnSet{0, 1, 2, 70});
  CHECK(b.unite(a) == ColumnSet{0, 1, 2, 70});
  CHECK(a.minus(b) == ColumnSet{0, 70});
  CHECK(b.minus(a) == ColumnSet{2});
  CHECK(a.minus(a).empty());
  CHECK(a.unite({}) == a);
  CHECK(a.intersect({}).empty());
}

TEST_CASE("column set: the text form is padded to the width and longer where it must be") {
  CHECK(ColumnSet{0, 2}.to_bits(4) == "1010");
  CHECK(ColumnSet{0, 2}.to_bits(3) == "101");
  CHECK(ColumnSet{0, 2}.to_bits(0) == "101");
  CHECK(ColumnSet{}.to_bits(3) == "000");
  CHECK(ColumnSet{}.to_bits(0).empty());
  CHECK(ColumnSet{64}.to_bits(0) == std::string(64, '0') + "1");
}

TEST_CASE("column set: parse reads what to_bits writes") {
  for (const ColumnSet& set : {ColumnSet{}, ColumnSet{0}, ColumnSet{0, 2}, ColumnSet{63, 64, 130}}) {
    CHECK(ColumnSet::parse(set.to_bits(100)).value() == set);
    CHECK(ColumnSet::parse(set.to_bits(0)).value() == set);
  }
}

TEST_CASE("column set: parse refuses anything but 0 and 1 as corrupt") {
  for (const char* text : {"2", "01x", " 1", "1 ", "0b1", "-1"}) {
    const auto parsed = ColumnSet::parse(text);
    REQUIRE_FALSE(parsed.has_value());
    CHECK(parsed.error().kind == ErrorKind::kCorrupt);
  }
}

}  // namespace mbsync
