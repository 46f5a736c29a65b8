// TCP sockets: the few calls that the transport needs, non-blocking, every wait bounded and interruptible. The only
// file of the transport besides tls_stream.cpp that knows the operating system's socket calls.
#pragma once

#include <sys/socket.h>

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "result.h"

namespace mbsync {

/// Asked at least every tuning::kWaitSlice while something waits; true ends the wait.
using StopCheck = std::function<bool()>;
using Deadline = std::chrono::steady_clock::time_point;

/// Owns a file descriptor.
class Socket {
 public:
  Socket() = default;
  explicit Socket(int fd) : fd_(fd) {}
  ~Socket() { close(); }
  Socket(Socket&& other) noexcept : fd_(other.release()) {}
  Socket& operator=(Socket&& other) noexcept;
  Socket(const Socket&) = delete;
  Socket& operator=(const Socket&) = delete;

  [[nodiscard]] int fd() const { return fd_; }
  explicit operator bool() const { return fd_ >= 0; }
  int release();
  void close();

 private:
  int fd_ = -1;
};

enum class Waited { kReady, kTimeout, kStopped };

/// Waits until `events` (of poll) or an error is there.
Waited wait_for(int fd, short events, Deadline deadline, const StopCheck& stopped);
/// The other side has closed or reset the connection, or it is broken.
bool hung_up(int fd);

/// A listening socket, not inherited and not shared with another process. "::" takes IPv4 as well. Port 0: any.
/// `config` if the address or port cannot be had.
Result<Socket> listen_on(const std::string& address, std::uint16_t port);
std::uint16_t local_port(const Socket& socket);
/// Numeric; an IPv4 address that came through an IPv6 socket looks like IPv4. "unknown" once the connection is gone.
std::string remote_address(int fd);

struct Accepted {
  Socket socket;
  int error = 0;  ///< errno, where there is no socket
};
Accepted accept_from(const Socket& listener);
/// Ends a wait for connections at once; the listener takes none any more, but stays open until its owner closes it.
void wake_acceptor(const Socket& listener);

/// One way to reach a host.
struct Endpoint {
  sockaddr_storage address{};
  socklen_t bytes = 0;
  int family = 0;
};

/// Its address in numbers, of a link-local one with the interface; empty if it has none.
std::string numeric_host(const Endpoint& endpoint);

/// What getaddrinfo does with these `flags`: its return value (0 is success), and the addresses in `out`.
using NameLookup =
    std::function<int(const std::string& host, std::uint16_t port, int flags, std::vector<Endpoint>& out)>;
int system_lookup(const std::string& host, std::uint16_t port, int flags, std::vector<Endpoint>& out);

/// Looks names up without making anybody wait who was asked to stop: the system's resolver cannot be interrupted, and
/// with a dead name server it takes half a minute. So it runs on a thread of its own that nobody waits for; what that
/// thread uses belongs to it as much as to the Resolver, which may be gone first. One lookup at a time.
class Resolver {
 public:
  explicit Resolver(NameLookup lookup = system_lookup);
  ~Resolver() = default;
  Resolver(const Resolver&) = delete;
  Resolver& operator=(const Resolver&) = delete;

  /// `transient` if the name is unknown (it may come back) or the answer takes too long, `cancelled`.
  Result<std::vector<Endpoint>> resolve(const std::string& host, std::uint16_t port, Deadline deadline,
                                        const StopCheck& stopped);

 private:
  struct Lookup;
  const NameLookup look_up_;
  std::shared_ptr<Lookup> lookup_;  ///< the one under way
};

/// Connects to the first of `endpoints` that answers; the time left is shared out among them. `transient` with what the
/// operating system says of the last one, `cancelled`.
Result<Socket> connect_to(const std::vector<Endpoint>& endpoints, Deadline deadline, const StopCheck& stopped);

}  // namespace mbsync
