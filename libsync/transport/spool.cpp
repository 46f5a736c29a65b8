#include "spool.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <system_error>

namespace mbsync {

Spool::Spool(std::filesystem::path directory, std::size_t memory_bytes_max)
    : directory_(std::move(directory)), memory_bytes_max_(memory_bytes_max) {}

Spool::~Spool() {
  if (fd_ >= 0) {
    ::close(fd_);
  }
}

Result<void> Spool::open_file() {
  constexpr mode_t kOwnerOnly = S_IRUSR | S_IWUSR;
  fd_ = ::open(directory_.c_str(), O_TMPFILE | O_RDWR | O_CLOEXEC, kOwnerOnly);
  // Some file systems, among them NFS, have no files without a name; there it has one for an instant.
  if (fd_ < 0 && (errno == EOPNOTSUPP || errno == EISDIR)) {
    std::string name = (directory_ / "mbsync-spool-XXXXXX").string();
    fd_ = ::mkostemp(name.data(), O_CLOEXEC);
    if (fd_ >= 0) {
      ::unlink(name.c_str());
    }
  }
  if (fd_ < 0) {
    return Error{ErrorKind::kConfig,
                 fmt::format("cannot make a temporary file in '{}': {}", directory_.string(),
                             std::generic_category().message(errno)),
                 "the directory must exist and be writable for mbsync"};
  }
  return {};
}

Result<void> Spool::write_to_file(std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t taken = ::write(fd_, bytes.data(), bytes.size());
    if (taken < 0 && errno == EINTR) {
      continue;
    }
    if (taken <= 0) {
      return Error{ErrorKind::kTransient,
                   fmt::format("cannot write a temporary file in '{}': {}", directory_.string(),
                               std::generic_category().message(errno)),
                   fmt::format("free some space; the answer needs more than {} MB there", (size_ >> 20U) + 1)};
    }
    bytes.remove_prefix(static_cast<std::size_t>(taken));
  }
  return {};
}

Result<void> Spool::write(std::string_view bytes) {
  MBSYNC_CHECK(read_ == 0, "a spool is written after it was read");
  if (fd_ < 0 && memory_.size() + bytes.size() <= memory_bytes_max_) {
    memory_.append(bytes);
  } else {
    if (fd_ < 0) {
      MBSYNC_TRY(open_file());
      MBSYNC_TRY(write_to_file(memory_));
      memory_ = std::string();
    }
    MBSYNC_TRY(write_to_file(bytes));
  }
  size_ += bytes.size();
  return {};
}

Result<std::size_t> Spool::read(char* buffer, std::size_t size) {
  const auto wanted = static_cast<std::size_t>(std::min<std::uint64_t>(size, size_ - read_));
  if (fd_ < 0) {
    std::memcpy(buffer, memory_.data() + read_, wanted);
    read_ += wanted;
    return wanted;
  }
  ssize_t taken = 0;
  do {
    taken = ::pread(fd_, buffer, wanted, static_cast<off_t>(read_));
  } while (taken < 0 && errno == EINTR);
  if (taken < 0 || (taken == 0 && wanted > 0)) {
    return Error{ErrorKind::kTransient,
                 fmt::format("cannot read back a temporary file in '{}': {}", directory_.string(),
                             taken < 0 ? std::generic_category().message(errno) : "it is shorter than it was"),
                 "check that disk"};
  }
  read_ += static_cast<std::uint64_t>(taken);
  return static_cast<std::size_t>(taken);
}

}  // namespace mbsync
