#include "policy_meaning.h"

#include <fmt/format.h>

#include <algorithm>

#include "table_shape.h"

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

bool is_compared(const UniqueKey& unique, const std::string& column) {
  // A column that only the predicate of a partial index looks at does not tell rows apart.
  return std::any_of(unique.expressions.begin(), unique.expressions.end(),
                     [&](const auto& expression) { return expression.find(column) != std::string::npos; });
}

bool refers(const Table& table, const std::string& column) {
  return std::any_of(table.foreign_keys.begin(), table.foreign_keys.end(), [&](const ForeignKey& reference) {
    return std::find(reference.columns.begin(), reference.columns.end(), column) != reference.columns.end();
  });
}

// Another value in this column would tell the rows apart, and nothing else says what is in it.
bool is_free(const Table& table, const UniqueKey& unique, const std::string& name) {
  const bool key = std::any_of(table.key.begin(), table.key.end(),
                               [&](std::size_t index) { return table.columns[index].name == name; });
  return is_compared(unique, name) && !key && !refers(table, name);
}

std::string words_for(UniqueRule rule, const Table& table, const UniqueKey& unique) {
  constexpr const char* kMerged = "both rows become one";
  constexpr const char* kParked = "the row that comes waits until a person has changed one of the two";
  const bool references = std::all_of(unique.columns.begin(), unique.columns.end(), [&](const std::string& name) {
    return refers(table, name) || !is_compared(unique, name);
  });
  if (rule == UniqueRule::kMerge || (rule == UniqueRule::kAuto && references)) {
    return kMerged;
  }
  if (rule == UniqueRule::kPark) {
    return kParked;
  }
  if (const auto* column = suffix_column(table, unique); column != nullptr) {
    return fmt::format("the later row's {} gets a suffix", column->name);
  }
  for (const auto& name : unique.columns) {
    const auto* column = table.find(name);
    if (column != nullptr && !column->not_null && !unique.nulls_not_distinct && is_free(table, unique, name)) {
      return fmt::format("the later row's {} becomes NULL until a person has decided", name);
    }
  }
  return kParked;
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
    if (unique.exclusion) {
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

const Column* suffix_column(const Table& table, const UniqueKey& unique) {
  for (const auto& name : unique.columns) {
    const auto* column = table.find(name);
    if (column == nullptr || column->value_type.kind != ValueKind::kText ||
        !(column->type == "text" || column->type.starts_with("character varying"))) {
      continue;
    }
    if (is_free(table, unique, name)) {
      return column;
    }
  }
  return nullptr;
}

}  // namespace mbsync
