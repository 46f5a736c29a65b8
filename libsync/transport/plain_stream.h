// A TCP connection without TLS as httplib's Stream, for the local port: every wait bounded and interruptible. One
// thread.
#pragma once

#include <chrono>
#include <functional>
#include <string>

#include "limited_stream.h"
#include "socket.h"

namespace mbsync {

class PlainStream : public LimitedStream {
 public:
  /// Whether to give up what is being written; `since`: from when on the other side has taken nothing.
  using WriteCheck = std::function<bool(Deadline since)>;

  /// Borrows the socket, which is non-blocking. `write_silence_max`: for how long nothing may be taken by the other
  /// side. `stopped`: of reading; both are asked often.
  PlainStream(int fd, std::chrono::milliseconds write_silence_max, StopCheck stopped, WriteCheck gives_up = {});

  /// From now on reading fails after this, even if something comes now and then; the same for writing.
  void limit_reads_until(Deadline deadline) { reads_until_ = deadline; }
  void limit_writes_until(Deadline deadline) { writes_until_ = deadline; }

  [[nodiscard]] bool failed() const { return failed_; }

  [[nodiscard]] bool is_readable() const override;
  [[nodiscard]] bool is_writable() const override;
  ssize_t write(const char* bytes, std::size_t size) override;
  void get_remote_ip_and_port(std::string& ip, int& port) const override;
  void get_local_ip_and_port(std::string& ip, int& port) const override;
  [[nodiscard]] socket_t socket() const override { return fd_; }

 protected:
  ssize_t take(char* buffer, std::size_t size) override;

 private:
  int fd_;
  std::chrono::milliseconds write_silence_max_;
  StopCheck stopped_;
  WriteCheck gives_up_;
  Deadline reads_until_ = Deadline::max();
  Deadline writes_until_ = Deadline::max();
  bool failed_ = false;
};

}  // namespace mbsync
