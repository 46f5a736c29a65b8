// A port of 127.0.0.1 on which somebody listens and says nothing.
#pragma once

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdint>
#include <string>
#include <system_error>

namespace mbsync::test {

class SilentListener {
 public:
  SilentListener() : socket_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof(address);
    auto* plain = reinterpret_cast<sockaddr*>(&address);
    if (socket_ < 0 || ::bind(socket_, plain, size) != 0 || ::listen(socket_, SOMAXCONN) != 0 ||
        ::getsockname(socket_, plain, &size) != 0) {
      throw std::system_error(errno, std::generic_category(), "cannot listen on 127.0.0.1");
    }
    port_ = ntohs(address.sin_port);
  }
  ~SilentListener() { ::close(socket_); }
  SilentListener(const SilentListener&) = delete;
  SilentListener& operator=(const SilentListener&) = delete;

  [[nodiscard]] std::uint16_t port() const { return port_; }
  /// What the first who connects says first; empty if nobody does in time.
  [[nodiscard]] std::string hear(std::chrono::milliseconds patience) const {
    pollfd waiting{socket_, POLLIN, 0};
    if (::poll(&waiting, 1, static_cast<int>(patience.count())) != 1) {
      return "";
    }
    const int line = ::accept(socket_, nullptr, nullptr);
    std::string text(4'096, '\0');
    text.resize(static_cast<std::size_t>(std::max<ssize_t>(0, ::recv(line, text.data(), text.size(), 0))));
    ::close(line);
    return text;
  }

 private:
  int socket_;
  std::uint16_t port_ = 0;
};

}  // namespace mbsync::test
