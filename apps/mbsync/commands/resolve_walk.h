// The guided walk through conflicts, one after the other, and how a person writes "column=value". Reads and writes
// streams, so that a test can be the person.
#pragma once

#include <iosfwd>
#include <string>

#include "resolution.h"
#include "result.h"

namespace mbsync {

/// "column=value" or "column:=null". The value is everything after the first =, quotes and spaces included.
Result<std::pair<std::string, Value>> parse_assignment(const std::string& text);

struct WalkCounts {
  std::size_t resolved = 0;
  std::size_t skipped = 0;
  std::size_t left = 0;  ///< not looked at, since the person has had enough
};

/// Shows each conflict that `filter` names and asks what is to be done. The end of `in` is a quit. Errors of single
/// decisions are told and asked again; the result is an error only where the conflicts cannot be read.
Result<WalkCounts> walk_conflicts(ConflictDesk& desk, const ConflictFilter& filter, std::istream& in,
                                  std::ostream& out);

}  // namespace mbsync
