#include "socket.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <condition_variable>
#include <cstring>
#include <mutex>
#include <optional>
#include <system_error>
#include <utility>

#include "lone_thread.h"
#include "transport_tuning.h"

namespace mbsync {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

std::string system_text(int error) {
  return std::generic_category().message(error);
}

Error cancelled() {
  return Error{ErrorKind::kCancelled, "asked to stop", ""};
}

/// Never negative, and rounded up so that a wait does not spin through its last millisecond.
milliseconds time_left(Deadline deadline) {
  return std::max(milliseconds{0}, std::chrono::ceil<milliseconds>(deadline - steady_clock::now()));
}

void set_option(int fd, int level, int option, int value) {
  setsockopt(fd, level, option, &value, sizeof(value));
}

struct AddressList {
  addrinfo* first = nullptr;
  AddressList() = default;
  ~AddressList() {
    if (first != nullptr) {
      freeaddrinfo(first);
    }
  }
  AddressList(const AddressList&) = delete;
  AddressList& operator=(const AddressList&) = delete;
};

const sockaddr* address_of(const Endpoint& endpoint) {
  return reinterpret_cast<const sockaddr*>(&endpoint.address);
}

Result<Socket> connect_one(const Endpoint& endpoint, Deadline deadline, const StopCheck& stopped) {
  Socket socket(::socket(endpoint.family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (!socket) {
    return Error{ErrorKind::kTransient, system_text(errno), ""};
  }
  set_option(socket.fd(), IPPROTO_TCP, TCP_NODELAY, 1);
  if (::connect(socket.fd(), address_of(endpoint), endpoint.bytes) == 0) {
    return socket;
  }
  if (errno != EINPROGRESS) {
    return Error{ErrorKind::kTransient, system_text(errno), ""};
  }
  switch (wait_for(socket.fd(), POLLOUT, deadline, stopped)) {
    case Waited::kStopped:
      return cancelled();
    case Waited::kTimeout:
      return Error{ErrorKind::kTransient, "no answer in time", ""};
    case Waited::kReady:
      break;
  }
  int error = 0;
  socklen_t bytes = sizeof(error);
  if (getsockopt(socket.fd(), SOL_SOCKET, SO_ERROR, &error, &bytes) != 0) {
    error = errno;
  }
  if (error != 0) {
    return Error{ErrorKind::kTransient, system_text(error), ""};
  }
  return socket;
}

std::string_view bind_hint(int error) {
  switch (error) {
    case EADDRINUSE:
      return "another program has this port: stop it, or set SYNC_PORT to a free one";
    case EADDRNOTAVAIL:
      return "this is not an address of this machine ('ip address' lists them): set SYNC_BIND to one that is, or to "
             "0.0.0.0 for all";
    case EACCES:
      return "ports below 1024 need root or the right CAP_NET_BIND_SERVICE: set SYNC_PORT to a port from 1024 up";
    default:
      return "set SYNC_BIND and SYNC_PORT to an address and a port that this machine can listen on";
  }
}

Result<Socket> bind_one(const Endpoint& endpoint) {
  Socket socket(::socket(endpoint.family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (!socket) {
    return Error{ErrorKind::kConfig, system_text(errno), ""};
  }
  // A restart must not wait for the last connections to be forgotten. Not SO_REUSEPORT: with it, two nodes by mistake
  // on one port would share its connections instead of one of them failing.
  set_option(socket.fd(), SOL_SOCKET, SO_REUSEADDR, 1);
  if (endpoint.family == AF_INET6) {
    set_option(socket.fd(), IPPROTO_IPV6, IPV6_V6ONLY, 0);
  }
  if (::bind(socket.fd(), address_of(endpoint), endpoint.bytes) != 0 ||
      ::listen(socket.fd(), tuning::kListenBacklog) != 0) {
    const int error = errno;
    return Error{ErrorKind::kConfig, system_text(error), std::string(bind_hint(error))};
  }
  return socket;
}

}  // namespace

Socket& Socket::operator=(Socket&& other) noexcept {
  if (this != &other) {
    close();
    fd_ = other.release();
  }
  return *this;
}

int Socket::release() {
  return std::exchange(fd_, -1);
}

void Socket::close() {
  if (fd_ >= 0) {
    ::close(release());
  }
}

Waited wait_for(int fd, short events, Deadline deadline, const StopCheck& stopped) {
  for (;;) {
    if (stopped && stopped()) {
      return Waited::kStopped;
    }
    const milliseconds left = time_left(deadline);
    pollfd entry{fd, events, 0};
    const int ready = ::poll(&entry, 1, static_cast<int>(std::min(left, tuning::kWaitSlice).count()));
    if (ready > 0 || (ready < 0 && errno != EINTR)) {
      return Waited::kReady;  // an error as well: the call that follows will say which
    }
    if (steady_clock::now() >= deadline) {
      return Waited::kTimeout;
    }
  }
}

std::string numeric_host(const Endpoint& endpoint) {
  char text[NI_MAXHOST] = {};
  return getnameinfo(address_of(endpoint), endpoint.bytes, text, sizeof(text), nullptr, 0, NI_NUMERICHOST) == 0 ? text
                                                                                                                : "";
}

bool hung_up(int fd) {
  pollfd entry{fd, POLLRDHUP, 0};
  return ::poll(&entry, 1, 0) > 0 && (entry.revents & (POLLRDHUP | POLLHUP | POLLERR | POLLNVAL)) != 0;
}

int system_lookup(const std::string& host, std::uint16_t port, int flags, std::vector<Endpoint>& out) {
  addrinfo hints{};
  hints.ai_family = AF_UNSPEC;
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = flags;
  AddressList list;
  const int failed = getaddrinfo(host.c_str(), std::to_string(port).c_str(), &hints, &list.first);
  for (const addrinfo* entry = failed == 0 ? list.first : nullptr; entry != nullptr; entry = entry->ai_next) {
    Endpoint endpoint;
    endpoint.family = entry->ai_family;
    endpoint.bytes = entry->ai_addrlen;
    std::memcpy(&endpoint.address, entry->ai_addr, std::min<std::size_t>(entry->ai_addrlen, sizeof(endpoint.address)));
    out.push_back(endpoint);
  }
  return failed;
}

Result<Socket> listen_on(const std::string& address, std::uint16_t port) {
  const auto failed = [&](const std::string& why, const std::string& hint) {
    return Error{ErrorKind::kConfig, fmt::format("cannot listen on '{}' port {}: {}", address, port, why), hint};
  };
  std::vector<Endpoint> endpoints;
  if (const int code = system_lookup(address, port, AI_PASSIVE, endpoints); code != 0) {
    return failed(gai_strerror(code), "give an address of this machine, or 0.0.0.0 for all");
  }
  Error last{ErrorKind::kConfig, "it has no address", ""};
  for (const Endpoint& endpoint : endpoints) {
    auto socket = bind_one(endpoint);
    if (socket) {
      return socket;
    }
    last = socket.error();
  }
  return failed(last.message, last.hint);
}

std::uint16_t local_port(const Socket& socket) {
  sockaddr_storage address{};
  socklen_t bytes = sizeof(address);
  if (getsockname(socket.fd(), reinterpret_cast<sockaddr*>(&address), &bytes) != 0) {
    return 0;
  }
  return ntohs(address.ss_family == AF_INET6 ? reinterpret_cast<const sockaddr_in6*>(&address)->sin6_port
                                             : reinterpret_cast<const sockaddr_in*>(&address)->sin_port);
}

std::string remote_address(int fd) {
  sockaddr_storage address{};
  socklen_t bytes = sizeof(address);
  char text[NI_MAXHOST] = {};
  if (getpeername(fd, reinterpret_cast<sockaddr*>(&address), &bytes) != 0 ||
      getnameinfo(reinterpret_cast<const sockaddr*>(&address), bytes, text, sizeof(text), nullptr, 0, NI_NUMERICHOST) !=
          0) {
    return "unknown";
  }
  constexpr std::string_view kMapped = "::ffff:";
  const std::string_view seen(text);
  const bool mapped = seen.substr(0, kMapped.size()) == kMapped && seen.find('.') != std::string_view::npos;
  return std::string(mapped ? seen.substr(kMapped.size()) : seen);
}

Accepted accept_from(const Socket& listener) {
  const int fd = ::accept4(listener.fd(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
  if (fd < 0) {
    return {Socket(), errno};
  }
  set_option(fd, IPPROTO_TCP, TCP_NODELAY, 1);
  return {Socket(fd), 0};
}

void wake_acceptor(const Socket& listener) {
  ::shutdown(listener.fd(), SHUT_RDWR);
}

struct Resolver::Lookup {
  void run(const NameLookup& look_up, const std::string& host, std::uint16_t port) {
    std::vector<Endpoint> found;
    int outcome = EAI_MEMORY;
    try {
      outcome = look_up(host, port, AI_ADDRCONFIG, found);
    } catch (const std::exception&) {
      // Only memory can have run out, and there is nobody above this to tell.
    }
    const std::lock_guard lock(mutex);
    code = outcome;
    endpoints = std::move(found);
    done = true;
    ended.notify_all();
  }

  std::mutex mutex;
  std::condition_variable ended;
  bool done = false;
  int code = 0;
  std::vector<Endpoint> endpoints;
};

Resolver::Resolver(NameLookup lookup) : look_up_(std::move(lookup)) {}

Result<std::vector<Endpoint>> Resolver::resolve(const std::string& host, std::uint16_t port, Deadline deadline,
                                                const StopCheck& stopped) {
  std::vector<Endpoint> numeric;
  if (system_lookup(host, port, AI_NUMERICHOST, numeric) == 0) {
    return numeric;
  }
  // A lookup that was given up on may still be under way: its answer serves as well.
  if (!lookup_) {
    auto fresh = std::make_shared<Lookup>();
    try {
      start_lone_thread([lookup = fresh, look_up = look_up_, host, port] { lookup->run(look_up, host, port); });
    } catch (const std::system_error& error) {
      return Error{ErrorKind::kTransient,
                   fmt::format("no thread can be started to look up '{}': {}", host, error.what()),
                   "raise the limit on processes and threads of this user"};
    }
    lookup_ = std::move(fresh);
  }
  const std::shared_ptr<Lookup> lookup = lookup_;
  std::unique_lock lock(lookup->mutex);
  while (!lookup->done) {
    if (stopped && stopped()) {
      return cancelled();
    }
    if (steady_clock::now() >= deadline) {
      return Error{ErrorKind::kTransient, fmt::format("looking up the name '{}' takes too long", host),
                   "use its address, or mend the name service"};
    }
    lookup->ended.wait_for(lock, std::min(time_left(deadline), tuning::kWaitSlice));
  }
  lookup_.reset();
  if (lookup->code != 0) {
    return Error{ErrorKind::kTransient, fmt::format("cannot find '{}': {}", host, gai_strerror(lookup->code)),
                 "check the name, or use its address"};
  }
  return std::move(lookup->endpoints);
}

Result<Socket> connect_to(const std::vector<Endpoint>& endpoints, Deadline deadline, const StopCheck& stopped) {
  Error last{ErrorKind::kTransient, "it has no address", ""};
  for (std::size_t i = 0; i < endpoints.size(); ++i) {
    // What one leaves of its share is for those behind it. The last has until the end, which may be the end of time.
    const auto behind = static_cast<int>(endpoints.size() - i - 1);
    const auto until = behind == 0 ? deadline : steady_clock::now() + time_left(deadline) / (behind + 1);
    auto socket = connect_one(endpoints[i], until, stopped);
    if (socket || socket.error().kind == ErrorKind::kCancelled) {
      return socket;
    }
    last = socket.error();
  }
  return last;
}

}  // namespace mbsync
