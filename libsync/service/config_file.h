// The two files that configuration may come from, taken apart into names and values with their lines. What the names
// mean is decided in config.cpp. Pure: text in, entries out.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "result.h"

namespace mbsync {

struct FileEntry {
  enum class Type { kText, kInteger, kBoolean, kList, kOther };
  std::string name;
  std::vector<std::string> values;  ///< one, except for lists
  Type type = Type::kText;
  std::string type_name;  ///< as a person calls it: "a string", "a table"
  int line = 0;
};

/// TOML. `config` with file, line and column if it is not; no value is repeated in the message.
Result<std::vector<FileEntry>> parse_toml_file(std::string_view text, std::string_view file_name);

/// KEY=value lines, as systemd, Docker and shells write them: '#' comments (after a value only behind a space),
/// `export`, single quotes (literal) and double quotes (with \n, \t, \", \\ and \$), Windows line ends. `config` with
/// file and line for anything else; no value is repeated in the message.
Result<std::vector<FileEntry>> parse_env_file(std::string_view text, std::string_view file_name);

}  // namespace mbsync
