// httplib's Stream with limits on what is read: httplib bounds neither the number of headers nor every form of body,
// and takes some lines apart with std::regex, which goes several calls deeper for each character. (With lines of 16 KiB
// it needs 5 MiB of stack, and a thread may have no more than 2.)
#pragma once

#include <httplib.h>

#include <cstdint>
#include <limits>

namespace mbsync {

class LimitedStream : public httplib::Stream {
 public:
  static constexpr std::uint64_t kNoLimit = std::numeric_limits<std::uint64_t>::max();

  /// From now on at most so many bytes can be read, and so many without a newline among them; then reading fails.
  void limit_reads(std::uint64_t bytes, std::uint64_t line_bytes = kNoLimit);

  /// A limit was met. What is left unread is of no use, but an answer can still be written.
  [[nodiscard]] bool exhausted() const { return exhausted_; }

  ssize_t read(char* buffer, std::size_t size) final;

 protected:
  /// What read() does within the limits.
  virtual ssize_t take(char* buffer, std::size_t size) = 0;

 private:
  std::uint64_t reads_left_ = kNoLimit;
  std::uint64_t line_bytes_max_ = kNoLimit;
  std::uint64_t line_left_ = kNoLimit;
  bool exhausted_ = false;
};

}  // namespace mbsync
