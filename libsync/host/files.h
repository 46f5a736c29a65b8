// Files and directories that an installation makes: written whole or not at all, with the owner and the rights that
// they are to have from the first byte on.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "result.h"

namespace mbsync {

struct FileOwner {
  uid_t user = 0;
  gid_t group = 0;
};

struct FileRights {
  mode_t mode = 0644;
  FileOwner owner{};
};

/// What there is at a path; symbolic links are followed.
struct FileLook {
  bool is_directory = false;
  FileRights rights;
  std::chrono::system_clock::time_point changed;
};

/// Nothing if it is not there; `config` if that cannot be found out.
Result<std::optional<FileLook>> look_at_file(const std::filesystem::path& path);

/// Replaces the file in one step; a reader sees the old one or the new one, also after a loss of power. A symbolic link
/// is replaced, not followed. `config` if it cannot.
Result<void> write_file(const std::filesystem::path& path, std::string_view text, const FileRights& rights);

/// Its text; nothing if it is not there. `config` if it cannot be read.
Result<std::optional<std::string>> read_file(const std::filesystem::path& path);

/// The directory, with those above it, if it is not there; then its rights (those above it that are made are root's,
/// 0755). `config` if it cannot.
Result<void> make_directory(const std::filesystem::path& path, const FileRights& rights);

/// Held by one program at a time, and let go of when the object or the program ends.
class FileLock {
 public:
  /// Makes the file if it is not there; it stays. Nothing: another program has it. `config` if it cannot be made.
  static Result<std::optional<FileLock>> take(const std::filesystem::path& path);
  FileLock(FileLock&& other) noexcept : file_(std::exchange(other.file_, -1)) {}
  FileLock& operator=(FileLock&& other) noexcept {
    std::swap(file_, other.file_);
    return *this;
  }
  ~FileLock();

 private:
  explicit FileLock(int file) : file_(file) {}
  int file_;
};

/// Of what is there; a symbolic link is refused.
Result<void> set_rights(const std::filesystem::path& path, const FileRights& rights);

/// With all that is in it; what is not there is no error.
Result<void> remove_all_of(const std::filesystem::path& path);

bool operator==(const FileRights& a, const FileRights& b);

}  // namespace mbsync
