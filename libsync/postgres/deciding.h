// What a person's decision makes of the application's row: which values it is to have, whether it is still what the
// conflict left, and the statement that writes it.
#pragma once

#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "connection.h"
#include "resolution.h"
#include "schema.h"

namespace mbsync {

/// A text member of a resolution (mbsync.conflict_record.resolution); empty if there is none.
std::string text_of(const nlohmann::json& object, const char* member);

/// The changes that a resolution made: column, before, after.
std::vector<DecisionReport::Change> changes_of(const nlohmann::json& resolution);

// One decision, inside a transaction that the caller ends. Errors as of ConflictDesk::decide().
class Deciding {
 public:
  Deciding(PgConnection& db, const Conflict& conflict, const Decision& decision, const Table* table, RowNow row);

  /// Writes the row, as far as it has to be written.
  Result<void> write();
  [[nodiscard]] bool wrote() const { return wrote_; }
  /// What the write made of the row, triggers and defaults included.
  void compare(const RowNow& after);
  [[nodiscard]] DecisionReport& report() { return report_; }
  [[nodiscard]] std::optional<int> version() const { return version_; }

 private:
  // What the conflict left behind: its outcome, and what people have made of it since.
  struct Expected {
    bool exists = true;
    std::map<std::string, Value> values;
  };
  static Expected expected_after(const Conflict& conflict);

  [[nodiscard]] std::string difference(const std::vector<std::string>& columns) const;
  [[nodiscard]] std::vector<std::string> all_columns() const;
  Result<void> tell_of_changes();
  Result<std::string> waits_for();
  Result<void> check_row_is_here();
  Result<void> check(const std::vector<std::string>& concerned);
  Result<void> keep();
  Result<void> set();
  Result<void> put(const NamedValues& target, const ConflictVersionSeen* version);
  Result<void> remove_row(const ConflictVersionSeen& deletion);
  Result<void> stand_by();
  Result<void> check_nothing_written_since();
  Result<void> check_references();
  Result<void> undo();
  [[nodiscard]] bool is_key(const Column& column) const;
  Result<NamedValues> completed(const NamedValues& target, const ConflictVersionSeen* version);
  static const Value* in(const ConflictVersionSeen& version, const std::string& column);
  Result<NamedValues> key_values();
  Result<void> update(const NamedValues& target);
  Result<std::vector<std::string>> captured();
  Result<void> write_counters_whole(const std::vector<std::string>& captured_before);
  Result<void> insert(const NamedValues& whole);
  Result<void> remove();
  Result<void> as_application();
  Result<void> as_mbsync();
  Result<void> written(const std::string& statement, const std::vector<Value>& params);

  PgConnection& db_;
  const Conflict& conflict_;
  const Decision& decision_;
  const Table* table_;
  RowNow row_;
  Expected expected_;
  DecisionReport report_;
  std::optional<int> version_;
  bool wrote_ = false;
  bool stands_ = false;  ///< the row is there, after what has been written
};

}  // namespace mbsync
