// What a node needs of its database, looked at without changing anything: for smoke-check, and before a node starts.
#pragma once

#include <chrono>
#include <filesystem>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "database_url.h"
#include "message.h"
#include "result.h"
#include "table_choice.h"

namespace mbsync {

/// 120000 for 12.0: generated columns and pg_partition_tree(), which mbsync reads the catalog by, came with it.
inline constexpr int kServerVersionMin = 120000;

struct DatabaseFacts {
  int server_version = 0;               ///< 150020 for 15.20
  std::string server_text;              ///< "15.20"
  std::string database;                 ///< quoted, to be put into a statement
  std::string role;                     ///< quoted as well
  std::string encoding;                 ///< of the server: "UTF8"
  bool standby = false;                 ///< it takes no writes
  bool may_create = false;              ///< a schema in this database
  bool may_bypass = false;              ///< SET session_replication_role
  std::optional<Error> schema_trouble;  ///< schema mbsync is of another version, or not this role's
  bool schema_there = false;
  bool schema_older = false;   ///< that is the trouble: the next start brings it up to date
  std::optional<Member> self;  ///< the node that this database belongs to
  bool node_at_work = false;   ///< some mbsync has claimed it

  std::vector<std::string> tables;                           ///< that take part
  std::vector<std::pair<std::string, std::string>> refused;  ///< with the reason
  bool refused_on_purpose = true;                            ///< each of them, by choice or by default
  std::vector<std::string> not_owned;                        ///< of `tables`, quoted; the role must own them
  std::vector<std::string> without_triggers;                 ///< of `tables`, where capture is not in place
  std::vector<std::string> unmatched;                        ///< patterns of the choice that match no table

  std::chrono::milliseconds clock_ahead{0};  ///< the server's clock, compared with this machine's
  std::chrono::milliseconds took{0};         ///< for all of it
  std::filesystem::path data_directory;      ///< empty if the role may not know it
  bool on_this_machine = false;              ///< reached by a Unix socket or a loopback address
};

/// `config` where only a person can help (password, database, role), `transient` where waiting may (about the database,
/// both), `transient` as well when there is no answer in `patience`.
Result<DatabaseFacts> read_database_facts(const DatabaseUrl& url, const TableChoice& choice,
                                          std::chrono::milliseconds patience);

/// The server is there, and does not take anybody yet: it starts, or recovers. Waiting helps for certain.
bool is_starting(const Error& error);
/// Nothing answers there; shortly after the machine was switched on, waiting may help.
bool is_not_there(const Error& error);

}  // namespace mbsync
