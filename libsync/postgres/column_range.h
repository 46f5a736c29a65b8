// Whether a value that was computed here has room in its column; what came from a column always has.
#pragma once

#include <string>

#include "schema.h"

namespace mbsync {

/// Empty if it has, or if the type has no limit that is known here; else why not, in PostgreSQL's words.
std::string misfit(const Column& column, const std::string& value);

}  // namespace mbsync
