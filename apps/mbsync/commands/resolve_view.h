// How conflicts and decisions look: as text for people and as JSON for scripts. Pure. The JSON is stable: members are
// added, none is changed or removed.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "error.h"
#include "resolution.h"

namespace mbsync {

/// The beginning of an id that people type.
std::string short_id(const std::string& id);
/// One line, control characters escaped, at most so many characters; "(null)" and "(empty)" for what cannot be seen.
std::string printable(const Value& value, std::size_t characters_max);

std::string list_text(const ConflictList& list, const ConflictFilter& filter);
nlohmann::ordered_json list_json(const ConflictList& list);

/// Versions side by side, the row as it is, and what came after.
std::string details_text(const ConflictDetails& details);
nlohmann::ordered_json details_json(const ConflictDetails& details);

/// What became of each conflict that was to be decided.
struct DecisionResult {
  std::string id;
  Result<DecisionReport> report;
};
std::string decision_text(const DecisionReport& report);
std::string results_text(const std::vector<DecisionResult>& results);
nlohmann::ordered_json results_json(const std::vector<DecisionResult>& results);

}  // namespace mbsync
