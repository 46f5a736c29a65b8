// The one place where what PostgreSQL and libpqxx report becomes an Error.
#pragma once

#include <exception>
#include <string>
#include <string_view>

#include "error.h"

namespace mbsync {

/// By SQLSTATE: class 40, 53, 57, 58, 08, 55P03 and 25006 are transient, also what has none; 57014 is cancelled; what
/// lies in the data (22, 23, 38, 39, 44, 54, P0) is a conflict; 28, 3D and 42501 are a matter of configuration,
/// everything else is rejected. The message is the server's first line: details and contexts, which quote rows, are
/// left out. What may quote values all the same (an input that is no number, a trigger that raises) is the error's
/// `of_row`.
Error error_from_sqlstate(std::string_view sqlstate, std::string_view message);

/// Call inside a catch block.
Error error_from_current_exception();
std::string sqlstate_of_current_exception();  ///< empty if it is none of PostgreSQL's

}  // namespace mbsync
