#include "tls_stream.h"

#include <fmt/format.h>
#include <openssl/err.h>
#include <poll.h>

#include <algorithm>
#include <cstdint>
#include <limits>

namespace mbsync {
namespace {

constexpr const char* kTooSlow = "the other side takes too long to send";

int as_int(std::uint64_t size) {
  return static_cast<int>(std::min<std::uint64_t>(size, std::numeric_limits<int>::max()));
}

}  // namespace

TlsStream::TlsStream(SSL& connection, int fd, Limits limits, StopCheck stopped)
    : connection_(&connection), fd_(fd), limits_(limits), stopped_(std::move(stopped)) {}

void TlsStream::fail(ErrorKind kind, std::string message) {
  if (!failure_) {
    failure_ = Error{kind, std::move(message), ""};
  }
}

Waited TlsStream::wait_readable(Deadline deadline) {
  return SSL_pending(connection_) > 0 ? Waited::kReady : wait_for(fd_, POLLIN, deadline, stopped_);
}

bool TlsStream::is_readable() const {
  return SSL_pending(connection_) > 0 ||
         wait_for(fd_, POLLIN, std::chrono::steady_clock::now() + limits_.read_silence_max, stopped_) == Waited::kReady;
}

bool TlsStream::is_writable() const {
  return !failure_ && !hung_up(fd_);
}

bool TlsStream::may_retry(int result, Deadline deadline) {
  const int why = SSL_get_error(connection_, result);
  if (why != SSL_ERROR_WANT_READ && why != SSL_ERROR_WANT_WRITE) {
    // Which of the many ways a connection can break makes no difference to anybody.
    fail(ErrorKind::kTransient, "the connection was closed by the other side");
    ERR_clear_error();
    return false;
  }
  switch (wait_for(fd_, why == SSL_ERROR_WANT_READ ? POLLIN : POLLOUT, deadline, stopped_)) {
    case Waited::kReady:
      return true;
    case Waited::kTimeout:
      fail(ErrorKind::kTransient, deadline == reads_until_ ? kTooSlow : "the other side has fallen silent");
      return false;
    case Waited::kStopped:
      fail(ErrorKind::kCancelled, "asked to stop");
      return false;
  }
  return false;
}

ssize_t TlsStream::take(char* buffer, std::size_t size) {
  if (failure_ || size == 0) {
    return failure_ ? -1 : 0;
  }
  // A peer that sends without pause never makes this wait, so waiting is too late to look.
  if (stopped_ && stopped_()) {
    fail(ErrorKind::kCancelled, "asked to stop");
    return -1;
  }
  const auto now = std::chrono::steady_clock::now();
  if (now >= reads_until_) {
    fail(ErrorKind::kTransient, kTooSlow);
    return -1;
  }
  const auto deadline = std::min(now + limits_.read_silence_max, reads_until_);
  for (;;) {
    ERR_clear_error();
    const int taken = SSL_read(connection_, buffer, as_int(size));
    if (taken > 0) {
      has_read_ = true;
      return taken;
    }
    if (!may_retry(taken, deadline)) {
      return -1;
    }
  }
}

ssize_t TlsStream::write(const char* bytes, std::size_t size) {
  if (failure_ || size == 0) {
    return failure_ ? -1 : 0;
  }
  // A stop is looked at only when this has to wait: the word of goodbye is written after it, and whoever has much to
  // write looks for himself between its pieces.
  const auto deadline = std::chrono::steady_clock::now() + limits_.write_silence_max;
  for (;;) {
    ERR_clear_error();
    const int taken = SSL_write(connection_, bytes, as_int(size));
    if (taken > 0) {
      return taken;
    }
    if (!may_retry(taken, deadline)) {
      return -1;
    }
  }
}

void TlsStream::get_remote_ip_and_port(std::string& ip, int& port) const {
  ip = remote_address(fd_);
  port = 0;
}

void TlsStream::get_local_ip_and_port(std::string& ip, int& port) const {
  ip.clear();
  port = 0;
}

}  // namespace mbsync
