// PostgreSQL's text form of a row, (1,"a ""b""",,""): what row_out makes and row_in reads. mbsync keeps rows in it
// (tombstones, losing values), since every type's own output function makes the parts, and nothing is lost.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "result.h"
#include "row_state.h"

namespace mbsync {

/// Fields in order; an empty field is NULL, "" the empty string, and "()" one NULL. `corrupt` for anything that row_in
/// would refuse, and for more than kColumnNumberMax fields.
Result<std::vector<Value>> parse_record(std::string_view text);
/// Byte for byte what row_out makes of at least one field; keys of several columns are compared in this form.
std::string format_record(const std::vector<Value>& fields);
/// An array of texts as array_in reads it: {"a","b \"c\""}.
std::string format_array(const std::vector<std::string>& items);

}  // namespace mbsync
