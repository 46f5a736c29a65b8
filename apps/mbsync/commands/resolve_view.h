// How conflicts and decisions look as text for people. Pure. As JSON: conflict_json.h.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "conflict_json.h"
#include "resolution.h"

namespace mbsync {

/// The beginning of an id that people type.
std::string short_id(const std::string& id);
/// One line, control characters escaped, at most so many characters; "(null)" and "(empty)" for what cannot be seen.
std::string printable(const Value& value, std::size_t characters_max);

std::string list_text(const ConflictList& list, const ConflictFilter& filter);

/// Versions side by side, the row as it is, and what came after.
std::string details_text(const ConflictDetails& details);

std::string decision_text(const DecisionReport& report);
std::string results_text(const std::vector<DecisionResult>& results);

}  // namespace mbsync
