// Questions to a person at a terminal. Asked on stderr, so that stdout stays what a command has to say.
#pragma once

#include <string>
#include <string_view>

#include "result.h"

namespace mbsync {

/// Somebody is there to be asked: stdin and stderr are a terminal.
bool is_at_terminal();

/// A line, without its line break; `cancelled` if there is none to come (end of input, Ctrl-C).
Result<std::string> ask(std::string_view question);
/// The same, and what is typed is not shown.
Result<std::string> ask_secret(std::string_view question);
/// "y" or "yes", in any case, is yes; an empty line is `otherwise`; all else is no.
Result<bool> ask_yes(std::string_view question, bool otherwise);

}  // namespace mbsync
