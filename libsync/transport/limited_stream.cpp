#include "limited_stream.h"

#include <algorithm>
#include <string_view>

namespace mbsync {

void LimitedStream::limit_reads(std::uint64_t bytes, std::uint64_t line_bytes) {
  reads_left_ = bytes;
  line_bytes_max_ = line_bytes;
  line_left_ = line_bytes;
}

ssize_t LimitedStream::read(char* buffer, std::size_t size) {
  const std::uint64_t allowed = std::min(reads_left_, line_left_);
  if (size > 0 && allowed == 0) {
    exhausted_ = true;
    return -1;
  }
  const ssize_t taken = take(buffer, static_cast<std::size_t>(std::min<std::uint64_t>(size, allowed)));
  if (taken <= 0) {
    return taken;
  }
  const auto bytes = static_cast<std::uint64_t>(taken);
  reads_left_ -= reads_left_ == kNoLimit ? 0 : bytes;
  if (line_bytes_max_ != kNoLimit) {
    const std::string_view read(buffer, static_cast<std::size_t>(taken));
    const auto newline = read.rfind('\n');
    line_left_ = newline == std::string_view::npos ? line_left_ - bytes : line_bytes_max_ - (bytes - newline - 1);
  }
  return taken;
}

}  // namespace mbsync
