// A connection in memory: reads what it was given, remembers what is written.
#pragma once

#include <cstring>
#include <string>
#include <string_view>

#include "limited_stream.h"

namespace mbsync::fuzz {

class MemoryStream : public LimitedStream {
 public:
  explicit MemoryStream(std::string_view input) : input_(input) {}

  [[nodiscard]] bool at_end() const { return taken_ == input_.size(); }
  [[nodiscard]] std::size_t taken() const { return taken_; }
  [[nodiscard]] const std::string& written() const { return written_; }

  [[nodiscard]] bool is_readable() const override { return !at_end(); }
  [[nodiscard]] bool is_writable() const override { return true; }
  ssize_t write(const char* bytes, std::size_t size) override {
    written_.append(bytes, size);
    return static_cast<ssize_t>(size);
  }
  void get_remote_ip_and_port(std::string& ip, int& port) const override {
    ip = "127.0.0.1";
    port = 0;
  }
  void get_local_ip_and_port(std::string& ip, int& port) const override { get_remote_ip_and_port(ip, port); }
  [[nodiscard]] socket_t socket() const override { return 0; }

 protected:
  ssize_t take(char* buffer, std::size_t size) override {
    const std::size_t taken = std::min(size, input_.size() - taken_);
    if (taken == 0) {
      return -1;
    }
    std::memcpy(buffer, input_.data() + taken_, taken);
    taken_ += taken;
    return static_cast<ssize_t>(taken);
  }

 private:
  std::string_view input_;
  std::size_t taken_ = 0;
  std::string written_;
};

}  // namespace mbsync::fuzz
