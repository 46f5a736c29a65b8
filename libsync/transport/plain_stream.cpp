#include "plain_stream.h"

#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <utility>

namespace mbsync {
namespace {

using std::chrono::steady_clock;

bool would_block(int error) {
  return error == EAGAIN || error == EWOULDBLOCK || error == EINTR;
}

}  // namespace

PlainStream::PlainStream(int fd, std::chrono::milliseconds write_silence_max, StopCheck stopped, WriteCheck gives_up)
    : fd_(fd), write_silence_max_(write_silence_max), stopped_(std::move(stopped)), gives_up_(std::move(gives_up)) {}

bool PlainStream::is_readable() const {
  return wait_for(fd_, POLLIN, reads_until_, stopped_) == Waited::kReady;
}

bool PlainStream::is_writable() const {
  return !failed_ && !hung_up(fd_);
}

ssize_t PlainStream::take(char* buffer, std::size_t size) {
  while (!failed_ && size > 0) {
    // Who sends without pause never makes this wait, so waiting is too late to look.
    if (steady_clock::now() >= reads_until_ || (stopped_ && stopped_())) {
      break;
    }
    const ssize_t taken = ::recv(fd_, buffer, size, 0);
    if (taken > 0) {
      return taken;
    }
    if (taken == 0 || !would_block(errno) || wait_for(fd_, POLLIN, reads_until_, stopped_) != Waited::kReady) {
      break;
    }
  }
  failed_ = failed_ || size > 0;
  return failed_ ? -1 : 0;
}

ssize_t PlainStream::write(const char* bytes, std::size_t size) {
  const auto begun = steady_clock::now();
  const auto deadline = std::min(begun + write_silence_max_, writes_until_);
  const StopCheck gives_up = [&] { return gives_up_ && gives_up_(begun); };
  while (!failed_ && size > 0) {
    // Who takes a little all the time never makes this wait.
    if (begun >= writes_until_ || gives_up()) {
      failed_ = true;
      break;
    }
    const ssize_t taken = ::send(fd_, bytes, size, MSG_NOSIGNAL);
    if (taken > 0) {
      return taken;
    }
    if (!would_block(errno) || wait_for(fd_, POLLOUT, deadline, gives_up) != Waited::kReady) {
      failed_ = true;
    }
  }
  return failed_ ? -1 : 0;
}

void PlainStream::get_remote_ip_and_port(std::string& ip, int& port) const {
  ip = remote_address(fd_);
  port = 0;
}

void PlainStream::get_local_ip_and_port(std::string& ip, int& port) const {
  ip.clear();
  port = 0;
}

}  // namespace mbsync
