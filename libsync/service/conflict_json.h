// Conflicts and decisions as JSON, for commands and the local port alike. Pure. Stable: members are added, none is
// changed or removed.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "resolution.h"
#include "result.h"

namespace mbsync {

nlohmann::ordered_json list_json(const ConflictList& list);
/// Versions, what was decided, the row as it is, and what came after.
nlohmann::ordered_json details_json(const ConflictDetails& details);

/// What became of each conflict that was to be decided.
struct DecisionResult {
  std::string id;
  Result<DecisionReport> report;
};
nlohmann::ordered_json results_json(const std::vector<DecisionResult>& results);

}  // namespace mbsync
