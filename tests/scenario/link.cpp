#include "link.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <stdexcept>
#include <utility>

#include "free_port.h"

namespace mbsync::test {
namespace {

constexpr int kBacklog = 64;

sockaddr_in loopback(std::uint16_t port) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  return address;
}

int listen_on(std::uint16_t port) {
  const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  const int on = 1;
  ::setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  const sockaddr_in address = loopback(port);
  if (::bind(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0 || ::listen(fd, kBacklog) != 0) {
    const int number = errno;
    ::close(fd);
    throw std::runtime_error(fmt::format("cannot listen on port {}: {}", port, std::strerror(number)));
  }
  return fd;
}

void prepare(int fd) {
  const int on = 1;
  ::setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  ::fcntl(fd, F_SETFL, ::fcntl(fd, F_GETFL) | O_NONBLOCK);
}

bool would_block() {
  return errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR;
}

/// One direction: reads only when everything read before has been written, so that a slow reader slows the writer.
struct Flow {
  int from = -1;
  int to = -1;
  std::array<char, 65536> buffer{};
  std::size_t begin = 0;
  std::size_t end = 0;
  bool over = false;

  [[nodiscard]] bool empty() const { return begin == end; }

  /// False when the connection is broken.
  bool move(short from_events, short to_events, std::atomic<std::uint64_t>& bytes) {
    if (empty() && !over && (from_events & (POLLIN | POLLHUP | POLLERR)) != 0) {
      const ssize_t got = ::recv(from, buffer.data(), buffer.size(), 0);
      if (got > 0) {
        begin = 0;
        end = static_cast<std::size_t>(got);
        to_events |= POLLOUT;
      } else if (got == 0) {
        over = true;
        ::shutdown(to, SHUT_WR);
      } else if (!would_block()) {
        return false;
      }
    }
    if (!empty() && (to_events & (POLLOUT | POLLHUP | POLLERR)) != 0) {
      const ssize_t sent = ::send(to, buffer.data() + begin, end - begin, MSG_NOSIGNAL);
      if (sent > 0) {
        begin += static_cast<std::size_t>(sent);
        bytes += static_cast<std::uint64_t>(sent);
      } else if (!would_block()) {
        return false;
      }
    }
    return true;
  }
};

}  // namespace

struct Forwarder::Connection {
  Connection(int client, int server) : there{.from = client, .to = server}, back{.from = server, .to = client} {}
  ~Connection() {
    ::close(there.from);
    ::close(there.to);
  }
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;

  Flow there;
  Flow back;
};

Forwarder::Forwarder(std::uint16_t target)
    : target_(target), port_(free_port()), listener_(listen_on(port_)), wake_(::eventfd(0, EFD_CLOEXEC)) {
  thread_ = std::thread([this] { run(); });
}

Forwarder::~Forwarder() {
  {
    const std::lock_guard lock{mutex_};
    stop_ = true;
  }
  ::eventfd_write(wake_, 1);
  thread_.join();
  close_all();
  ::close(wake_);
}

void Forwarder::cut() {
  demand(false);
}
void Forwarder::restore() {
  demand(true);
}

void Forwarder::demand(bool open) {
  std::unique_lock lock{mutex_};
  wanted_open_ = open;
  ::eventfd_write(wake_, 1);
  changed_.wait(lock, [&] { return is_open_ == open; });
}

void Forwarder::close_all() {
  connections_.clear();
  if (listener_ >= 0) {
    ::close(std::exchange(listener_, -1));
  }
}

void Forwarder::accept_one() {
  const int client = ::accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC);
  if (client < 0) {
    return;
  }
  const int server = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  const sockaddr_in address = loopback(target_);
  if (::connect(server, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
    // The caller is to see one kind of end, not now an end of file and now a reset.
    const linger hard{.l_onoff = 1, .l_linger = 0};
    ::setsockopt(client, SOL_SOCKET, SO_LINGER, &hard, sizeof hard);
    ::close(server);
    ::close(client);
    return;
  }
  prepare(client);
  prepare(server);
  connections_.push_back(std::make_unique<Connection>(client, server));
}

void Forwarder::run() {
  std::vector<pollfd> polled;
  while (true) {
    polled.assign(1, pollfd{.fd = wake_, .events = POLLIN, .revents = 0});
    polled.push_back(pollfd{.fd = listener_, .events = POLLIN, .revents = 0});  // -1 is passed over
    for (const auto& connection : connections_) {
      const auto wants = [](const Flow& in, const Flow& out) {
        return static_cast<short>((in.empty() && !in.over ? POLLIN : 0) | (out.empty() ? 0 : POLLOUT));
      };
      polled.push_back(
          pollfd{.fd = connection->there.from, .events = wants(connection->there, connection->back), .revents = 0});
      polled.push_back(
          pollfd{.fd = connection->there.to, .events = wants(connection->back, connection->there), .revents = 0});
    }
    if (::poll(polled.data(), polled.size(), -1) < 0 && errno != EINTR) {
      throw std::runtime_error(fmt::format("poll: {}", std::strerror(errno)));
    }
    if ((polled[0].revents & POLLIN) != 0) {
      eventfd_t ignored = 0;
      ::eventfd_read(wake_, &ignored);
      const std::lock_guard lock{mutex_};
      if (stop_) {
        return;
      }
      if (wanted_open_ != is_open_) {
        if (wanted_open_) {
          listener_ = listen_on(port_);
        } else {
          close_all();
        }
        is_open_ = wanted_open_;
        changed_.notify_all();
        continue;  // what was polled may be gone
      }
    }
    std::vector<std::unique_ptr<Connection>> kept;
    for (std::size_t i = 0; i < connections_.size(); ++i) {
      const short client = polled[2 + 2 * i].revents;
      const short server = polled[3 + 2 * i].revents;
      auto& connection = connections_[i];
      const bool alive =
          connection->there.move(client, server, bytes_) && connection->back.move(server, client, bytes_);
      if (alive && !(connection->there.over && connection->back.over)) {
        kept.push_back(std::move(connection));
      }
    }
    const bool knocked = (polled[1].revents & POLLIN) != 0;
    connections_ = std::move(kept);
    if (knocked) {
      accept_one();
    }
  }
}

void Link::cut() {
  to_a_.cut();
  to_b_.cut();
}

void Link::restore() {
  to_a_.restore();
  to_b_.restore();
}

}  // namespace mbsync::test
