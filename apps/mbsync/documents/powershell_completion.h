// The script with which PowerShell completes a program's command line.
#pragma once

#include <string>

#include "documents/command_tree.h"

namespace mbsync {

/// For `program` and all of its commands; PowerShell 5.1 (Windows) and later. ASCII alone where the texts of --help
/// are.
std::string powershell_completion(const Command& program);

/// A string that PowerShell takes as it stands, whatever is in it.
std::string powershell_quoted(const std::string& text);

}  // namespace mbsync
