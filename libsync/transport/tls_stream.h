// A TLS connection as httplib's Stream: every wait bounded and interruptible, reads limited where that is wanted, and
// the reason kept when the connection breaks. Used by server and client alike; one thread.
#pragma once

#include <openssl/ssl.h>

#include <chrono>
#include <optional>
#include <string>

#include "limited_stream.h"
#include "socket.h"

namespace mbsync {

class TlsStream : public LimitedStream {
 public:
  struct Limits {
    std::chrono::milliseconds read_silence_max;
    std::chrono::milliseconds write_silence_max;
  };

  /// Borrows both; the socket is non-blocking and the handshake done.
  TlsStream(SSL& connection, int fd, Limits limits, StopCheck stopped);

  /// From now on reading fails after this, even if something comes now and then.
  void limit_reads_until(Deadline deadline) { reads_until_ = deadline; }

  /// Waits until there is something to read, or the other side has gone.
  Waited wait_readable(Deadline deadline);

  /// Why reading or writing has failed first; nothing while all is well.
  [[nodiscard]] const std::optional<Error>& failure() const { return failure_; }
  /// Any byte has been read since the stream was made.
  [[nodiscard]] bool has_read() const { return has_read_; }

  [[nodiscard]] bool is_readable() const override;
  /// False once the other side has closed: neither side of this protocol closes its half and goes on listening.
  [[nodiscard]] bool is_writable() const override;
  ssize_t write(const char* bytes, std::size_t size) override;
  void get_remote_ip_and_port(std::string& ip, int& port) const override;
  void get_local_ip_and_port(std::string& ip, int& port) const override;
  [[nodiscard]] socket_t socket() const override { return fd_; }

 protected:
  ssize_t take(char* buffer, std::size_t size) override;

 private:
  /// After an SSL call that did not work: true if it is to be tried again.
  bool may_retry(int result, Deadline deadline);
  void fail(ErrorKind kind, std::string message);

  SSL* connection_;
  int fd_;
  Limits limits_;
  StopCheck stopped_;
  Deadline reads_until_ = Deadline::max();
  std::optional<Error> failure_;
  bool has_read_ = false;
};

}  // namespace mbsync
