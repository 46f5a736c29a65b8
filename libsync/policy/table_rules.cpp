#include "table_rules.h"

#include <algorithm>

#include "glob.h"

namespace mbsync {
namespace {

std::string quoted(std::string_view identifier) {
  std::string result = "\"";
  for (const char c : identifier) {
    result += c;
    if (c == '"') {
      result += '"';
    }
  }
  return result + '"';
}

ColumnRule column_rule(const PolicyColumnRule& rule) {
  if (rule.rule != Rule::kFunction) {
    return ColumnRule{rule.rule, ""};
  }
  const auto dot = rule.function.find('.');
  return ColumnRule{rule.rule, quoted(std::string_view(rule.function).substr(0, dot)) + "." +
                                   quoted(std::string_view(rule.function).substr(dot + 1))};
}

// Such columns are judged by themselves, so a group is no use to them (CONFLICTS.md C12).
bool stands_alone(Rule rule) {
  switch (rule) {
    case Rule::kMax:
    case Rule::kMin:
    case Rule::kPreferNonNull:
    case Rule::kUnion:
    case Rule::kAppend:
    case Rule::kSum:
    case Rule::kFunction:
      return true;
    case Rule::kLastWriterWins:
    case Rule::kFirstWriterWins:
    case Rule::kNodePriority:
    case Rule::kManual:
      return false;
  }
  return false;
}

// What the siblings of one column are judged by: its rule, and those of the columns that stay together with it.
using Judgement = std::pair<ColumnRule, std::vector<std::pair<ColumnNumber, ColumnRule>>>;

Judgement judgement_of(const RowRules& rules, ColumnNumber column) {
  Judgement judgement{rules.rule_of(column), {}};
  for (const auto& group : rules.groups) {
    if (group.contains(column)) {
      for (const auto member : group.numbers()) {
        judgement.second.emplace_back(member, rules.rule_of(member));
      }
    }
  }
  return judgement;
}

void override_with(PolicySettings& settings, const PolicySettings& later) {
  settings.rule = later.rule ? later.rule : settings.rule;
  settings.merge = later.merge ? later.merge : settings.merge;
  settings.on_delete = later.on_delete ? later.on_delete : settings.on_delete;
  settings.keep_both = later.keep_both ? later.keep_both : settings.keep_both;
}

}  // namespace

UniqueRule TableRules::unique_rule(std::string_view constraint) const {
  const auto last = std::find_if(unique.rbegin(), unique.rend(),
                                 [&](const auto& entry) { return glob_matches(entry.first, constraint); });
  return last == unique.rend() ? UniqueRule::kAuto : last->second;
}

ColumnSet TableRules::sums() const {
  ColumnSet columns;
  for (const auto& [number, rule] : row.columns) {
    const auto type = row.types.find(number);
    if (rule.rule == Rule::kSum && type != row.types.end() && type->second.kind == ValueKind::kNumber) {
      columns.insert(number);
    }
  }
  return columns;
}

bool TableRules::built_in() const {
  const auto plain = [](const ColumnRule& rule) { return rule.rule == Rule::kLastWriterWins; };
  return plain(row.all) && row.groups.empty() && row.keep_both.empty() && row.on_delete == DeleteRule::kUpdateWins &&
         std::all_of(row.columns.begin(), row.columns.end(), [&](const auto& entry) { return plain(entry.second); });
}

TableRules resolve(const Policy& policy, const TableShape& table) {
  TableRules rules;
  auto settings = policy.defaults;
  const std::vector<std::vector<std::string>>* groups = nullptr;
  if (policy.default_unique) {
    rules.unique.emplace_back("*", *policy.default_unique);
  }
  std::map<ColumnNumber, ColumnRule> columns;
  for (const auto& entry : policy.tables) {
    if (!table_glob_matches(entry.pattern, table.schema, table.name)) {
      continue;
    }
    override_with(settings, entry.settings);
    groups = entry.groups ? &*entry.groups : groups;
    for (const auto& line : entry.columns) {
      for (const auto& column : table.columns) {
        if (!column.key && glob_matches(line.pattern, column.name)) {
          columns[column.number] = column_rule(line.value);
        }
      }
    }
    for (const auto& line : entry.unique) {
      rules.unique.emplace_back(line.pattern, line.value);
    }
  }

  auto& row = rules.row;
  for (const auto& column : table.columns) {
    if (column.key && settings.keep_both.value_or(false)) {
      row.keep_both.insert(column.number);
    }
  }
  row.all.rule = settings.rule.value_or(Rule::kLastWriterWins);
  row.on_delete = settings.on_delete.value_or(DeleteRule::kUpdateWins);
  row.columns = std::move(columns);
  for (const auto& column : table.columns) {
    if (column.type.kind != ValueKind::kOther) {
      row.types.emplace(column.number, column.type);
    }
  }
  const auto add_group = [&](const auto& belongs) {
    ColumnSet group;
    for (const auto& column : table.columns) {
      if (!column.key && !stands_alone(row.rule_of(column.number).rule) && belongs(column.name)) {
        group.insert(column.number);
      }
    }
    if (group.size() > 1) {
      row.groups.push_back(std::move(group));
    }
  };
  if (settings.merge == MergeUnit::kRow) {
    add_group([](const std::string&) { return true; });
  } else if (groups != nullptr) {
    for (const auto& names : *groups) {
      add_group([&](const std::string& name) { return std::find(names.begin(), names.end(), name) != names.end(); });
    }
  }
  for (const auto& node : policy.nodes) {
    if (const auto id = parse_node_id(node.name)) {
      row.ranks[*id] = node.rank;
    }
  }
  return rules;
}

RuleDifference difference(const TableRules& before, const TableRules& after, const TableShape& table) {
  RuleDifference result;
  result.rows = before.row.on_delete != after.row.on_delete || !(before.row.keep_both == after.row.keep_both);
  for (const auto& column : table.columns) {
    if (judgement_of(before.row, column.number) != judgement_of(after.row, column.number)) {
      result.columns.insert(column.number);
    }
  }
  return result;
}

}  // namespace mbsync
