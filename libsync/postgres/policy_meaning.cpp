#include "policy_meaning.h"

#include <fmt/format.h>

#include <algorithm>

#include "table_shape.h"
#include "unique_meaning.h"

namespace mbsync {
namespace {

std::string words_for(const ColumnRule& rule, ValueKind kind) {
  switch (rule.rule) {
    case Rule::kLastWriterWins:
      return "the latest write stands";
    case Rule::kFirstWriterWins:
      return "the earliest write stands";
    case Rule::kNodePriority:
      return "the write by the node with the lowest number in [nodes] stands; of equals, the latest";
    case Rule::kMax:
      return "the greatest value stands";
    case Rule::kMin:
      return "the least value that is not NULL stands";
    case Rule::kPreferNonNull:
      return "NULL and the empty text give way; of the others, the latest write stands";
    case Rule::kUnion:
      return kind == ValueKind::kJson ? "the elements of arrays and the members of objects of all writes are kept"
                                      : "the elements of all writes are kept";
    case Rule::kAppend:
      return "what each write added stays, in the order of time";
    case Rule::kSum:
      return "the changes add up";
    case Rule::kFunction:
      return fmt::format("the function {} decides", rule.function);
    case Rule::kManual:
      return "the latest write stands for now, and a person decides";
  }
  return "";
}

std::string words_for(UniqueRule rule, const Table& table, const UniqueKey& unique) {
  switch (decided(rule, table, unique)) {
    case UniqueRule::kMerge:
      return "both rows become one";
    case UniqueRule::kAuto:
    case UniqueRule::kPark:
      break;
    case UniqueRule::kSuffix:
      const auto ways = ways_out(table, unique);
      if (!ways.empty()) {
        const auto& [kind, column] = ways.front();
        return kind == WayOut::Kind::kSuffix ? fmt::format("the later row's {} gets a suffix", column->name)
               : kind == WayOut::Kind::kFlag
                   ? fmt::format("the later row's {} becomes false", column->name)
                   : fmt::format("the later row's {} becomes NULL until a person has decided", column->name);
      }
      break;
  }
  return "the row that comes waits until a person has changed one of the two";
}

// Two rules that read alike are alike: names, not numbers.
std::vector<RuleMeaning> rules_of(const Policy& policy, const Table& table, const TableShape& shape) {
  const auto rules = resolve(policy, shape);
  std::vector<RuleMeaning> all;
  const auto& row = rules.row;
  all.push_back({"columns", "", std::string(word_of(row.all.rule)), words_for(row.all, ValueKind::kOther)});
  std::size_t open = 0;
  for (const auto& column : shape.columns) {
    const auto& rule = row.rule_of(column.number);
    open += !column.key && rule.rule != Rule::kSum ? 1 : 0;
    if (!(rule == row.all)) {
      all.push_back({"column", column.name, std::string(word_of(rule.rule)), words_for(rule, column.type.kind)});
    }
  }
  for (const auto& group : row.groups) {
    std::vector<std::string> names;
    for (const auto& column : shape.columns) {
      if (group.contains(column.number)) {
        names.push_back(column.name);
      }
    }
    if (names.size() == open) {
      all.push_back({"group", "", std::string(word_of(MergeUnit::kRow)), "all columns are from the same write"});
    } else {
      all.push_back({"group", fmt::format("{}", fmt::join(names, ", ")), "group", "they are from the same write"});
    }
  }
  all.push_back({"delete", "", std::string(word_of(row.on_delete)),
                 row.on_delete == DeleteRule::kUpdateWins ? "a row that one side deleted and the other changed stays"
                                                          : "a row that one side deleted and the other changed goes"});
  all.push_back({"keep_both", "", rules.row.keep_both.empty() ? "false" : "true",
                 !rules.row.keep_both.empty()
                     ? "rows that two nodes made under one key both stay, one under a key of its own"
                     : "rows that two nodes made under one key are one row"});
  for (const auto& unique : table.unique_keys) {
    if (unique.leaves_both()) {
      continue;
    }
    const auto rule = rules.unique_rule(unique.name);
    all.push_back({"unique", unique.name, std::string(word_of(rule)), words_for(rule, table, unique)});
  }
  return all;
}

}  // namespace

TableMeaning meaning_of(const Policy& policy, const Table& table) {
  auto shape = shape_of(table);
  // A table that is not registered yet has no numbers; here any will do.
  for (std::size_t i = 0; i < shape.columns.size(); ++i) {
    shape.columns[i].number = static_cast<ColumnNumber>(i + 1);
  }
  TableMeaning meaning{table.schema, table.name, true, rules_of(policy, table, shape)};
  meaning.built_in = meaning.rules == rules_of(Policy{}, table, shape);
  return meaning;
}

}  // namespace mbsync
