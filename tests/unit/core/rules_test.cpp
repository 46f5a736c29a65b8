// Each rule of the policy, tried from both sides and three ways: what siblings come to must not depend on the order in
// which they are heard of.
#include <algorithm>
#include <functional>

#include "core_literals.h"
#include "settle.h"

namespace mbsync {

namespace {

constexpr ColumnNumber kColumn = 1;
constexpr PolicyVersion kPolicy = 7;

// Rules by version; those of a version that is not given are the built-in ones.
class TestRules : public Rulebook {
 public:
  std::map<PolicyVersion, RowRules> versions;
  std::function<std::optional<Value>(const Siblings&)> function;
  mutable std::vector<std::string> asked;  // the values in the order the function got them

  TestRules() = default;
  explicit TestRules(RowRules rules) { versions[kPolicy] = std::move(rules); }
  [[nodiscard]] const RowRules& rules(PolicyVersion version) const override {
    static const RowRules kBuiltIn;
    const auto place = versions.find(version);
    return place == versions.end() ? kBuiltIn : place->second;
  }
  [[nodiscard]] bool readable(const Value& value) const override { return value != "too large"; }
  [[nodiscard]] std::optional<Value> call(const ColumnRule&, ColumnNumber column,
                                          const Siblings& siblings) const override {
    asked.clear();
    for (const auto* write : siblings) {
      asked.push_back(value_of(*write, column).value_or("NULL"));
    }
    return function(siblings);
  }
};

TestRules column_rule(Rule rule, ValueKind kind = ValueKind::kText, std::vector<std::string> labels = {}) {
  RowRules rules;
  rules.columns[kColumn] = ColumnRule{rule, rule == Rule::kFunction ? "shop.pick" : ""};
  rules.types[kColumn] = ColumnType{kind, std::move(labels)};
  return TestRules(rules);
}

Write under(PolicyVersion policy, Write write) {
  write.policy = policy;
  return write;
}

struct Sibling {
  std::int64_t at;
  Value value;
};

// The outcome for siblings of nodes 1, 2, 3 ..., the same in all orders.
Outcome judge(const std::vector<Write>& writes, const Rulebook& book, const std::vector<ColumnNumber>& columns = {1}) {
  std::vector<std::size_t> order(writes.size());
  for (std::size_t i = 0; i < order.size(); ++i) {
    order[i] = i;
  }
  std::optional<Outcome> first;
  do {
    RowState state;
    for (const auto place : order) {
      state.writes.push_back(writes[place]);
    }
    // In a state they are in dot order; here also as they come, since nothing may depend on it.
    auto as_they_come = settle(state, columns, std::nullopt, std::nullopt, book);
    state.normalise();
    auto outcome = settle(state, columns, std::nullopt, std::nullopt, book);
    CHECK(as_they_come.exists == outcome.exists);
    CHECK(as_they_come.values == outcome.values);
    if (!first) {
      first = outcome;
    }
    CHECK(outcome.exists == first->exists);
    CHECK(outcome.values == first->values);
    CHECK(outcome.conflicts == first->conflicts);
  } while (std::next_permutation(order.begin(), order.end()));
  return *first;
}

Outcome judge(const std::vector<Sibling>& siblings, const Rulebook& book) {
  std::vector<Write> writes;
  for (std::size_t i = 0; i < siblings.size(); ++i) {
    writes.push_back(under(
        kPolicy, write(dot(static_cast<std::int64_t>(i) + 1, 1), siblings[i].at, {{kColumn, siblings[i].value}})));
  }
  return judge(writes, book);
}

Value value_from(const std::vector<Sibling>& siblings, const Rulebook& book) {
  return judge(siblings, book).values.at(kColumn);
}

}  // namespace

TEST_CASE("rules: the first and the last writer (C5, C13)") {
  const std::vector<Sibling> siblings{{20, "b"}, {10, "a"}, {30, "c"}};
  CHECK(value_from(siblings, column_rule(Rule::kLastWriterWins)) == "c");
  CHECK(value_from(siblings, column_rule(Rule::kFirstWriterWins)) == "a");
  // Of one time: the higher node last, the lower first.
  CHECK(value_from({{5, "one"}, {5, "two"}, {5, "three"}}, column_rule(Rule::kLastWriterWins)) == "three");
  CHECK(value_from({{5, "one"}, {5, "two"}, {5, "three"}}, column_rule(Rule::kFirstWriterWins)) == "one");
  const auto conflict = judge(siblings, column_rule(Rule::kFirstWriterWins)).conflicts.at(0);
  CHECK(conflict.rule == Rule::kFirstWriterWins);
  CHECK(conflict.winner == dot(2, 1));
  CHECK(conflict.losers == std::vector<Dot>{dot(1, 1), dot(3, 1)});
}

TEST_CASE("rules: ranks of nodes; equal ones are a matter of time, and nodes without one come last (C13)") {
  auto book = column_rule(Rule::kNodePriority);
  book.versions[kPolicy].ranks = {{NodeId{1}, 5}, {NodeId{2}, 1}, {NodeId{3}, 1}};
  CHECK(value_from({{90, "one"}, {20, "two"}, {10, "three"}}, book) == "two");
  CHECK(value_from({{90, "one"}, {20, "two"}, {30, "three"}}, book) == "three");
  CHECK(value_from({{1, "one"}, {20, "two"}}, book) == "two");
  CHECK(value_from({{1, "one"}, {20, "two"}, {30, "three"}, {99, "unranked"}}, book) == "three");
  book.versions[kPolicy].ranks.clear();
  CHECK(value_from({{9, "one"}, {20, "two"}, {10, "three"}}, book) == "two");
}

TEST_CASE("rules: the greatest and the least, by type (C13)") {
  const struct {
    ValueKind kind;
    std::vector<std::string> rising;
    std::vector<std::string> labels;
  } cases[] = {
      {ValueKind::kNumber, {"-12.5", "9", "10", "NaN"}, {}},
      {ValueKind::kFloat, {"-Infinity", "-1e3", "2.5", "1e10"}, {}},
      {ValueKind::kText, {"", "10", "9", "a"}, {}},
      {ValueKind::kBoolean, {"f", "t"}, {}},
      {ValueKind::kTimestamp, {"0044-03-15 BC", "0044-03-15", "2024-02-29 10:00:00", "10000-01-01"}, {}},
      {ValueKind::kEnum, {"zero", "alpha", "last"}, {"zero", "alpha", "last"}},
  };
  for (const auto& [kind, rising, labels] : cases) {
    const auto greatest = column_rule(Rule::kMax, kind, labels);
    const auto least = column_rule(Rule::kMin, kind, labels);
    for (std::size_t low = 0; low < rising.size(); ++low) {
      for (std::size_t high = low + 1; high < rising.size(); ++high) {
        CAPTURE(rising[low], rising[high]);
        for (const std::int64_t at : {1, 99}) {
          CHECK(value_from({{at, rising[low]}, {50, rising[high]}}, greatest) == rising[high]);
          CHECK(value_from({{at, rising[low]}, {50, rising[high]}}, least) == rising[low]);
          CHECK(value_from({{at, rising[low]}, {50, rising[high]}, {60, std::nullopt}}, greatest) == rising[high]);
          CHECK(value_from({{at, rising[low]}, {50, rising[high]}, {60, std::nullopt}}, least) == rising[low]);
        }
      }
    }
  }
}

TEST_CASE("rules: of two that are equally great the last, and its text (C13)") {
  const auto book = column_rule(Rule::kMax, ValueKind::kNumber);
  CHECK(value_from({{20, "1.0"}, {10, "1.00"}, {30, "0"}}, book) == "1.0");
  CHECK(value_from({{10, "1.0"}, {20, "1.00"}, {30, "0"}}, book) == "1.00");
}

TEST_CASE("rules: NULL and the empty text give way (C13)") {
  const auto book = column_rule(Rule::kPreferNonNull);
  CHECK(value_from({{10, "a@b"}, {20, ""}, {30, std::nullopt}}, book) == "a@b");
  CHECK(value_from({{10, "a"}, {20, "b"}, {30, std::nullopt}}, book) == "b");
  CHECK(value_from({{10, ""}, {20, std::nullopt}}, book) == std::nullopt);
  CHECK(value_from({{10, std::nullopt}, {20, ""}}, book) == "");
}

TEST_CASE("rules: what is put together is nobody's value, and all are losers (C13)") {
  const auto outcome = judge({{20, "{b}"}, {10, "{a}"}}, column_rule(Rule::kUnion, ValueKind::kArray));
  CHECK(outcome.values.at(kColumn) == "{a,b}");
  CHECK(outcome.conflicts.at(0).winner == std::nullopt);
  CHECK(outcome.conflicts.at(0).losers == std::vector<Dot>{dot(1, 1), dot(2, 1)});
  // One that has it all is the winner.
  const auto superset = judge({{20, "{a}"}, {10, "{a,b}"}}, column_rule(Rule::kUnion, ValueKind::kArray));
  CHECK(superset.conflicts.at(0).winner == dot(2, 1));
  CHECK(superset.conflicts.at(0).losers == std::vector<Dot>{dot(1, 1)});

  CHECK(value_from({{10, R"({"a": 1})"}, {20, R"({"a": 2, "b": 3})"}, {5, std::nullopt}},
                   column_rule(Rule::kUnion, ValueKind::kJson)) == R"({"a": 2, "b": 3})");
  CHECK(value_from({{10, "x\na"}, {20, "x\nb"}, {30, "x\nc"}}, column_rule(Rule::kAppend)) == "x\na\nb\nc");
  CHECK(value_from({{10, "a"}, {20, ""}, {30, std::nullopt}}, column_rule(Rule::kAppend)) == "a");
  CHECK(value_from({{10, ""}, {30, std::nullopt}}, column_rule(Rule::kAppend)) == "");
}

TEST_CASE("rules: what cannot be put together goes to the last writer, and it is said (C13)") {
  for (const auto& [kind, one, other] :
       {std::tuple{ValueKind::kArray, "{a}", "[2:3]={1,2}"}, std::tuple{ValueKind::kJson, "1", "[1]"}}) {
    const auto outcome = judge({{10, one}, {20, other}}, column_rule(Rule::kUnion, kind));
    CHECK(outcome.values.at(kColumn) == other);
    CHECK(outcome.conflicts.at(0).note == "these values cannot be joined; the last writer wins");
  }
  for (const auto rule : {Rule::kUnion, Rule::kAppend, Rule::kMax, Rule::kMin, Rule::kPreferNonNull, Rule::kFunction}) {
    const auto outcome = judge({{10, "too large"}, {20, "a"}, {5, "z"}}, column_rule(rule));
    CHECK(outcome.values.at(kColumn) == "a");
    CHECK(outcome.conflicts.at(0).note == "a value is too large for this rule; the last writer wins");
    CHECK(outcome.conflicts.at(0).rule == rule);
  }
  CHECK(judge({{10, "too large"}, {20, "a"}}, column_rule(Rule::kFirstWriterWins)).conflicts.at(0).note.empty());
}

TEST_CASE("rules: a function gets the siblings in the order of time, and may fail (C13)") {
  auto book = column_rule(Rule::kFunction);
  book.function = [](const Siblings& siblings) {
    return std::optional<Value>(Value(std::to_string(siblings.size()) + " of them"));
  };
  CHECK(value_from({{20, "b"}, {10, "a"}, {20, "c"}}, book) == "3 of them");
  CHECK(book.asked == std::vector<std::string>{"a", "b", "c"});
  book.function = [](const Siblings&) { return std::optional<Value>(Value()); };
  CHECK(value_from({{20, "b"}, {10, "a"}}, book) == std::nullopt);
  book.function = [](const Siblings&) { return std::optional<Value>(); };
  const auto outcome = judge({{20, "b"}, {10, "a"}}, book);
  CHECK(outcome.values.at(kColumn) == "b");
  CHECK(outcome.conflicts.at(0).winner == dot(1, 1));
  CHECK(outcome.conflicts.at(0).note == "the function shop.pick failed; the last writer wins");
  book.asked.clear();
  CHECK(judge({{20, "same"}, {10, "same"}}, book).conflicts.empty());
  CHECK(book.asked.empty());
}

TEST_CASE("rules: for a person to decide, the last writer stands meanwhile (C13)") {
  const auto outcome = judge({{20, "b"}, {10, "a"}, {30, "c"}}, column_rule(Rule::kManual));
  CHECK(outcome.values.at(kColumn) == "c");
  CHECK(outcome.conflicts.at(0).rule == Rule::kManual);
}

TEST_CASE("rules: a group's columns come from one write, by its first rule that chooses (C12)") {
  RowRules rules;
  rules.groups = {{1, 2}};
  rules.columns[2] = ColumnRule{Rule::kFirstWriterWins, ""};
  TestRules book(rules);
  const auto one = under(kPolicy, write(dot(1, 1), 20, {{1, "12"}, {2, "EUR"}}));
  const auto two = under(kPolicy, write(dot(2, 1), 10, {{1, "10"}, {2, "CHF"}}));
  const auto three = under(kPolicy, write(dot(3, 1), 30, {{1, "9"}, {2, "EUR"}}));
  CHECK(judge({one, two, three}, book, {1, 2}).values == Values{{1, "10"}, {2, "CHF"}});
  book.versions[kPolicy].columns.clear();
  CHECK(judge({one, two, three}, book, {1, 2}).values == Values{{1, "9"}, {2, "EUR"}});
}

TEST_CASE("rules: a write from before the columns were a group gives way to one that holds all (C11, C12)") {
  TestRules book;
  book.versions[kPolicy].groups = {{1, 2}};
  const auto part = under(kBuiltInPolicy, write(dot(1, 1), 99, {{1, "12"}}));
  const auto whole = under(kPolicy, write(dot(2, 1), 10, {{1, "10"}, {2, "CHF"}}));
  CHECK(judge({part, whole}, book, {1, 2}).values == Values{{1, "10"}, {2, "CHF"}});
  // Also when a later write has taken one of its columns over.
  const auto rest = under(kPolicy, write(dot(2, 1), 10, {{1, "10"}}));
  const auto later = under(kPolicy + 1, write(dot(3, 1), 20, {{2, "USD"}}));
  CHECK(judge({part, rest, later}, book, {1, 2}).values == Values{{1, "10"}, {2, "USD"}});
}

TEST_CASE("rules: columns that look at values, and counters, are judged by themselves in a group (C12, C16)") {
  RowRules rules;
  rules.groups = {{1, 2, 3, 4}};
  rules.columns = {{1, {Rule::kSum, ""}}, {2, {Rule::kMax, ""}}, {4, {Rule::kFirstWriterWins, ""}}};
  const TestRules book(rules);
  const auto one = under(kPolicy, write(dot(1, 1), 10, {{1, "1"}, {2, "5"}, {3, "x"}, {4, "first"}}));
  const auto two = under(kPolicy, write(dot(2, 1), 20, {{1, "2"}, {2, "9"}, {3, "y"}, {4, "second"}}));
  const auto three = under(kPolicy, write(dot(3, 1), 30, {{1, "3"}, {2, "7"}, {3, "z"}, {4, "third"}}));
  const auto outcome = judge({one, two, three}, book, {1, 2, 3, 4});
  CHECK(outcome.values == Values{{1, "3"}, {2, "9"}, {3, "x"}, {4, "first"}});
  const std::vector<Rule> decided{Rule::kSum, Rule::kMax, Rule::kFirstWriterWins, Rule::kFirstWriterWins};
  REQUIRE(outcome.conflicts.size() == decided.size());
  for (std::size_t i = 0; i < decided.size(); ++i) {
    CHECK(outcome.conflicts[i].rule == decided[i]);
  }
  // What gives way in the group because it was made before there was one, is a sibling like any other there.
  const auto before = under(kBuiltInPolicy, write(dot(3, 1), 30, {{1, "3"}, {2, "99"}, {3, "z"}, {4, "third"}}));
  CHECK(judge({one, two, before}, book, {1, 2, 3, 4}).values == Values{{1, "3"}, {2, "99"}, {3, "x"}, {4, "first"}});
}

TEST_CASE("rules: the highest policy among a column's siblings decides (C11)") {
  TestRules book;
  book.versions[3].columns[1] = ColumnRule{Rule::kMin, ""};
  book.versions[5].columns[1] = ColumnRule{Rule::kMax, ""};
  const auto low = under(3, write(dot(1, 1), 10, {{1, "1"}}));
  const auto high = under(3, write(dot(2, 1), 10, {{1, "3"}}));
  CHECK(judge({low, high}, book).values.at(1) == "1");
  CHECK(judge({under(5, low), high}, book).values.at(1) == "3");
  CHECK(judge({low, under(5, high)}, book).values.at(1) == "3");
  CHECK(judge({under(0, low), under(0, high)}, book).values.at(1) == "3");
  // A newer write of another column has no say in it.
  const auto other = under(5, write(dot(3, 1), 10, {{2, "x"}}));
  CHECK(judge({low, high, other}, book, {1, 2}).values.at(1) == "1");
}

TEST_CASE("rules: a delete may win (C14)") {
  RowRules rules;
  rules.on_delete = DeleteRule::kDeleteWins;
  const TestRules book(rules);
  for (const std::int64_t at : {1, 99}) {
    const auto gone = under(kPolicy, tombstone(dot(1, 1), at, {{1, "old"}}));
    const auto one = under(kPolicy, write(dot(2, 1), 50, {{1, "new"}}));
    const auto two = under(kPolicy, write(dot(3, 1), 60, {{1, "newer"}}));
    const auto outcome = judge({gone, one, two}, book);
    CHECK_FALSE(outcome.exists);
    CHECK(outcome.conflicts.at(0).column == kRowMark);
    CHECK(outcome.conflicts.at(0).winner == dot(1, 1));
    CHECK(outcome.conflicts.at(0).losers == std::vector<Dot>{dot(2, 1), dot(3, 1)});
    // Also what has passed the row mark on to a later write goes with the row.
    const auto earlier = under(kPolicy, write(dot(2, 1), 50, {{1, "new"}}, false));
    const auto later = under(kPolicy, write(dot(2, 2), 55, {}));
    CHECK(judge({gone, earlier, later}, book).conflicts.at(0).losers == std::vector<Dot>{dot(2, 1), dot(2, 2)});
    CHECK(judge({under(0, gone), under(0, one)}, book).exists);
    CHECK_FALSE(judge({under(0, gone), one}, book).exists);
    CHECK_FALSE(judge({gone, under(0, one)}, book).exists);
  }
}

TEST_CASE("rules: rows that were made under one key stand apart, the first keeps it (C15)") {
  RowRules rules;
  rules.keep_both = {1};
  const TestRules book(rules);
  const auto one = under(kPolicy, write(dot(1, 1), 20, {{1, "k"}, {2, "one"}}));
  const auto two = under(kPolicy, write(dot(2, 1), 10, {{1, "k"}, {2, "two"}}));
  const auto same = under(kPolicy, write(dot(3, 1), 30, {{1, "k"}, {2, "two"}}));
  const auto outcome = judge({one, two, same}, book, {1, 2});
  CHECK(outcome.values == Values{{1, "k"}, {2, "two"}});
  CHECK(outcome.apart == std::vector<Dot>{dot(1, 1)});
  REQUIRE(outcome.conflicts.size() == 1);
  CHECK(outcome.conflicts[0].kept_both);
  CHECK(outcome.conflicts[0].winner == dot(2, 1));
  CHECK(outcome.conflicts[0].losers == std::vector<Dot>{dot(1, 1)});
  // What is not whole any more is part of the row; so is what changed a row that was there, or came from before mbsync.
  const auto part = under(kPolicy, write(dot(1, 1), 20, {{1, "k"}}));
  const auto update = under(kPolicy, write(dot(1, 2), 40, {{2, "three"}}));
  CHECK(judge({part, update, two}, book, {1, 2}).apart.empty());
  CHECK(judge({update, two}, book, {1, 2}).apart.empty());
  const auto old = under(kPolicy, write(dot(1, 1), kTimeUnknown.micros, {{1, "k"}, {2, "one"}}));
  CHECK(judge({old, two}, book, {1, 2}).apart.empty());
  // Under the built-in rules they are one row.
  CHECK(judge({under(0, one), under(0, two)}, book, {1, 2}).apart.empty());
}

}  // namespace mbsync
