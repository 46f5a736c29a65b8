// Where an answer waits until it is whole: in memory while it is small, then in a file without a name, which is gone
// when the spool is, or the process. Written first, then read once from the start; not by two threads at a time.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>

#include "result.h"

namespace mbsync {

class Spool {
 public:
  Spool(std::filesystem::path directory, std::size_t memory_bytes_max);
  ~Spool();
  Spool(const Spool&) = delete;
  Spool& operator=(const Spool&) = delete;

  /// `config` if the directory cannot be used, `transient` if the disk is full or fails; with the path and a hint.
  Result<void> write(std::string_view bytes);

  /// Copies the next up to `size` bytes to `buffer`; 0 at the end. No write() after it.
  Result<std::size_t> read(char* buffer, std::size_t size);

  [[nodiscard]] std::uint64_t size() const { return size_; }
  [[nodiscard]] bool on_disk() const { return fd_ >= 0; }

 private:
  Result<void> open_file();
  Result<void> write_to_file(std::string_view bytes);

  std::filesystem::path directory_;
  std::size_t memory_bytes_max_;
  std::string memory_;
  int fd_ = -1;
  std::uint64_t size_ = 0;
  std::uint64_t read_ = 0;
};

}  // namespace mbsync
