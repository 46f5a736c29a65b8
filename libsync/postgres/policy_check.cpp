#include "policy_check.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <set>

#include "glob.h"
#include "policy_facts.h"
#include "policy_meaning.h"
#include "reference_sql.h"
#include "table_shape.h"
#include "unique_meaning.h"

namespace mbsync {
namespace {

constexpr std::string_view kSeeTables = "'mbsync status' names the tables that take part, and why others do not";

bool is_pattern(std::string_view text) {
  return text.find_first_of("*?") != std::string_view::npos;
}

bool same_but_for_case(std::string_view a, std::string_view b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(), [](char x, char y) {
    return std::tolower(static_cast<unsigned char>(x)) == std::tolower(static_cast<unsigned char>(y));
  });
}

bool is_key(const Table& table, std::string_view column) {
  return std::any_of(table.key.begin(), table.key.end(),
                     [&](std::size_t index) { return table.columns[index].name == column; });
}

bool looks_at_values(Rule rule) {
  return rule != Rule::kLastWriterWins && rule != Rule::kFirstWriterWins && rule != Rule::kNodePriority &&
         rule != Rule::kManual;
}

// The foreign key, if any, of which the column is one of several that may change.
const ForeignKey* reference_of_several(const Table& table, const std::string& column) {
  const auto place =
      std::find_if(table.foreign_keys.begin(), table.foreign_keys.end(), [&](const ForeignKey& candidate) {
        const auto& names = candidate.columns;
        return std::find(names.begin(), names.end(), column) != names.end() &&
               std::count_if(names.begin(), names.end(),
                             [&](const std::string& name) { return !is_key(table, name); }) > 1;
      });
  return place == table.foreign_keys.end() ? nullptr : &*place;
}

class Checking {
 public:
  Checking(PgConnection& db, const PolicyFacts& facts, PolicyCheck& result) : db_(db), facts_(facts), result_(result) {}

  Result<void> run() {
    check_nodes();
    result_.policy.labels.swap(published_labels_);
    result_.policy.labels.clear();
    MBSYNC_TRY(read_functions());
    for (const auto& entry : result_.policy.tables) {
      check_names(entry);
    }
    for (const auto& table : facts_.schema.tables) {
      if (!table.internal) {
        MBSYNC_TRY(check_table(table));
      }
    }
    check_priorities();
    return {};
  }

 private:
  void fault(int line, std::string message, std::string hint) {
    add(result_.faults, line, std::move(message), std::move(hint));
  }
  void warn(int line, std::string message, std::string hint) {
    add(result_.warnings, line, std::move(message), std::move(hint));
  }
  // What is wrong with a line is often wrong with it in many tables, in the same words.
  static void add(std::vector<PolicyFault>& list, int line, std::string message, std::string hint) {
    const bool known = std::any_of(list.begin(), list.end(), [&](const PolicyFault& each) {
      return each.line == line && each.message == message;
    });
    if (!known) {
      list.push_back(PolicyFault{line, std::move(message), std::move(hint)});
    }
  }

  void check_nodes() {
    std::map<std::string, std::string> said;  // by id, the name that stood for it
    for (auto& node : result_.policy.nodes) {
      const auto name = node.name;
      std::vector<std::string> ids;
      const auto as_id = parse_node_id(name);
      for (const auto& [id, known] : facts_.nodes) {
        if (as_id ? id == *as_id : known == name) {
          ids.push_back(to_string(id));
        }
      }
      if (ids.size() > 1) {
        fault(node.line, fmt::format("nodes: {} nodes are called '{}'", ids.size(), name),
              fmt::format("write the id of the one that is meant, in quotes: {}", fmt::join(ids, ", ")));
        continue;
      }
      if (ids.empty()) {
        warn(node.line, fmt::format("nodes: no node '{}' is known here", name),
             as_id ? "this holds as soon as it joins"
                   : "it has no number until this document is applied again after it has joined; 'mbsync status' "
                     "names those that are known");
      } else {
        node.name = ids.front();
      }
      if (const auto [place, fresh] = said.emplace(node.name, name); !fresh) {
        fault(node.line, fmt::format("nodes: '{}' and '{}' are the same node", place->second, name),
              "give it one number");
      }
    }
  }

  Result<void> read_functions() {
    result_.policy.functions.swap(published_hashes_);
    result_.policy.functions.clear();
    for (const auto& entry : result_.policy.tables) {
      for (const auto& line : entry.columns) {
        const auto& name = line.value.function;
        if (name.empty()) {
          continue;
        }
        if (!functions_.contains(name)) {
          auto function = read_policy_function(db_, name);
          MBSYNC_TRY(function);
          functions_.emplace(name, std::move(*function));
        }
        const auto& function = functions_.at(name);
        if (!function.problem.empty()) {
          fault(line.line, fmt::format("\"{}\": {}", line.pattern, function.problem), function.hint);
          continue;
        }
        result_.policy.functions[name] = function.hash;
        const auto before = published_hashes_.find(name);
        if (before != published_hashes_.end() && before->second != function.hash) {
          warn(line.line, fmt::format("the function {} has another definition here than when this was published", name),
               "make it the same on every node, then apply the document again");
        }
      }
    }
    return {};
  }

  [[nodiscard]] std::vector<const Table*> matching(const PolicyTable& entry) const {
    std::vector<const Table*> found;
    for (const auto& table : facts_.schema.tables) {
      if (!table.internal && table_glob_matches(entry.pattern, table.schema, table.name)) {
        found.push_back(&table);
      }
    }
    return found;
  }

  // Everything that is named must be somewhere.
  void check_names(const PolicyTable& entry) {
    const auto tables = matching(entry);
    if (tables.empty()) {
      no_table(entry);
      return;
    }
    const auto where = tables.size() == 1 ? tables.front()->display() : fmt::format("tables \"{}\"", entry.pattern);
    for (const auto& line : entry.columns) {
      check_column(line.line, fmt::format("\"{}\"", line.pattern), line.pattern, tables, where);
    }
    for (const auto& group : entry.groups.value_or(std::vector<std::vector<std::string>>{})) {
      for (const auto& name : group) {
        check_column(entry.groups_line, "groups", name, tables, where, false);
      }
    }
    for (const auto& line : entry.unique) {
      check_unique_name(line, tables, where);
    }
  }

  void no_table(const PolicyTable& entry) {
    for (const auto& refused : facts_.schema.refused) {
      if (table_glob_matches(entry.pattern, refused.schema, refused.name)) {
        fault(entry.line,
              fmt::format("name: table {}.{} does not take part: it {}", refused.schema, refused.name, refused.reason),
              "leave this [[table]] out until it does");
        return;
      }
    }
    std::string hint(kSeeTables);
    for (const auto& table : facts_.schema.tables) {
      if (table.internal && table_glob_matches(entry.pattern, table.schema, table.name)) {
        fault(entry.line, fmt::format("name: table {} is mbsync's own, and has rules of its own", table.display()),
              "leave this [[table]] out");
        return;
      }
      if (same_but_for_case(entry.pattern, table.name) || same_but_for_case(entry.pattern, table.display())) {
        hint = fmt::format("case counts: write \"{}\"", table.display());
      }
    }
    fault(entry.line, fmt::format("name: there is no table \"{}\"", entry.pattern), hint);
  }

  void check_column(int line, std::string_view what, std::string_view pattern, const std::vector<const Table*>& tables,
                    const std::string& where, bool patterns = true) {
    bool key = false;
    bool generated = false;
    std::string other_case;
    for (const auto* table : tables) {
      for (const auto& column : table->columns) {
        const bool matches = patterns ? glob_matches(pattern, column.name) : pattern == column.name;
        if (matches && !is_key(*table, column.name)) {
          return;
        }
        key = key || matches;
        other_case = same_but_for_case(pattern, column.name) ? column.name : other_case;
      }
      if (const auto all = facts_.columns.find(table->oid); all != facts_.columns.end()) {
        generated = generated || std::any_of(all->second.begin(), all->second.end(), [&](const auto& column) {
                      return column.second.generated && glob_matches(pattern, column.first);
                    });
      }
    }
    if (key) {
      fault(line, fmt::format("{}: column {} of {} is part of the key, by which rows are known", what, pattern, where),
            "leave it out; whether rows made under one key are both kept is said by keep_both");
    } else if (generated) {
      fault(line, fmt::format("{}: column {} of {} is computed by PostgreSQL", what, pattern, where),
            "give rules to the columns that it is computed from");
    } else {
      fault(line, fmt::format("{}: {} {} no column \"{}\"", what, where, tables.size() == 1 ? "has" : "have", pattern),
            other_case.empty() ? "correct the name, or leave it out"
                               : fmt::format("case counts: write \"{}\"", other_case));
    }
  }

  void check_unique_name(const PolicyLine<UniqueRule>& line, const std::vector<const Table*>& tables,
                         const std::string& where) {
    bool other = false;
    std::set<std::string> names;
    for (const auto* table : tables) {
      for (const auto& unique : table->unique_keys) {
        if (unique.leaves_both()) {
          continue;
        }
        if (glob_matches(line.pattern, unique.name)) {
          return;
        }
        names.insert(unique.name);
      }
      if (const auto all = facts_.unique_names.find(table->oid); all != facts_.unique_names.end()) {
        other = other || (!is_pattern(line.pattern) && all->second.contains(line.pattern));
      }
    }
    if (other) {
      fault(line.line,
            fmt::format("unique: \"{}\" of {} is the key of its rows, or looks at columns that PostgreSQL computes",
                        line.pattern, where),
            "leave it out; rows made under one key are a matter of keep_both, and the others always wait for a person");
      return;
    }
    constexpr std::size_t kNamed = 10;
    fault(line.line,
          fmt::format("unique: {} {} no unique constraint or index \"{}\"", where, tables.size() == 1 ? "has" : "have",
                      line.pattern),
          names.empty() ? "there is none besides the key; leave it out"
          : names.size() <= kNamed
              ? fmt::format("there {}: {}", names.size() == 1 ? "is" : "are", fmt::join(names, ", "))
              : "correct the name, or leave it out");
  }

  // What holds for a table once all entries are read must suit it.
  struct Effective {
    std::map<std::string, const PolicyLine<PolicyColumnRule>*> columns;
    const PolicyTable* groups = nullptr;
    Rule rule = Rule::kLastWriterWins;
    MergeUnit merge = MergeUnit::kField;
    bool keep_both = false;
    int rule_line = 0;
    int keep_both_line = 0;
    bool keep_both_for_all = true;  ///< said in [defaults]
    std::vector<const PolicyLine<UniqueRule>*> unique;
  };

  [[nodiscard]] Effective effective_for(const Table& table) const {
    Effective result;
    const auto& policy = result_.policy;
    const auto take = [&](const PolicySettings& settings, int line, bool defaults) {
      if (settings.rule) {
        result.rule = *settings.rule;
        result.rule_line = line;
      }
      result.merge = settings.merge.value_or(result.merge);
      if (settings.keep_both) {
        result.keep_both = *settings.keep_both;
        result.keep_both_line = line;
        result.keep_both_for_all = defaults;
      }
    };
    take(policy.defaults, policy.defaults_line, true);
    for (const auto& entry : policy.tables) {
      if (!table_glob_matches(entry.pattern, table.schema, table.name)) {
        continue;
      }
      take(entry.settings, entry.line, false);
      result.groups = entry.groups ? &entry : result.groups;
      for (const auto& line : entry.columns) {
        for (const auto& column : table.columns) {
          if (!is_key(table, column.name) && glob_matches(line.pattern, column.name)) {
            result.columns[column.name] = &line;
          }
        }
      }
      for (const auto& line : entry.unique) {
        result.unique.push_back(&line);
      }
    }
    return result;
  }

  Result<void> check_table(const Table& table) {
    const auto effective = effective_for(table);
    if (effective.rule == Rule::kNodePriority) {
      priority_line_ = priority_line_.value_or(effective.rule_line);
    }
    for (const auto& [name, line] : effective.columns) {
      MBSYNC_TRY(check_rule(table, *table.find(name), *line));
    }
    note_labels(table);
    check_groups(table, effective);
    check_keep_both(table, effective);
    for (const auto& unique : table.unique_keys) {
      if (unique.leaves_both()) {
        continue;
      }
      check_unique(table, unique, effective);
    }
    return {};
  }

  // The order of labels is a rule as well, and a database may have it otherwise.
  void note_labels(const Table& table) {
    auto shape = shape_of(table);
    for (std::size_t i = 0; i < shape.columns.size(); ++i) {
      shape.columns[i].number = static_cast<ColumnNumber>(i + 1);  // it may not have any yet
    }
    const auto rules = resolve(result_.policy, shape);
    for (std::size_t i = 0; i < table.columns.size(); ++i) {
      const auto& column = table.columns[i];
      if (column.value_type.kind != ValueKind::kEnum || !is_by_order(rules.row.rule_of(shape.columns[i].number).rule) ||
          !result_.policy.labels.emplace(column.type, column.value_type.labels).second) {
        continue;
      }
      const auto before = published_labels_.find(column.type);
      if (before != published_labels_.end() && !are_in_order(column.value_type.labels, before->second)) {
        warn(1, fmt::format("the labels of {} are in another order here than when this was published", column.type),
             "put them in the same order on every node, then apply the document again");
      }
    }
  }

  Result<void> check_rule(const Table& table, const Column& column, const PolicyLine<PolicyColumnRule>& line) {
    const auto kind = column.value_type.kind;
    const auto rule = line.value.rule;
    if (const auto* reference = reference_of_several(table, column.name);
        reference != nullptr && !is_pattern(line.pattern) && looks_at_values(rule)) {
      warn(line.line,
           fmt::format(
               "\"{}\" = \"{}\": {}.{} is one of the columns of the foreign key {}, which stay together; the last "
               "writer wins (CONFLICTS.md C12)",
               line.pattern, word_of(rule), table.display(), column.name, reference->name),
           "leave the rule out");
      return {};
    }
    const auto unfit = [&](std::string_view why, std::string_view hint) {
      fault(line.line,
            fmt::format("\"{}\" = \"{}\": column {}.{} is {}, {}", line.pattern, word_of(line.value.rule),
                        table.display(), column.name, column.type, why),
            std::string(hint));
    };
    switch (rule) {
      case Rule::kMax:
      case Rule::kMin:
        if (kind == ValueKind::kOther || kind == ValueKind::kArray || kind == ValueKind::kJson) {
          unfit("whose values mbsync cannot put in order",
                "max and min are for numbers, texts, dates and times, booleans and enums");
        }
        break;
      case Rule::kSum:
        if (kind != ValueKind::kNumber) {
          unfit("which cannot be added up exactly", "sum is for integers and numeric");
        } else if (!column.not_null) {
          unfit("and may be NULL, to which nothing can be added",
                fmt::format("ALTER TABLE {} ALTER COLUMN {} SET NOT NULL, with a default of 0", table.quoted(),
                            PgConnection::quote_name(column.name)));
        }
        break;
      case Rule::kUnion:
        if (kind != ValueKind::kArray && kind != ValueKind::kJson) {
          unfit("which has no elements", "union is for arrays, json and jsonb; append is for texts");
        }
        break;
      case Rule::kAppend:
        if (kind != ValueKind::kText) {
          unfit("which is no text", "append is for texts; union is for arrays and JSON");
        }
        break;
      case Rule::kPreferNonNull:
        if (!is_pattern(line.pattern) && column.not_null && kind != ValueKind::kText) {
          unfit("and never NULL or empty", "leave it out: the rule of the table does the same");
        }
        break;
      case Rule::kFunction:
        return check_result(table, column, line);
      case Rule::kNodePriority:
        priority_line_ = priority_line_.value_or(line.line);
        break;
      case Rule::kLastWriterWins:
      case Rule::kFirstWriterWins:
      case Rule::kManual:
        break;
    }
    return {};
  }

  Result<void> check_result(const Table& table, const Column& column, const PolicyLine<PolicyColumnRule>& line) {
    const auto& function = functions_.at(line.value.function);
    if (!function.problem.empty()) {
      return {};
    }
    const auto& fact = facts_.columns.at(table.oid).at(column.name);
    const auto casts = type_casts(db_, function.result_type, fact.base_type);
    MBSYNC_TRY(casts);
    if (!*casts) {
      fault(line.line,
            fmt::format("\"{}\": what the function {} returns cannot become the {} of column {}.{}", line.pattern,
                        line.value.function, column.type, table.display(), column.name),
            fmt::format("let it return {}, or text", fact.type));
    }
    return {};
  }

  void check_groups(const Table& table, const Effective& effective) {
    if (effective.groups == nullptr || effective.groups->groups->empty()) {
      return;
    }
    const auto line = effective.groups->groups_line;
    if (effective.merge == MergeUnit::kRow) {
      warn(line, fmt::format("groups: {} has merge = \"row\", which takes all columns together", table.display()),
           "leave the groups out, or write merge = \"field\"");
      return;
    }
    for (const auto& group : *effective.groups->groups) {
      for (const auto& name : group) {
        const auto place = effective.columns.find(name);
        const auto rule = place == effective.columns.end() ? Rule::kLastWriterWins : place->second->value.rule;
        if (rule == Rule::kSum) {
          fault(line, fmt::format("groups: column {}.{} adds up, and belongs to no write alone", table.display(), name),
                "take it out of the group, or give it another rule than sum");
        } else if (looks_at_values(rule)) {
          warn(line,
               fmt::format("groups: column {}.{} has the rule {}, and is judged by itself (CONFLICTS.md C12)",
                           table.display(), name, word_of(rule)),
               "take it out of the group, or let the rule of the group decide");
        }
      }
    }
  }

  const Table* referring_table(const Table& table) const {
    for (const auto& edge : edges_of(facts_.schema)) {
      if (edge.parent == &table) {
        return edge.child;
      }
    }
    return nullptr;
  }

  void check_keep_both(const Table& table, const Effective& effective) {
    if (!effective.keep_both) {
      return;
    }
    if (can_keep_both(table)) {
      if (const auto* child = referring_table(table); child != nullptr && !effective.keep_both_for_all) {
        warn(effective.keep_both_line,
             fmt::format(
                 "keep_both: {} is referred to by {}, whose rows all come to belong to the row that keeps the key",
                 table.display(), child->display()),
             "let each node take keys of its own: uuid, or sequences that never meet");
      }
      return;
    }
    const auto why = table.key.size() != 1 ? fmt::format("has a key of {} columns", table.key.size())
                                           : fmt::format("has a key of type {}", table.columns[table.key.front()].type);
    const auto message = fmt::format("keep_both: {} {}, of which mbsync cannot make another", table.display(), why);
    const auto hint =
        "keep_both is for keys of one column: text, varchar of ten characters or more, uuid, smallint, integer, bigint";
    effective.keep_both_for_all ? warn(effective.keep_both_line, message, hint)
                                : fault(effective.keep_both_line, message, hint);
  }

  void check_unique(const Table& table, const UniqueKey& unique, const Effective& effective) {
    const auto& policy = result_.policy;
    const auto last = std::find_if(effective.unique.rbegin(), effective.unique.rend(),
                                   [&](const auto* line) { return glob_matches(line->pattern, unique.name); });
    const bool said = last != effective.unique.rend();
    const auto rule = said ? (*last)->value : policy.default_unique.value_or(UniqueRule::kAuto);
    const auto ways = ways_out(table, unique);
    if (rule != UniqueRule::kSuffix || (!ways.empty() && ways.front().kind == WayOut::Kind::kSuffix)) {
      return;
    }
    const auto message =
        fmt::format("unique: \"{}\" of {} has no text that could get a suffix", unique.name, table.display());
    const auto hint = fmt::format(
        "a suffix needs a column of type text or varchar that is no reference and not of the key; for this one write "
        "\"{}\" = \"auto\", \"merge\" or \"park\"",
        unique.name);
    said ? fault((*last)->line, message, hint) : warn(policy.defaults_line, message, hint);
  }

  void check_priorities() {
    const auto& nodes = result_.policy.nodes;
    if (priority_line_ && nodes.empty()) {
      warn(*priority_line_, "node-priority: no node has a number, so the latest write stands",
           "say in [nodes] which goes first: \"office\" = 1");
    } else if (!priority_line_ && !nodes.empty()) {
      warn(nodes.front().line, "nodes: nothing here has the rule node-priority, so the numbers mean nothing",
           "give tables or columns the rule node-priority, or leave [nodes] out");
    }
  }

  PgConnection& db_;
  const PolicyFacts& facts_;
  PolicyCheck& result_;
  std::map<std::string, PolicyFunction> functions_;
  std::map<std::string, std::string> published_hashes_;
  std::map<std::string, std::vector<std::string>> published_labels_;
  std::optional<int> priority_line_;
};

}  // namespace

Result<PolicyCheck> check_policy(PgConnection& db, std::string_view document) {
  PolicyCheck result;
  auto reading = read_policy_text(document);
  result.faults = std::move(reading.faults);
  if (!result.faults.empty()) {
    return result;
  }
  result.policy = std::move(reading.policy);
  const auto facts = read_policy_facts(db);
  MBSYNC_TRY(facts);
  MBSYNC_TRY(Checking(db, *facts, result).run());
  for (auto* list : {&result.faults, &result.warnings}) {
    std::stable_sort(list->begin(), list->end(),
                     [](const PolicyFault& a, const PolicyFault& b) { return a.line < b.line; });
  }
  for (const auto& table : facts->schema.tables) {
    if (!table.internal) {
      result.tables.push_back(meaning_of(result.policy, table));
    }
  }
  return result;
}

}  // namespace mbsync
