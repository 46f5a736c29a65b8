// The fleet's policy as a person meets it: the document that holds, those before it, what a document would mean for the
// tables of this database, and its publication. Public beside pg_store.h, for commands that work while a node runs:
// nothing is claimed, and no lock is held between two calls.
//
// What is published is a row of mbsync.policy, which is captured and travels like the application's own. The form of
// the document is described in libsync/policy/POLICY.md.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "database_url.h"
#include "policy_text.h"
#include "result.h"

namespace mbsync {

struct PublishedPolicy {
  PolicyVersion version = kBuiltInPolicy;
  std::string document;
  std::string published_by;  ///< the node's name
  std::string published_at;  ///< ISO
};

/// One rule of a table, and what it comes to.
struct RuleMeaning {
  std::string about;    ///< columns (all that have no rule of their own), column, group, delete, keep_both, unique
  std::string name;     ///< of the column, the group's columns, or the unique constraint or index; else empty
  std::string rule;     ///< the document's word
  std::string meaning;  ///< what happens, as half a sentence
  bool operator==(const RuleMeaning&) const = default;
};

struct TableMeaning {
  std::string schema;
  std::string table;
  bool built_in = true;  ///< nothing is different from what holds without a policy
  std::vector<RuleMeaning> rules;
};

struct PolicyCheck {
  std::vector<PolicyFault> faults;    ///< in the order of lines; such a document is not published
  std::vector<PolicyFault> warnings;  ///< in the order of lines
  std::vector<TableMeaning> tables;   ///< all that take part; empty if the document cannot be read
  Policy policy;                      ///< with node ids for names, and the functions' hashes; for publishing
};

struct Publication {
  PolicyCheck check;  ///< with faults: nothing has been published
  PolicyVersion version = kBuiltInPolicy;
  bool published = false;  ///< else, without faults: `version` says the same already, and holds
};

/// One session with the database. One thread.
class PolicyDesk {
 public:
  /// Errors as PgConnection::open() has them; `not_found` without a schema mbsync.
  static Result<std::unique_ptr<PolicyDesk>> open(const DatabaseUrl& url);
  ~PolicyDesk();
  PolicyDesk(const PolicyDesk&) = delete;
  PolicyDesk& operator=(const PolicyDesk&) = delete;

  /// Nothing, if none has been published: then the rules are the built-in ones.
  Result<std::optional<PublishedPolicy>> current();
  /// All that are known here, the highest version first.
  Result<std::vector<PublishedPolicy>> history();
  /// By number or serial number. `not_found`; `rejected` if two nodes have published under one serial number.
  Result<PublishedPolicy> find(const std::string& version);

  /// What `document` says of this database's tables, and whether it can.
  Result<PolicyCheck> check(std::string_view document);
  /// What a published document means here; what it names that is not here does not matter. `corrupt` if it is none.
  Result<std::vector<TableMeaning>> meaning(const PublishedPolicy& policy);
  /// Names of nodes by their ids in hexadecimal, for people.
  Result<std::map<std::string, std::string>> node_names();

  /// Publications in one database queue up. `over`: the version that was shown to the person who decides; `rejected` if
  /// another one holds meanwhile. `transient` if another publication does not end, or the database went away.
  Result<Publication> publish(std::string_view document, std::optional<PolicyVersion> over = std::nullopt);

 private:
  struct Impl;
  explicit PolicyDesk(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace mbsync
