#include "files.h"

#include <fcntl.h>
#include <fmt/format.h>
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
    if ((rights.owner && ::fchown(descriptor_, rights.owner->user, rights.owner->group) != 0) ||
        ::fchmod(descriptor_, rights.mode) != 0 || ::fsync(descriptor_) != 0 ||
        ::rename(path_.c_str(), place.c_str()) != 0) {
      return false;
    }
    ::close(descriptor_);
    descriptor_ = -1;
    return true;
  }

 private:
  std::filesystem::path path_;
  int descriptor_ = -1;
};

}  // namespace

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
