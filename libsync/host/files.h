// Files that an installation makes: written whole or not at all, with the owner and the rights that they are to have
// from the first byte on.
#pragma once

#include <sys/types.h>

#include <filesystem>
#include <optional>
#include <string>
#include <string_view>

#include "result.h"

namespace mbsync {

struct FileOwner {
  uid_t user = 0;
  gid_t group = 0;
};

struct FileRights {
  mode_t mode = 0644;
  std::optional<FileOwner> owner{};  ///< none: whoever writes it
};

/// Replaces the file in one step; a reader sees the old one or the new one. `config` if it cannot.
Result<void> write_file(const std::filesystem::path& path, std::string_view text, const FileRights& rights);

/// Its text; nothing if it is not there. `config` if it cannot be read.
Result<std::optional<std::string>> read_file(const std::filesystem::path& path);

}  // namespace mbsync
