#include "commands/rules_view.h"

#include <fmt/format.h>

#include <algorithm>

#include "commands/resolve_view.h"
#include "output.h"

namespace mbsync {
namespace {

using Json = nlohmann::ordered_json;

constexpr std::size_t kNameCharacters = 60;
constexpr std::size_t kSentenceCharacters = 200;

std::string shown(const std::string& name) {
  return printable(name, kNameCharacters);
}

// What a rule is about, in front of its word.
std::string subject(const std::string& about, const std::string& name) {
  if (about == "columns") {
    return "columns without a rule of their own";
  }
  if (about == "delete" || about == "keep_both") {
    return about;
  }
  if (about == "group" && name.empty()) {
    return "merge";
  }
  return about + " " + shown(name);
}

bool is_about_the_same(const RuleMeaning& a, const RuleMeaning& b) {
  return a.about == b.about && a.name == b.name;
}

// What `rules` say of the thing that `rule` is about; of a column without a rule of its own, what they say of all such.
const RuleMeaning* counterpart(const std::vector<RuleMeaning>& rules, const RuleMeaning& rule) {
  auto place = std::find_if(rules.begin(), rules.end(),
                            [&](const RuleMeaning& other) { return is_about_the_same(other, rule); });
  if (place == rules.end() && rule.about == "column") {
    place = std::find_if(rules.begin(), rules.end(), [](const RuleMeaning& other) { return other.about == "columns"; });
  }
  return place == rules.end() ? nullptr : &*place;
}

std::string word_or(const std::string& word, const char* otherwise) {
  return word.empty() ? std::string(otherwise) : word;
}

}  // namespace

const char* const kBuiltInDocument =
    "# No policy has been published. These are the rules that are built in. To have others, edit them and publish "
    "them\n"
    "# from any node: mbsync rules show > rules.toml, then mbsync rules check rules.toml, mbsync rules apply "
    "rules.toml\n"
    "\n"
    "[defaults]                   # for every table\n"
    "rule = \"last-writer-wins\"    # or first-writer-wins, node-priority, prefer-non-null, manual\n"
    "merge = \"field\"              # each column stands by itself; row: a write takes the whole row\n"
    "delete = \"update-wins\"       # a row deleted here and changed there stays; delete-wins: it goes\n"
    "unique = \"auto\"              # two rows with one unique value; or suffix, merge, park\n"
    "keep_both = false            # true: rows that two nodes made under one key both stay\n"
    "\n"
    "# [nodes]                    # for node-priority: the lower number wins\n"
    "# office = 1\n"
    "# \"till 2\" = 2\n"
    "\n"
    "# [[table]]                  # for some tables; later ones override earlier ones\n"
    "# name = \"public.orders\"     # a pattern such as \"shop.*\" will do\n"
    "# groups = [[\"amount\", \"currency\"]]\n"
    "# [table.columns]            # also max, min, union, append, sum, function\n"
    "# total = \"max\"\n"
    "# price = { rule = \"function\", function = \"shop.pick_price\" }\n"
    "# [table.unique]\n"
    "# orders_number_key = \"suffix\"\n";

std::vector<TableChanges> changes_between(const std::vector<TableMeaning>& before,
                                          const std::vector<TableMeaning>& after) {
  std::vector<TableChanges> all;
  for (const auto& table : after) {
    TableChanges changes{fmt::format("{}.{}", table.schema, table.table), {}};
    const auto old = std::find_if(before.begin(), before.end(), [&](const TableMeaning& each) {
      return each.schema == table.schema && each.table == table.table;
    });
    const auto old_rules = old == before.end() ? std::vector<RuleMeaning>() : old->rules;
    for (const auto& rule : table.rules) {
      const auto* was = counterpart(old_rules, rule);
      if (was == nullptr || was->rule != rule.rule || was->meaning != rule.meaning) {
        changes.changes.push_back(
            {rule.about, rule.name, was == nullptr ? std::string() : was->rule, rule.rule, rule.meaning});
      }
    }
    for (const auto& rule : old_rules) {
      if (std::none_of(table.rules.begin(), table.rules.end(),
                       [&](const auto& other) { return is_about_the_same(other, rule); })) {
        const auto* becomes = counterpart(table.rules, rule);
        changes.changes.push_back({rule.about, rule.name, rule.rule, becomes == nullptr ? std::string() : becomes->rule,
                                   becomes == nullptr ? std::string() : becomes->meaning});
      }
    }
    if (!changes.changes.empty()) {
      all.push_back(std::move(changes));
    }
  }
  return all;
}

TableChanges node_changes(const Policy& before, const Policy& after, const std::map<std::string, std::string>& names) {
  std::map<std::string, std::pair<std::string, std::string>> numbers;
  for (const auto& node : before.nodes) {
    numbers[node.name].first = std::to_string(node.rank);
  }
  for (const auto& node : after.nodes) {
    numbers[node.name].second = std::to_string(node.rank);
  }
  TableChanges changes;
  for (const auto& [id, change] : numbers) {
    if (change.first != change.second) {
      const auto name = names.find(id);
      changes.changes.push_back({"node", name == names.end() ? id : name->second, change.first, change.second, ""});
    }
  }
  return changes;
}

std::string version_text(PolicyVersion version) {
  return fmt::format("version {} ({})", policy_serial(version), version);
}

std::string fault_text(const PolicyFault& fault, const std::string& file) {
  return fmt::format("{}:{}: {}{}", file, fault.line, fault.message,
                     fault.hint.empty() ? std::string() : "\n  what to do: " + fault.hint);
}

std::string tables_text(const std::vector<TableMeaning>& tables, bool all) {
  std::string text;
  std::size_t built_in = 0;
  for (const auto& table : tables) {
    if (table.built_in && !all) {
      ++built_in;
      continue;
    }
    std::vector<std::vector<std::string>> rows;
    for (const auto& rule : table.rules) {
      rows.push_back({"  " + subject(rule.about, rule.name), rule.rule, printable(rule.meaning, kSentenceCharacters)});
    }
    // The name stands above, since it would only widen the first column.
    text += fmt::format("{}\n{}\n\n", shown(fmt::format("{}.{}", table.schema, table.table)),
                        format_table(rows.front(), {rows.begin() + 1, rows.end()}));
  }
  if (built_in > 0) {
    text += fmt::format("{} {} the built-in rules.\n", built_in, built_in == 1 ? "table has" : "tables have");
  }
  while (!text.empty() && text.back() == '\n') {
    text.pop_back();
  }
  return text;
}

Json tables_json(const std::vector<TableMeaning>& tables) {
  Json list = Json::array();
  for (const auto& table : tables) {
    Json rules = Json::array();
    for (const auto& rule : table.rules) {
      rules.push_back({{"about", rule.about}, {"name", rule.name}, {"rule", rule.rule}, {"meaning", rule.meaning}});
    }
    list.push_back(
        {{"schema", table.schema}, {"table", table.table}, {"built_in", table.built_in}, {"rules", std::move(rules)}});
  }
  return list;
}

std::string document_text(const PublishedPolicy& policy, const std::map<std::string, std::string>& names) {
  auto text = fmt::format("# {}, published by {} at {}\n", version_text(policy.version), shown(policy.published_by),
                          policy.published_at);
  const auto reading = read_policy_text(policy.document, kStoredPolicyBytesMax);
  for (const auto& node : reading.policy.nodes) {
    if (const auto name = names.find(node.name); name != names.end()) {
      text += fmt::format("# {} is {}\n", node.name, shown(name->second));
    }
  }
  text += policy.document.empty() ? "# It says nothing: the rules are the built-in ones." : "\n" + policy.document;
  while (text.back() == '\n') {
    text.pop_back();
  }
  return text;
}

Json policy_json(const PublishedPolicy& policy) {
  return {{"version", policy.version},
          {"serial", policy_serial(policy.version)},
          {"published_by", policy.published_by},
          {"published_at", policy.published_at}};
}

Json faults_json(const std::vector<PolicyFault>& faults) {
  Json list = Json::array();
  for (const auto& fault : faults) {
    list.push_back({{"line", fault.line}, {"message", fault.message}, {"hint", fault.hint}});
  }
  return list;
}

std::string changes_text(const std::vector<TableChanges>& changes) {
  std::string text;
  for (const auto& table : changes) {
    text += text.empty() ? "" : "\n\n";
    text += table.table.empty() ? "numbers of nodes" : shown(table.table);
    for (const auto& change : table.changes) {
      text += fmt::format("\n  {}: {} -> {}", subject(change.about, change.name), word_or(change.from, "none"),
                          word_or(change.to, "none"));
      text += change.meaning.empty() ? "" : fmt::format(" ({})", printable(change.meaning, kSentenceCharacters));
    }
  }
  return text;
}

Json changes_json(const std::vector<TableChanges>& changes) {
  Json list = Json::array();
  for (const auto& table : changes) {
    Json rules = Json::array();
    for (const auto& change : table.changes) {
      rules.push_back({{"about", change.about},
                       {"name", change.name},
                       {"from", change.from.empty() ? Json() : Json(change.from)},
                       {"to", change.to.empty() ? Json() : Json(change.to)},
                       {"meaning", change.meaning}});
    }
    list.push_back({{"table", table.table.empty() ? Json() : Json(table.table)}, {"changes", std::move(rules)}});
  }
  return list;
}

std::string history_text(const std::vector<PublishedPolicy>& policies) {
  if (policies.empty()) {
    return "No policy has been published; the rules are the built-in ones ('mbsync rules show').";
  }
  std::vector<std::vector<std::string>> rows;
  rows.reserve(policies.size());
  for (const auto& policy : policies) {
    rows.push_back({std::to_string(policy_serial(policy.version)), std::to_string(policy.version),
                    shown(policy.published_by), policy.published_at, rows.empty() ? "holds" : ""});
  }
  return format_table({"Version", "Number", "Published by", "At", ""}, rows);
}

Json history_json(const std::vector<PublishedPolicy>& policies) {
  Json list = Json::array();
  for (const auto& policy : policies) {
    auto entry = policy_json(policy);
    entry["holds"] = list.empty();
    list.push_back(std::move(entry));
  }
  return {{"versions", std::move(list)}};
}

}  // namespace mbsync
