// Each rule of the policy, tried from both sides and three ways: what siblings come to must not depend on the order in
// which they are heard of.
#include <algorithm>
#include <functional>
#include <set>

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
  mutable std::set<std::vector<std::string>> asked;  // the values, in each order in which the function got them

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
    std::vector<std::string> values;
    for (const auto* write : siblings) {
      values.push_back(value_of(*write, column).value_or("NULL"));
    }
    asked.insert(std::move(values));
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

Outcome in_dot_order(Outcome outcome) {
  for (auto& conflict : outcome.conflicts) {
    std::sort(conflict.losers.begin(), conflict.losers.end());
  }
  return outcome;
}

bool same(const Outcome& a, const Outcome& b) {
  return a.exists == b.exists && a.values == b.values && a.conflicts == b.conflicts && a.apart == b.apart;
}

// The outcome for writes that hold all columns: the same in all orders, and whatever the row here or the peer's shows.
Outcome judge(const std::vector<Write>& writes, const Rulebook& book, const std::vector<ColumnNumber>& columns = {1}) {
  std::vector<std::size_t> order(writes.size());
  for (std::size_t i = 0; i < order.size(); ++i) {
    order[i] = i;
  }
  const std::optional<Values> no_row;
  std::optional<Values> one_row = Values();
  std::optional<Values> another = Values();
  for (const auto column : columns) {
    one_row->emplace(column, "shown");
    another->emplace(column, std::nullopt);
  }
  std::optional<Outcome> first;
  do {
    RowState state;
    for (const auto place : order) {
      state.writes.push_back(writes[place]);
    }
    // In a state they are in dot order; here also as they come, since nothing may depend on it.
    const auto as_they_come = in_dot_order(settle(state, columns, std::nullopt, std::nullopt, book));
    state.normalise();
    const auto outcome = settle(state, columns, std::nullopt, std::nullopt, book);
    first = first ? first : outcome;
    CHECK(same(as_they_come, *first));
    CHECK(same(outcome, *first));
    for (const auto& [mine, theirs] : {std::pair(one_row, another), std::pair(another, one_row),
                                       std::pair(one_row, no_row), std::pair(no_row, one_row)}) {
      CHECK(same(settle(state, columns, mine, theirs, book), *first));
    }
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
      {ValueKind::kTimestamp, {"-infinity", "2024-02-29 10:00:00+00", "2024-02-29 10:00:00.5+00", "infinity"}, {}},
      {ValueKind::kTime, {"09:59:59", "10:00:00", "10:00:00.5"}, {}},
      {ValueKind::kEnum, {"zero", "alpha", "last"}, {"zero", "alpha", "last"}},
      {ValueKind::kArray, {"{10}", "{9}"}, {}},
      {ValueKind::kJson, {"[1]", R"({"a": 1})"}, {}},
      {ValueKind::kOther, {"", "10", "9"}, {}},
      // Not of the form of its type, or a label that it has no more.
      {ValueKind::kNumber, {"9", "10", "about 5", "some"}, {}},
      {ValueKind::kBoolean, {"f", "t", "no"}, {}},
      {ValueKind::kFloat, {"1e10", "NaN", "inf"}, {}},
      {ValueKind::kTimestamp, {"infinity", "2024-02-29 10:00:00+01"}, {}},
      {ValueKind::kEnum, {"gone", "never", "zero", "alpha"}, {"zero", "alpha"}},
  };
  for (const auto& [kind, rising, labels] : cases) {
    const auto greatest = column_rule(Rule::kMax, kind, labels);
    const auto least = column_rule(Rule::kMin, kind, labels);
    std::vector<Sibling> all(rising.size());
    for (std::size_t i = 0; i < all.size(); ++i) {
      all[i] = {static_cast<std::int64_t>(i * 7 % 3), rising[i]};
    }
    CHECK(value_from(all, greatest) == rising.back());
    CHECK(value_from(all, least) == rising.front());
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
  // Who made it empty does not take away what the others have in common.
  CHECK(value_from({{10, "x\na"}, {20, "x\nb"}, {30, ""}}, column_rule(Rule::kAppend)) == "x\na\nb");
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
  CHECK(book.asked == std::set<std::vector<std::string>>{{"a", "b", "c"}});
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

TEST_CASE("rules: a group goes by its first column that has a rule for it; ranks and persons too (C12)") {
  RowRules rules;
  rules.groups = {{1, 2, 3}};
  rules.ranks = {{NodeId{3}, 1}};
  const std::vector<Write> writes{under(kPolicy, write(dot(1, 1), 20, {{1, "12"}, {2, "EUR"}, {3, "a"}})),
                                  under(kPolicy, write(dot(2, 1), 30, {{1, "10"}, {2, "CHF"}, {3, "b"}})),
                                  under(kPolicy, write(dot(3, 1), 10, {{1, "11"}, {2, "USD"}, {3, "c"}}))};
  const struct {
    std::vector<Rule> rules;
    Rule decides;
    std::int64_t winner;
  } cases[] = {
      {{Rule::kLastWriterWins, Rule::kLastWriterWins, Rule::kLastWriterWins}, Rule::kLastWriterWins, 2},
      {{Rule::kLastWriterWins, Rule::kNodePriority, Rule::kManual}, Rule::kNodePriority, 3},
      {{Rule::kLastWriterWins, Rule::kManual, Rule::kNodePriority}, Rule::kManual, 2},
      {{Rule::kFirstWriterWins, Rule::kManual, Rule::kNodePriority}, Rule::kFirstWriterWins, 3},
  };
  for (const auto& [of_columns, decides, winner] : cases) {
    for (ColumnNumber column = 1; column <= 3; ++column) {
      rules.columns[column] = ColumnRule{of_columns[static_cast<std::size_t>(column) - 1], ""};
    }
    const auto outcome = judge(writes, TestRules(rules), {1, 2, 3});
    CHECK(outcome.values == writes[static_cast<std::size_t>(winner) - 1].values);
    REQUIRE(outcome.conflicts.size() == 3);
    for (const auto& conflict : outcome.conflicts) {
      CHECK(conflict.rule == decides);
      CHECK(conflict.winner == dot(winner, 1));
      CHECK(conflict.losers.size() == 2);
    }
  }
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

TEST_CASE("rules: of groups that grew, the one of the highest policy holds (C11, C12)") {
  TestRules book;
  book.versions[3].groups = {{1, 2}};
  book.versions[4].groups = {{1, 2, 3}};
  book.versions[4].columns[3] = ColumnRule{Rule::kFirstWriterWins, ""};
  const auto small = write(dot(1, 1), 5, {{1, "a"}, {2, "a"}});
  const auto one = write(dot(2, 1), 10, {{1, "b"}, {2, "b"}, {3, "b"}});
  const auto two = write(dot(3, 1), 20, {{1, "c"}, {2, "c"}, {3, "c"}});
  CHECK(judge({under(3, small), under(4, one), under(4, two)}, book, {1, 2, 3}).values == one.values);
  // A group that has shrunk: who wrote all of it has written what is left of it.
  book.versions[5].groups = {{1, 2}};
  CHECK(judge({under(5, small), under(4, one), under(4, two)}, book, {1, 2, 3}).values ==
        Values{{1, "c"}, {2, "c"}, {3, "b"}});
  // Nobody has written all of it.
  book.versions[6].groups = {{1, 2, 3, 4}};
  const auto four = write(dot(4, 1), 15, {{4, "d"}});
  CHECK(judge({under(3, small), under(4, one), under(3, four)}, book, {1, 2, 3, 4}).values ==
        Values{{1, "b"}, {2, "b"}, {3, "b"}, {4, "d"}});
}

TEST_CASE("rules: siblings that agree are no conflict under any rule, and who agrees with it has not lost (C4, C13)") {
  for (const auto rule :
       {Rule::kLastWriterWins, Rule::kFirstWriterWins, Rule::kNodePriority, Rule::kMax, Rule::kMin,
        Rule::kPreferNonNull, Rule::kUnion, Rule::kAppend, Rule::kSum, Rule::kFunction, Rule::kManual}) {
    CAPTURE(static_cast<int>(rule));
    auto book = column_rule(rule, ValueKind::kArray);
    book.function = [](const Siblings&) { return std::optional<Value>("{a}"); };
    for (const auto& value : {Value("{a}"), Value(""), Value(), Value("too large"), Value("{not an array")}) {
      const auto outcome = judge({{20, value}, {10, value}, {30, value}}, book);
      CHECK(outcome.values.at(kColumn) == value);
      CHECK(outcome.conflicts.empty());
    }
    const auto outcome = judge({{20, "{a}"}, {10, "{b}"}, {20, "{a}"}}, book);
    for (const auto& conflict : outcome.conflicts) {
      const bool agrees = outcome.values.at(kColumn) == "{a}";
      CHECK((std::find(conflict.losers.begin(), conflict.losers.end(), dot(1, 1)) == conflict.losers.end()) == agrees);
      CHECK((std::find(conflict.losers.begin(), conflict.losers.end(), dot(3, 1)) == conflict.losers.end()) == agrees);
      CHECK((!agrees || conflict.winner == dot(3, 1)));
    }
    CHECK(outcome.conflicts.size() == 1);
  }
}

TEST_CASE("rules: what a function returns may be one's value, and nobody is asked for what is too large (C13)") {
  auto book = column_rule(Rule::kFunction);
  book.function = [](const Siblings& siblings) { return std::optional(value_of(*siblings.front(), kColumn)); };
  const auto outcome = judge({{20, "b"}, {10, "a"}, {30, std::nullopt}}, book);
  CHECK(book.asked == std::set<std::vector<std::string>>{{"a", "b", "NULL"}});
  CHECK(outcome.conflicts.at(0).winner == dot(2, 1));
  CHECK(outcome.conflicts.at(0).losers == std::vector<Dot>{dot(1, 1), dot(3, 1)});
  CHECK(outcome.conflicts.at(0).note.empty());
  book.asked.clear();
  CHECK(value_from({{20, "b"}, {30, "too large"}, {10, std::nullopt}}, book) == "too large");
  CHECK(book.asked.empty());
}

TEST_CASE("rules: an update wins unless told otherwise; deleted rows are judged by the rule of the column (C3, C6)") {
  RowRules rules;
  rules.columns[2] = ColumnRule{Rule::kMax, ""};
  rules.types[2] = ColumnType{ValueKind::kNumber, {}};
  const TestRules book(rules);
  for (const std::int64_t at : {1, 99}) {
    const auto one = under(kPolicy, tombstone(dot(1, 1), at, {{1, "old"}, {2, "10"}}));
    const auto two = under(kPolicy, tombstone(dot(2, 1), 60, {{1, "older"}, {2, "9"}}));
    const auto update = under(kPolicy, write(dot(3, 1), 50, {{1, "new"}}));
    const auto outcome = judge({one, two, update}, book, {1, 2});
    CHECK(outcome.values == Values{{1, "new"}, {2, "10"}});
    REQUIRE(outcome.conflicts.size() == 2);
    CHECK(outcome.conflicts[0] == ColumnConflict{kRowMark, dot(3, 1), {dot(1, 1), dot(2, 1)}});
    CHECK(outcome.conflicts[1] == ColumnConflict{2, dot(1, 1), {dot(2, 1)}, Rule::kMax});
  }
}

TEST_CASE("rules: whether a row exists is up to those who hold the row mark (C11, C14)") {
  TestRules book;
  book.versions[kPolicy].on_delete = DeleteRule::kDeleteWins;
  const auto gone = write(dot(1, 1), 10, {{1, "old"}});
  auto deleted = gone;
  deleted.deleted = true;
  const auto update = write(dot(2, 2), 20, {{2, "b"}});
  const auto beside = under(kPolicy, write(dot(2, 1), 5, {{1, "new"}}, false));
  CHECK(judge({deleted, beside, update}, book, {1, 2}).exists);
  CHECK_FALSE(judge({deleted, beside, under(kPolicy, update)}, book, {1, 2}).exists);
  CHECK_FALSE(judge({under(kPolicy, deleted), beside, update}, book, {1, 2}).exists);
}

TEST_CASE("rules: a column that no write holds is that of the row, whoever has it (C3)") {
  auto book = column_rule(Rule::kAppend);
  const RowState siblings{
      {under(kPolicy, write(dot(1, 1), 10, {{kColumn, "a"}})), under(kPolicy, write(dot(2, 1), 20, {{kColumn, "b"}}))}};
  const std::optional<Values> row = Values{{kColumn, "a"}, {2, "held by none"}};
  const auto both = settle(siblings, {kColumn, 2}, row, row, book);
  CHECK(both.values == Values{{kColumn, "a\nb"}, {2, "held by none"}});
  CHECK(same(settle(siblings, {kColumn, 2}, row, std::nullopt, book), both));
  CHECK(same(settle(siblings, {kColumn, 2}, std::nullopt, row, book), both));
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
  // Of what stays under the key, the other one has no part any more; not in what is written next either.
  const auto state = RowState{{one, two}};
  const auto left = without_apart(state, judge({one, two}, book, {1, 2}));
  CHECK(left == RowState{{two}});
  const auto more = under(kPolicy, write(dot(1, 1), 20, {{1, "k"}, {2, "one"}, {3, "only there"}}));
  const auto rest = without_apart(RowState{{more, two}}, judge({more, two}, book, {1, 2, 3}));
  REQUIRE(rest.find(dot(1, 1)) != nullptr);
  CHECK(rest.find(dot(1, 1))->columns.contains(3));
  CHECK_FALSE(rest.find(dot(1, 1))->columns.contains(2));
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
