// The script with which bash completes a program's command line.
#pragma once

#include <string>

#include "documents/command_tree.h"

namespace mbsync {

/// For `program` and all of its commands. It needs bash 4 and nothing else, also not the package bash-completion.
std::string bash_completion(const Command& program);

}  // namespace mbsync
