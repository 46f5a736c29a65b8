// How mbsync rules look: as text for people and as JSON for scripts. Pure. The JSON is stable: members are added, none
// is changed or removed.
#pragma once

#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "policy_desk.h"

namespace mbsync {

/// What holds before anything is published, as a document with explanations that can be edited and applied.
extern const char* const kBuiltInDocument;

/// A rule that a table had, and the one that it gets; an empty word where there was or will be none.
struct RuleChange {
  std::string about;  ///< as RuleMeaning has it; "node": a node's number
  std::string name;
  std::string from;
  std::string to;
  std::string meaning;  ///< of what it gets
};
struct TableChanges {
  std::string table;  ///< schema.name; empty for the nodes
  std::vector<RuleChange> changes;
};
/// Table by table, without those where nothing changes.
std::vector<TableChanges> changes_between(const std::vector<TableMeaning>& before,
                                          const std::vector<TableMeaning>& after);
/// Numbers of nodes that change; `names` by id.
TableChanges node_changes(const Policy& before, const Policy& after, const std::map<std::string, std::string>& names);

/// "version 4 (17212345678)": the serial number, and the number that is the version's own.
std::string version_text(PolicyVersion version);
std::string fault_text(const PolicyFault& fault, const std::string& file);

/// Tables whose rules are not the built-in ones; with `all`, the others too.
std::string tables_text(const std::vector<TableMeaning>& tables, bool all);
nlohmann::ordered_json tables_json(const std::vector<TableMeaning>& tables);

/// The document, with what is known about it as comments.
std::string document_text(const PublishedPolicy& policy, const std::map<std::string, std::string>& names);
nlohmann::ordered_json policy_json(const PublishedPolicy& policy);

nlohmann::ordered_json faults_json(const std::vector<PolicyFault>& faults);

std::string changes_text(const std::vector<TableChanges>& changes);
nlohmann::ordered_json changes_json(const std::vector<TableChanges>& changes);

std::string history_text(const std::vector<PublishedPolicy>& policies);
nlohmann::ordered_json history_json(const std::vector<PublishedPolicy>& policies);

}  // namespace mbsync
