// One line of COPY's text format: fields between tabs, \N for NULL, backslash escapes.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "result.h"
#include "row_state.h"

namespace mbsync {

/// `line` without its newline. `corrupt` for what COPY would refuse: a lone backslash at the end, the end mark "\.", a
/// bare newline or carriage return, a zero byte; and for more than kCopyFieldsMax fields.
Result<std::vector<Value>> parse_copy_line(std::string_view line);
void append_copy_field(std::string& out, const Value& field);               ///< escaped, without tab or newline
void append_copy_line(std::string& out, const std::vector<Value>& fields);  ///< with its newline

}  // namespace mbsync
