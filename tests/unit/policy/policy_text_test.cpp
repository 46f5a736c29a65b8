#include "policy_text.h"

#include <rapidcheck.h>
#include <catch2/catch.hpp>

using namespace mbsync;

namespace {

Policy read(std::string_view text) {
  const auto reading = read_policy_text(text);
  for (const auto& fault : reading.faults) {
    UNSCOPED_INFO(fault.line << ": " << fault.message);
  }
  REQUIRE(reading.faults.empty());
  return reading.policy;
}

/// The one fault, as a person sees it.
std::string fault(std::string_view text) {
  const auto reading = read_policy_text(text);
  REQUIRE(reading.faults.size() == 1);
  CHECK_FALSE(reading.faults[0].hint.empty());
  return policy_error(reading.faults[0], "p.toml", ErrorKind::kConfig).text();
}

constexpr const char* kEverything = R"(# what the owner wrote
[defaults]
rule = "last-writer-wins"
merge = "field"
delete = "update-wins"
unique = "auto"
keep_both = false
[nodes]
office = 1
"till 2" = 2
[[table]]
name = "*"
[table.columns]
"updatedAt" = "max"
[[table]]
name = "public.orders"
rule = "node-priority"
merge = "row"
delete = "delete-wins"
keep_both = true
groups = [["amount", "currency"], ["street", "city"]]
[table.columns]
total = "max"
low = "min"
mail = "prefer-non-null"
tags = "union"
notes = "append"
stock = "sum"
price = { rule = "function", function = "shop.pick_price" }
first = "first-writer-wins"
person = "manual"
[table.unique]
orders_number_key = "suffix"
"*" = "merge"
x = "park"
)";

}  // namespace

TEST_CASE("policy text: everything that can be said") {
  const auto policy = read(kEverything);
  CHECK(policy.defaults.rule == Rule::kLastWriterWins);
  CHECK(policy.defaults.merge == MergeUnit::kField);
  CHECK(policy.defaults.on_delete == DeleteRule::kUpdateWins);
  CHECK(policy.default_unique == UniqueRule::kAuto);
  CHECK(policy.defaults.keep_both == false);
  REQUIRE(policy.nodes.size() == 2);
  CHECK(policy.nodes[1].name == "till 2");
  CHECK(policy.nodes[1].rank == 2);
  REQUIRE(policy.tables.size() == 2);
  const auto& orders = policy.tables[1];
  CHECK(orders.pattern == "public.orders");
  CHECK(orders.line == 16);
  CHECK(orders.settings.rule == Rule::kNodePriority);
  CHECK(orders.settings.keep_both == true);
  REQUIRE(orders.groups);
  CHECK(*orders.groups == std::vector<std::vector<std::string>>{{"amount", "currency"}, {"street", "city"}});
  REQUIRE(orders.columns.size() == 9);
  CHECK(orders.columns[0].pattern == "total");
  CHECK(orders.columns[6].value.rule == Rule::kFunction);
  CHECK(orders.columns[6].value.function == "shop.pick_price");
  REQUIRE(orders.unique.size() == 3);
  CHECK(orders.unique[2].pattern == "x");
  CHECK(orders.unique[2].value == UniqueRule::kPark);
}

TEST_CASE("policy text: normalised, it says the same, whatever its layout was") {
  const auto text = to_text(read(kEverything));
  CHECK(to_text(read(text)) == text);
  CHECK(text.find('#') == std::string::npos);
  CHECK(to_text(read("[[table]]\nname='a'\nunique = 'suffix'\n")) ==
        to_text(read("\n\n[[table]] # hm\n  unique = {\"*\" = \"suffix\"}\n  name = \"a\"\n")));
  CHECK(to_text(read("[nodes]\nb=1\na=2")) == to_text(read("[nodes]\na=2\nb=1")));
  CHECK(to_text(read("")).empty());
  // The order of columns is not mere layout: the last pattern that matches holds.
  CHECK(to_text(read("[[table]]\nname='a'\ncolumns={b='max', '*'='min'}")) !=
        to_text(read("[[table]]\nname='a'\ncolumns={'*'='min', b='max'}")));
}

TEST_CASE("policy text: names of any characters come back") {
  CHECK(rc::check([] {
    const auto name = *rc::gen::nonEmpty(rc::gen::container<std::string>(rc::gen::inRange<char>(1, 127)));
    Policy policy;
    policy.nodes.push_back({name, 3, 0});
    policy.tables.push_back({name, {}, std::vector<std::vector<std::string>>{{name, name + "2"}}, {}, {}, 0, 0});
    policy.tables[0].columns.push_back({name, {Rule::kMax, ""}, 0});
    const auto reading = read_policy_text(to_text(policy));
    RC_ASSERT(reading.faults.empty());
    RC_ASSERT(reading.policy.nodes.at(0).name == name);
    RC_ASSERT(reading.policy.tables.at(0).pattern == name);
    RC_ASSERT(reading.policy.tables.at(0).columns.at(0).pattern == name);
    RC_ASSERT(to_text(reading.policy) == to_text(policy));
  }));
}

TEST_CASE("policy text: any bytes give a policy or faults") {
  CHECK(rc::check([](const std::string& bytes) {
    const auto reading = read_policy_text(bytes);
    const bool told = reading.faults.empty() || !reading.faults[0].hint.empty();
    RC_ASSERT(told);
  }));
}

TEST_CASE("policy text: every fault names its line and what is allowed") {
  using Catch::Contains;
  using Catch::StartsWith;
  CHECK_THAT(fault("[defaults]\nrule = 'x'\n"), StartsWith("p.toml:2: rule: 'x' is not known") &&
                                                    Contains("last-writer-wins, first-writer-wins, node-priority"));
  CHECK_THAT(fault("[defaults]\nrule = 'sum'\n"),
             StartsWith("p.toml:2: rule: 'sum' does not suit columns of every type") && Contains("[table.columns]"));
  CHECK_THAT(fault("[defaults]\nrule = 1\n"), StartsWith("p.toml:2: rule: must be a text, not a whole number"));
  CHECK_THAT(fault("[defaults]\nmerge = 'rows'\n"),
             StartsWith("p.toml:2: merge: 'rows' is not known") && Contains("field, row"));
  CHECK_THAT(fault("[defaults]\ndelete = 'x'\n"), Contains("update-wins, delete-wins"));
  CHECK_THAT(fault("[defaults]\nunique = 'x'\n"), Contains("auto, suffix, merge, park"));
  CHECK_THAT(fault("[defaults]\nkeep_both = 'x'\n"),
             StartsWith("p.toml:2: keep_both: must be true or false, not a text"));
  CHECK_THAT(fault("[defaults]\n\nname = 'x'\n"),
             StartsWith("p.toml:3: [defaults] has no setting 'name'") && Contains("keep_both"));
  CHECK_THAT(fault("defaults = 1\n"), StartsWith("p.toml:1: defaults: must be a table, not a whole number"));
  CHECK_THAT(fault("[default]\n"), StartsWith("p.toml:1: there is no 'default' here") && Contains("[[table]]"));
  CHECK_THAT(fault("[nodes]\na = 'x'\n"), StartsWith("p.toml:2: nodes: the rank of 'a' must be a whole number"));
  CHECK_THAT(fault("[nodes]\na = -1\n"), StartsWith("p.toml:2: nodes: the rank of 'a' is out of range"));
  CHECK_THAT(fault("[nodes]\na = 1.5\n"), Contains("not a number with a fraction"));
  CHECK_THAT(fault("[functions]\n'a.b' = 'x'\n"), StartsWith("p.toml:2: functions: 'a.b'"));
  CHECK_THAT(fault("[labels]\n'a.b' = 'x'\n"), StartsWith("p.toml:2: labels: 'a.b'"));
  CHECK_THAT(fault("[labels]\n'a.b' = ['x', 1]\n"), StartsWith("p.toml:2: labels: 'a.b'"));
  CHECK_THAT(fault("[table]\nname = 'x'\n"), Contains("'table' must be a list of tables") && Contains("two brackets"));
  CHECK_THAT(fault("[[table]]\nrule = 'manual'\n"), StartsWith("p.toml:1: a [[table]] has no name"));
  CHECK_THAT(fault("[[table]]\nname = ''\n"), StartsWith("p.toml:2: name: must be"));
  CHECK_THAT(fault("[[table]]\nname = 'x'\ncolumn = 1\n"),
             StartsWith("p.toml:3: [[table]] has no setting 'column'") && Contains("groups, columns"));
  CHECK_THAT(fault("[[table]]\nname = 'x'\ngroups = 'x'\n"), StartsWith("p.toml:3: groups: must be a list of lists"));
  CHECK_THAT(fault("[[table]]\nname = 'x'\ngroups = [['a']]\n"), Contains("at least two columns"));
  CHECK_THAT(fault("[[table]]\nname = 'x'\ngroups = [['a', 1]]\n"), Contains("must be a list of lists of columns"));
  CHECK_THAT(fault("[[table]]\nname = 'x'\ngroups = [['a', 'b'], ['c', 'a']]\n"), Contains("\"a\" is there twice"));
  CHECK_THAT(fault("[[table]]\nname = 'x'\ncolumns = 1\n"), StartsWith("p.toml:3: table.columns: must be a table"));
  CHECK_THAT(fault("[[table]]\nname = 'x'\n[table.columns]\na = 'maximum'\n"),
             StartsWith("p.toml:4: columns: \"a\": 'maximum' is not known") && Contains("max, min"));
  CHECK_THAT(fault("[[table]]\nname = 'x'\n[table.columns]\na = 'function'\n"), Contains("which function?"));
  CHECK_THAT(fault("[[table]]\nname = 'x'\n[table.columns]\na = {function = 'f'}\n"), Contains("schema.name"));
  CHECK_THAT(fault("[[table]]\nname = 'x'\n[table.columns]\na = {rule = 'max', function = 'a.f'}\n"),
             Contains("belongs to the rule \"function\" alone"));
  CHECK_THAT(fault("[[table]]\nname = 'x'\n[table.columns]\na = {rul = 'max'}\n"), Contains("there is no 'rul' here"));
  CHECK_THAT(fault("[[table]]\nname = 'x'\n[table.columns]\na = {}\n"), Contains("has no rule"));
  CHECK_THAT(fault("[[table]]\nname = 'x'\n[table.unique]\nk = 'both'\n"),
             StartsWith("p.toml:4: unique: \"k\": 'both' is not known"));
  CHECK_THAT(fault("[defaults\n"), StartsWith("p.toml:1: this is not TOML"));
  CHECK_THAT(fault("[defaults]\nmerge = 'row'\nmerge = 'row'\n"), StartsWith("p.toml:3: this is not TOML"));
  CHECK_THAT(fault("[nodes]\nbüro = 1\n"), StartsWith("p.toml:2: this is not TOML") && Contains("in quotes"));
  CHECK_THAT(fault("[nodes]\na = \"\"\"x\"\"\"\n"), StartsWith("p.toml:2:") && Contains("on one line"));
  CHECK_THAT(fault("[nodes]\na = [}\n"), StartsWith("p.toml:2:") && Contains("not opened"));
  CHECK_THAT(fault("[nodes]\na = ]\n"), StartsWith("p.toml:2:") && Contains("a value is missing"));
  CHECK_THAT(fault("[nodes]\n[#]\n"), StartsWith("p.toml:2:") && Contains("no name follows"));
  CHECK_THAT(fault(std::string("#\0", 2)), Contains("control character"));
  std::string deep = "defaults";
  std::string header = "[a";
  for (int i = 0; i < 100'000; ++i) {
    deep += ".a";
    header += ".a";
  }
  CHECK_THAT(fault(deep + " = 1\n"), StartsWith("p.toml:1: this is not TOML: a name has too many parts"));
  CHECK_THAT(fault("\n" + header + "]\n"), StartsWith("p.toml:2: this is not TOML: a name has too many parts"));
  CHECK_THAT(fault(std::string(kPolicyBytesMax + 1, '#')), Contains("at most"));
}

TEST_CASE("policy text: letters of any language stand in quotes and in comments") {
  CHECK(read("[nodes]  # Büro, Kasse ü\n\"büro\" = 1\n").nodes.at(0).name == "büro");
}

TEST_CASE("policy text: all faults are found at once, in the order of lines") {
  const auto reading = read_policy_text("[[table]]\nname='a'\nmerge='x'\n[defaults]\nrule='y'\n[nodes]\nz='w'\n");
  REQUIRE(reading.faults.size() == 3);
  CHECK(reading.faults[0].line == 3);
  CHECK(reading.faults[1].line == 5);
  CHECK(reading.faults[2].line == 7);
}

TEST_CASE("policy text: versions rise, and equal documents published at once have one") {
  const auto first = next_policy_version(kBuiltInPolicy, "a");
  CHECK(policy_serial(first) == 1);
  CHECK(first == next_policy_version(kBuiltInPolicy, "a"));
  CHECK(first != next_policy_version(kBuiltInPolicy, "b"));
  const auto second = next_policy_version(first, "a");
  CHECK(second > first);
  CHECK(policy_serial(second) == 2);
  CHECK(policy_serial(next_policy_version(second, "")) == 3);
}

TEST_CASE("policy text: what editors put in front of it is no part of it", "[policy]") {
  const auto reading = read_policy_text("\xEF\xBB\xBF[defaults]\nmerge = \"row\"\n");
  CHECK(reading.faults.empty());
  CHECK(reading.policy.defaults.merge == MergeUnit::kRow);
}
