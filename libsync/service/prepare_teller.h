// Says in the log, and in the events, what a look at the database has found: each thing when it is new. One thread.
#pragma once

#include <set>
#include <string>
#include <utility>

#include "config.h"
#include "node_activity.h"
#include "pg_store.h"

namespace mbsync {

class PrepareTeller {
 public:
  /// Both must outlive the object.
  PrepareTeller(const DatabaseUrl& database, NodeActivity& activity) : database_(database), activity_(activity) {}

  /// `self`: of the store that has made the report.
  void tell(const Member& self, const PrepareReport& report);

 private:
  void tell_tables(const PrepareReport& report);
  void tell_policy(const PrepareReport& report);
  /// What the role and the application's triggers mean for applying.
  static void tell_role(const PrepareReport& report);

  const DatabaseUrl& database_;
  NodeActivity& activity_;
  std::set<std::pair<std::string, std::string>> refused_;
  std::set<std::string> tables_told_;
  std::set<std::string> policy_trouble_;
  bool first_ = true;
};

}  // namespace mbsync
