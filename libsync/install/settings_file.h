// Puts a setting into the text of mbsync.toml or service.env and leaves everything else as a person wrote it: comments,
// order, form. Pure.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "config_file.h"
#include "result.h"

namespace mbsync {

/// Replaces the entry, however many lines it takes, or appends it. `config` if the text is not TOML.
Result<std::string> set_in_toml(std::string_view text, std::string_view name, FileEntry::Type type,
                                const std::vector<std::string>& values);

/// Replaces the last line that sets it, which is the one that counts, or appends one. `config` if the text is none that
/// parse_env_file() takes, or if the value cannot be written on one line.
Result<std::string> set_in_env(std::string_view text, std::string_view name, std::string_view value);

}  // namespace mbsync
