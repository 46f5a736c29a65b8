#include "rule_book.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "schema.h"
#include "staged_table.h"
#include "table_shape.h"
#include "unique_meaning.h"

namespace mbsync {
namespace {

std::string quoted_name(const std::string& function) {
  const auto dot = function.find('.');
  return PgConnection::quote_name(function.substr(0, dot)) + "." + PgConnection::quote_name(function.substr(dot + 1));
}

}  // namespace

Result<PolicyVersion> RuleBook::read(PgConnection& db, const StagedTable* staged) {
  std::string from = "SELECT version, document FROM mbsync.policy";
  if (staged != nullptr) {
    const auto place = [&](std::string_view name) {
      return staged->table->find(name) - staged->table->columns.data() + 1;
    };
    from += fmt::format(" UNION SELECT v{}, v{} FROM {} WHERE v{} IS NOT NULL", place("version"), place("document"),
                        staged->name, place("version"));
  }
  std::string known = "0";
  {
    const std::lock_guard lock(mutex_);
    for (const auto& [version, policy] : policies_) {
      known += fmt::format(", {}", version);
    }
  }
  const auto rows =
      db.exec(fmt::format("SELECT version, CASE WHEN version NOT IN ({}) THEN document END FROM ({}) p", known, from));
  MBSYNC_TRY(rows);
  auto latest = kBuiltInPolicy;
  for (const auto& row : *rows) {
    const auto version = row[0].as<PolicyVersion>();
    latest = std::max(latest, version);
    if (row[1].is_null()) {
      continue;
    }
    auto reading = read_policy_text(row[1].c_str(), kStoredPolicyBytesMax);
    if (!reading.faults.empty()) {
      return policy_error(reading.faults.front(), fmt::format("policy {}", policy_serial(version)),
                          ErrorKind::kCorrupt);
    }
    const std::lock_guard lock(mutex_);
    policies_.emplace(version, std::move(reading.policy));
  }
  return latest;
}

bool RuleBook::empty() const {
  const std::lock_guard lock(mutex_);
  return policies_.empty();
}

const TableRules* RuleBook::find(PolicyVersion version, const Table& table) {
  const std::lock_guard lock(mutex_);
  return find_locked(version, table);
}

Result<void> RuleBook::require(PolicyVersion version, const Table& table) {
  if (find(version, table) != nullptr) {
    return {};
  }
  return Error{ErrorKind::kCorrupt,
               fmt::format("table {}: a write was made under policy {} ({}), which did not come with it",
                           table.display(), policy_serial(version), version),
               "'mbsync rules history' on the other nodes tells which has it; publish a policy anew on that node"};
}

const TableRules* RuleBook::find_locked(PolicyVersion version, const Table& table) {
  const auto place = resolved_.find({version, table.id});
  if (place != resolved_.end()) {
    return &place->second;
  }
  const auto policy = policies_.find(version);
  if (policy == policies_.end() && version != kBuiltInPolicy) {
    return nullptr;
  }
  // The engine's own tables are judged alike whatever anybody publishes: rules for "*" are not meant for them.
  auto rules = policy == policies_.end() || table.internal ? resolve(Policy{}, shape_of(table))
                                                           : resolve(policy->second, shape_of(table));
  if (!can_keep_both(table)) {
    rules.row.keep_both = {};
  }
  if (table.internal && table.name == "conflict_record") {
    // One decision says both. By themselves, a conflict could be open and decided at once.
    rules.row.groups = {ColumnSet{table.find("is_open")->number, table.find("resolution")->number}};
  }
  if (table.internal && table.name == "membership") {
    ColumnSet said;
    for (const char* column : {"away", "reason", "said_by", "said_at"}) {
      said.insert(table.find(column)->number);
    }
    rules.row.groups = {said};
  }
  return &resolved_.emplace(std::pair(version, table.id), std::move(rules)).first->second;
}

bool RuleBook::keeps_both(const Table& table) {
  const std::lock_guard lock(mutex_);
  return std::any_of(policies_.begin(), policies_.end(),
                     [&](const auto& entry) { return !find_locked(entry.first, table)->row.keep_both.empty(); });
}

std::string RuleBook::function_md5(PolicyVersion version, const std::string& function) {
  const std::lock_guard lock(mutex_);
  const auto policy = policies_.find(version);
  if (policy != policies_.end()) {
    for (const auto& [name, md5] : policy->second.functions) {
      if (quoted_name(name) == function) {
        return md5;
      }
    }
  }
  return "";
}

ColumnSet RuleBook::computed_columns(const Table& table) {
  const std::lock_guard lock(mutex_);
  ColumnSet columns;
  for (const auto& [version, policy] : policies_) {
    const auto* rules = find_locked(version, table);
    for (const auto& column : table.columns) {
      switch (rules->row.rule_of(column.number).rule) {
        case Rule::kMax:
        case Rule::kMin:
        case Rule::kPreferNonNull:
        case Rule::kUnion:
        case Rule::kAppend:
        case Rule::kSum:
        case Rule::kFunction:
          columns.insert(column.number);
          break;
        case Rule::kLastWriterWins:
        case Rule::kFirstWriterWins:
        case Rule::kNodePriority:
        case Rule::kManual:
          break;
      }
    }
  }
  return columns;
}

ColumnSet RuleBook::ordered_enums(const Table& table) {
  const std::lock_guard lock(mutex_);
  ColumnSet columns;
  for (const auto& column : table.columns) {
    const auto ordered = [&](const auto& entry) {
      return is_by_order(find_locked(entry.first, table)->row.rule_of(column.number).rule);
    };
    if (column.value_type.kind == ValueKind::kEnum && std::any_of(policies_.begin(), policies_.end(), ordered)) {
      columns.insert(column.number);
    }
  }
  return columns;
}

RuleDifference RuleBook::changed(const TableShape& before, const TableShape& now) {
  const std::lock_guard lock(mutex_);
  auto all = difference(resolve(Policy{}, before), resolve(Policy{}, now), now);
  for (const auto& [version, policy] : policies_) {
    const auto one = difference(resolve(policy, before), resolve(policy, now), now);
    all.columns = all.columns.unite(one.columns);
    all.rows = all.rows || one.rows;
  }
  return all;
}

std::vector<std::string> RuleBook::other_order(PolicyVersion version, const Table& table, const Column& column) {
  const std::lock_guard lock(mutex_);
  const auto policy = policies_.find(version);
  if (policy == policies_.end() || column.value_type.kind != ValueKind::kEnum ||
      !is_by_order(find_locked(version, table)->row.rule_of(column.number).rule)) {
    return {};
  }
  const auto published = policy->second.labels.find(column.type);
  return published == policy->second.labels.end() || are_in_order(column.value_type.labels, published->second)
             ? std::vector<std::string>{}
             : published->second;
}

Result<std::vector<std::string>> RuleBook::trouble(PgConnection& db, const std::vector<Table>& tables) {
  const auto latest = read(db);
  MBSYNC_TRY(latest);
  std::map<std::string, std::string> functions;
  {
    const std::lock_guard lock(mutex_);
    const auto policy = policies_.find(*latest);
    functions = policy == policies_.end() ? functions : policy->second.functions;
  }
  std::vector<std::string> unusable;
  for (const auto& [name, md5] : functions) {
    const auto here = db.exec("SELECT mbsync.function_md5($1)", {quoted_name(name) + "(jsonb)"});
    MBSYNC_TRY(here);
    const auto& found = (*here)[0][0];
    if (found.is_null() || md5 != found.c_str()) {
      unusable.push_back(fmt::format("{}(jsonb) is {}", name,
                                     found.is_null() ? "missing" : "another one than where the policy was published"));
    }
  }
  std::set<std::string> types;
  for (const auto& table : tables) {
    for (const auto& column : table.columns) {
      const auto order = table.internal ? std::vector<std::string>{} : other_order(*latest, table, column);
      if (!order.empty() && types.insert(column.type).second) {
        unusable.push_back(fmt::format("the labels of {} are in another order than where the policy was published: {}",
                                       column.type, fmt::join(order, ", ")));
      }
    }
  }
  return unusable;
}

Result<PolicyVersion> policy_in_force(PgConnection& db) {
  const auto rows = db.exec_cached("SELECT coalesce(max(version), 0) FROM mbsync.policy");
  MBSYNC_TRY(rows);
  return (*rows)[0][0].as<PolicyVersion>();
}

}  // namespace mbsync
