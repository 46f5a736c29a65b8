#include "table_rules.h"

#include <catch2/catch.hpp>

using namespace mbsync;

namespace {

TableShape users() {
  return TableShape{"public",
                    "users",
                    {{1, "id", {ValueKind::kOther, {}}, true},
                     {2, "name", {ValueKind::kText, {}}, false},
                     {3, "amount", {ValueKind::kNumber, {}}, false},
                     {4, "currency", {ValueKind::kText, {}}, false},
                     {7, "status", {ValueKind::kEnum, {"new", "old"}}, false}},
                    {}};
}

TableRules rules(std::string_view text, const TableShape& table = users()) {
  const auto reading = read_policy_text(text);
  REQUIRE(reading.faults.empty());
  return resolve(reading.policy, table);
}

}  // namespace

TEST_CASE("table rules: without a policy the last writer wins, and the types are known") {
  const auto plain = rules("");
  CHECK(plain.row.rule_of(2).rule == Rule::kLastWriterWins);
  CHECK(plain.row.on_delete == DeleteRule::kUpdateWins);
  CHECK(plain.unique_rule("anything") == UniqueRule::kAuto);
  CHECK(plain.row.keep_both.empty());
  CHECK(plain.row.types.at(7).labels == std::vector<std::string>{"new", "old"});
  CHECK_FALSE(plain.row.types.contains(1));
}

TEST_CASE("table rules: a later entry overrides an earlier one, setting by setting") {
  const auto both = rules(
      "[defaults]\nrule='first-writer-wins'\nunique='park'\nkeep_both=true\n"
      "[[table]]\nname='*'\ndelete='delete-wins'\nkeep_both=false\ncolumns={status='max', '*'='prefer-non-null'}\n"
      "[[table]]\nname='public.u*'\nrule='manual'\ncolumns={amount='sum'}\nunique={users_email='suffix'}\n"
      "[[table]]\nname='other.*'\nrule='node-priority'\ncolumns={amount='min'}\n");
  CHECK(both.row.all.rule == Rule::kManual);
  CHECK(both.row.on_delete == DeleteRule::kDeleteWins);
  CHECK(both.row.keep_both.empty());
  CHECK(both.row.rule_of(7).rule == Rule::kPreferNonNull);  // '*' came after status
  CHECK(both.row.rule_of(3).rule == Rule::kSum);
  CHECK(both.sums() == ColumnSet{3});
  CHECK_FALSE(both.row.columns.contains(1));  // the key
  CHECK(both.unique_rule("users_email") == UniqueRule::kSuffix);
  CHECK(both.unique_rule("other") == UniqueRule::kPark);
}

TEST_CASE("table rules: a column's rule goes before the table's, whichever comes later") {
  const auto both = rules("[[table]]\nname='users'\ncolumns={name='max'}\n[[table]]\nname='users'\nrule='manual'\n");
  CHECK(both.row.rule_of(2).rule == Rule::kMax);
  CHECK(both.row.rule_of(3).rule == Rule::kManual);
}

TEST_CASE("table rules: groups are columns of this table, never its key or a sum") {
  CHECK(rules("[[table]]\nname='users'\ngroups=[['amount','currency','gone']]\n").row.groups ==
        std::vector<ColumnSet>{ColumnSet{3, 4}});
  CHECK(rules("[[table]]\nname='users'\ngroups=[['id','currency']]\n").row.groups.empty());
  CHECK(rules("[[table]]\nname='users'\nmerge='row'\n").row.groups == std::vector<ColumnSet>{ColumnSet{2, 3, 4, 7}});
  CHECK(rules("[[table]]\nname='users'\nmerge='row'\ncolumns={amount='sum'}\n").row.groups ==
        std::vector<ColumnSet>{ColumnSet{2, 4, 7}});
  CHECK(rules("[defaults]\nmerge='row'\n[[table]]\nname='users'\nmerge='field'\n").row.groups.empty());
  CHECK(rules("[[table]]\nname='users'\ngroups=[['amount','currency']]\n[[table]]\nname='users'\ngroups=[]\n")
            .row.groups.empty());
}

// CONFLICTS.md C12
TEST_CASE("table rules: columns of one reference are a group, with whatever has a column in common") {
  using Groups = std::vector<ColumnSet>;
  auto table = users();
  table.references = {{"name", "amount"}};
  CHECK(rules("", table).row.groups == Groups{ColumnSet{2, 3}});
  CHECK(rules("[[table]]\nname='users'\ngroups=[]\n", table).row.groups == Groups{ColumnSet{2, 3}});
  CHECK(rules("[[table]]\nname='users'\ngroups=[['amount','currency']]\n", table).row.groups ==
        Groups{ColumnSet{2, 3, 4}});
  CHECK(rules("[[table]]\nname='users'\ngroups=[['status','currency']]\n", table).row.groups ==
        Groups{ColumnSet{4, 7}, ColumnSet{2, 3}});
  CHECK(rules("[[table]]\nname='users'\nmerge='row'\n", table).row.groups == Groups{ColumnSet{2, 3, 4, 7}});

  table.references = {{"name", "amount"}, {"status", "currency"}, {"currency", "amount"}};
  CHECK(rules("", table).row.groups == Groups{ColumnSet{2, 3, 4, 7}});

  table.references = {{"id", "amount"}};
  CHECK(rules("", table).row.groups.empty());  // nothing but amount ever changes
  CHECK(rules("[[table]]\nname='users'\nrule='prefer-non-null'\n", table).row.rule_of(3).rule == Rule::kPreferNonNull);
}

// CONFLICTS.md C12
TEST_CASE("table rules: no column of a reference of several is judged by its value") {
  auto table = users();
  table.references = {{"name", "amount"}};
  const auto all = rules("[[table]]\nname='users'\nrule='prefer-non-null'\ncolumns={amount='sum'}\n", table);
  CHECK(all.row.rule_of(2).rule == Rule::kLastWriterWins);
  CHECK(all.row.rule_of(3).rule == Rule::kLastWriterWins);
  CHECK(all.row.rule_of(4).rule == Rule::kPreferNonNull);
  CHECK(all.sums().empty());
  CHECK(all.row.groups == std::vector<ColumnSet>{ColumnSet{2, 3}});
  CHECK(rules("[[table]]\nname='users'\nrule='manual'\n", table).row.rule_of(2).rule == Rule::kManual);
}

TEST_CASE("table rules: functions are quoted, ranks are by node id") {
  const auto some = rules(
      "[nodes]\n000000000000001a = 1\noffice = 2\n"
      "[[table]]\nname='users'\ncolumns={name={rule='function', function='shop.Pick\"it'}}\n");
  CHECK(some.row.rule_of(2).function == "\"shop\".\"Pick\"\"it\"");
  CHECK(some.row.ranks == std::map<NodeId, int>{{NodeId{0x1a}, 1}});
}

TEST_CASE("table rules: only numbers are counters") {
  CHECK(rules("[[table]]\nname='users'\ncolumns={'*'='sum'}\n").sums() == ColumnSet{3});
}

TEST_CASE("table rules: what is decided otherwise in a table that has changed") {
  const auto reading = read_policy_text(
      "[[table]]\nname='users'\ngroups=[['name','status']]\ncolumns={amount='max'}\n"
      "[[table]]\nname='people'\ndelete='delete-wins'\n");
  REQUIRE(reading.faults.empty());
  const auto between = [&](const TableShape& before, const TableShape& after) {
    return difference(resolve(reading.policy, before), resolve(reading.policy, after), after);
  };
  CHECK(between(users(), users()).columns.empty());
  CHECK_FALSE(between(users(), users()).rows);
  auto renamed = users();
  renamed.columns[2].name = "sum";
  CHECK(between(users(), renamed).columns == ColumnSet{3});
  auto parted = users();
  parted.columns[4].name = "state";
  CHECK(between(users(), parted).columns == ColumnSet{2, 7});
  auto people = users();
  people.name = "people";
  CHECK(between(users(), people).columns == ColumnSet{2, 3, 7});
  CHECK(between(users(), people).rows);
}
