#include "files.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <fstream>
#include <iterator>
#include <system_error>

namespace mbsync {
namespace {

Error failed(std::string_view doing, const std::filesystem::path& path, int number) {
  return Error{ErrorKind::kConfig,
               fmt::format("cannot {} '{}': {}", doing, path.string(), std::generic_category().message(number)),
               number == EACCES || number == EPERM ? "run it as root (sudo)" : "look at this path and at its disk"};
}

/// Of a file that is being written; gone with the object unless it was put in its place.
class NewFile {
 public:
  explicit NewFile(std::filesystem::path path) : path_(std::move(path)) {
    ::unlink(path_.c_str());
    descriptor_ = ::open(path_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
  }
  ~NewFile() {
    if (descriptor_ >= 0) {
      ::close(descriptor_);
      ::unlink(path_.c_str());
    }
  }
  NewFile(const NewFile&) = delete;
  NewFile& operator=(const NewFile&) = delete;

  [[nodiscard]] bool is_open() const { return descriptor_ >= 0; }

  bool write(std::string_view text) const {
    while (!text.empty()) {
      const auto written = ::write(descriptor_, text.data(), text.size());
      if (written < 0) {
        return false;
      }
      text.remove_prefix(static_cast<std::size_t>(written));
    }
    return true;
  }

  bool finish(const FileRights& rights, const std::filesystem::path& place) {
    if (::fchown(descriptor_, rights.owner.user, rights.owner.group) != 0 || ::fchmod(descriptor_, rights.mode) != 0 ||
        ::fsync(descriptor_) != 0 || ::rename(path_.c_str(), place.c_str()) != 0) {
      return false;
    }
    ::close(descriptor_);
    descriptor_ = -1;
    // The new name is on the disk when its directory is.
    const int directory = ::open(place.parent_path().c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    const bool synced = directory >= 0 && ::fsync(directory) == 0;
    if (directory >= 0) {
      ::close(directory);
    }
    return synced;
  }

 private:
  std::filesystem::path path_;
  int descriptor_ = -1;
};

}  // namespace

bool operator==(const FileRights& a, const FileRights& b) {
  return a.mode == b.mode && a.owner.user == b.owner.user && a.owner.group == b.owner.group;
}

Result<std::optional<FileLook>> look_at_file(const std::filesystem::path& path) {
  struct stat found {};
  if (::stat(path.c_str(), &found) != 0) {
    if (errno == ENOENT || errno == ENOTDIR) {
      return std::optional<FileLook>{};
    }
    return failed("look at", path, errno);
  }
  constexpr mode_t kBits = 07777;
  FileLook look{S_ISDIR(found.st_mode), {found.st_mode & kBits, {found.st_uid, found.st_gid}}, {}};
  look.changed = std::chrono::system_clock::from_time_t(found.st_mtim.tv_sec);
  return std::optional<FileLook>{look};
}

Result<void> make_directory(const std::filesystem::path& path, const FileRights& rights) {
  std::error_code error;
  if (!std::filesystem::is_directory(path, error)) {
    if (path.has_relative_path() && !std::filesystem::exists(path.parent_path(), error)) {
      MBSYNC_TRY(make_directory(path.parent_path(), {.mode = 0755}));
    }
    // Nobody looks into it before its rights are what they are to be.
    if (::mkdir(path.c_str(), 0700) != 0) {
      return failed("make directory", path, errno);
    }
  }
  return set_rights(path, rights);
}

Result<std::optional<FileLock>> FileLock::take(const std::filesystem::path& path) {
  const int file = ::open(path.c_str(), O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
  if (file < 0) {
    return failed("open", path, errno);
  }
  FileLock lock(file);
  if (::flock(file, LOCK_EX | LOCK_NB) == 0) {
    return std::optional(std::move(lock));
  }
  return errno == EWOULDBLOCK ? Result<std::optional<FileLock>>(std::nullopt) : failed("lock", path, errno);
}

FileLock::~FileLock() {
  if (file_ >= 0) {
    ::close(file_);
  }
}

Result<void> set_rights(const std::filesystem::path& path, const FileRights& rights) {
  const int descriptor = ::open(path.c_str(), O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
  const bool done = descriptor >= 0 && ::fchown(descriptor, rights.owner.user, rights.owner.group) == 0 &&
                    ::fchmod(descriptor, rights.mode) == 0;
  const int number = errno;
  if (descriptor >= 0) {
    ::close(descriptor);
  }
  if (!done) {
    return failed("set owner and mode of", path, number);
  }
  return {};
}

Result<void> remove_all_of(const std::filesystem::path& path) {
  std::error_code error;
  std::filesystem::remove_all(path, error);
  if (error) {
    return failed("remove", path, error.value());
  }
  return {};
}

Result<void> write_file(const std::filesystem::path& path, std::string_view text, const FileRights& rights) {
  NewFile file(path.string() + ".new");
  if (!file.is_open() || !file.write(text) || !file.finish(rights, path)) {
    return failed("write", path, errno);
  }
  return {};
}

Result<std::optional<std::string>> read_file(const std::filesystem::path& path) {
  struct stat found {};
  if (::stat(path.c_str(), &found) != 0) {
    if (errno == ENOENT || errno == ENOTDIR) {
      return std::optional<std::string>{};
    }
    return failed("read", path, errno);
  }
  std::ifstream stream(path, std::ios::binary);
  std::string text{std::istreambuf_iterator<char>(stream), std::istreambuf_iterator<char>()};
  if (!stream.good() && !stream.eof()) {
    return failed("read", path, errno != 0 ? errno : EIO);
  }
  return std::optional<std::string>{std::move(text)};
}

}  // namespace mbsync
