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

// But for those of the key, which no write changes.
ColumnSet columns_among(const TableShape& table, const std::vector<std::string>& names) {
  ColumnSet columns;
  for (const auto& column : table.columns) {
    if (!column.key && std::find(names.begin(), names.end(), column.name) != names.end()) {
      columns.insert(column.number);
    }
  }
  return columns;
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

// Columns of a reference that were judged by themselves could together lead nowhere.
void keep_references_whole(RowRules& rules, const TableShape& table) {
  for (const auto& names : table.references) {
    const auto members = columns_among(table, names);
    for (const auto number : members.numbers()) {
      if (members.size() > 1 && stands_alone(rules.rule_of(number).rule)) {
        rules.columns[number] = ColumnRule{};
      }
    }
  }
}

std::vector<ColumnSet> groups_of(const RowRules& rules, const TableShape& table, bool whole_rows,
                                 const std::vector<std::vector<std::string>>* wanted) {
  std::vector<ColumnSet> candidates;
  if (whole_rows) {
    candidates.emplace_back();
    for (const auto& column : table.columns) {
      if (!column.key) {
        candidates.back().insert(column.number);
      }
    }
  } else {
    for (const auto& names : wanted == nullptr ? std::vector<std::vector<std::string>>{} : *wanted) {
      candidates.push_back(columns_among(table, names));
    }
    for (const auto& names : table.references) {
      candidates.push_back(columns_among(table, names));
    }
  }
  std::vector<ColumnSet> groups;
  for (const auto& candidate : candidates) {
    ColumnSet group;
    for (const auto number : candidate.numbers()) {
      if (!stands_alone(rules.rule_of(number).rule)) {
        group.insert(number);
      }
    }
    if (group.size() < 2) {
      continue;
    }
    std::erase_if(groups, [&](const ColumnSet& other) {
      const bool meet = !group.intersect(other).empty();
      group = meet ? group.unite(other) : group;
      return meet;
    });
    groups.push_back(std::move(group));
  }
  return groups;
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
  keep_references_whole(row, table);
  row.groups = groups_of(row, table, settings.merge == MergeUnit::kRow, groups);
  for (const auto& node : policy.nodes) {
    if (const auto id = parse_node_id(node.name)) {
      row.ranks[*id] = node.rank;
    }
  }
  return rules;
}

bool is_by_order(Rule rule) {
  return rule == Rule::kMax || rule == Rule::kMin;
}

bool are_in_order(const std::vector<std::string>& labels, const std::vector<std::string>& order) {
  auto place = order.begin();
  for (const auto& label : labels) {
    const auto found = std::find(order.begin(), order.end(), label);
    if (found != order.end() && found < place) {
      return false;
    }
    place = found == order.end() ? place : found;
  }
  return true;
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
