// One conflict as mbsync.conflict_record keeps it: the same on whichever node it is judged. Pure.
#pragma once

#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "row_state.h"

namespace mbsync {

/// One of the sides. `values`: by column name, text or null; of a deletion, the row as it was.
struct ConflictVersion {
  std::string node;  ///< the origin in hexadecimal, or "fleet" for rows whose origin is forgotten
  std::int64_t counter = 0;
  WriteTime at = kTimeUnknown;
  bool deleted = false;
  std::string key = {};  ///< of the row, where the versions are of several
  nlohmann::json values = nlohmann::json::object();
};

struct ConflictColumn {
  std::string name;
  std::string rule;
  std::optional<std::size_t> version;  ///< the winner's place in `versions`; nothing: `value` was computed
  nlohmann::json value;
  std::string note = {};  ///< why the rule did not decide as it says
};

struct ConflictRecord {
  std::string kind;  ///< values, existence, unique, reference, newcomer
  std::string schema;
  std::string table;
  std::string key;
  std::vector<ConflictVersion> versions;  ///< in the order of time, then node and counter
  std::vector<ConflictColumn> columns;    ///< those that differ
  bool exists = true;                     ///< whether the row is there now
  std::string existence_rule;             ///< what decided that, if it was in question
  std::optional<std::size_t> existence_version;
  bool is_open = false;

  /// "05f3...:4" of each version, with "=key" where it is of another row: one write may have made many rows.
  [[nodiscard]] std::vector<std::string> dots() const;
  /// What the id is computed from; does not depend on values. What became of the row as a whole is part of it, since
  /// the same versions may come to something else once there is a write of a newer policy beside them (CONFLICTS.md
  /// C11).
  [[nodiscard]] std::string signature() const;
  /// The columns of pg_temp.new_conflict, in order.
  [[nodiscard]] std::vector<Value> line() const;
};

/// The columns of pg_temp.new_conflict.
inline constexpr const char* kNewConflictColumns =
    "signature text, kind text, schema_name text, table_name text, key text, dots text[], columns text[], versions "
    "text, "
    "outcome text, at_us bigint, is_open boolean";

/// "2026-01-31T10:00:00.5Z"; null for kTimeUnknown.
nlohmann::json iso_time(WriteTime at);

}  // namespace mbsync
