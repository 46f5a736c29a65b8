#include "free_port.h"

#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <mutex>
#include <random>
#include <set>
#include <stdexcept>

namespace mbsync::test {
namespace {

constexpr std::uint16_t kFirst = 18000;
constexpr std::uint16_t kLast = 31999;
constexpr int kAttempts = 1000;

bool is_free(std::uint16_t port) {
  const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0) {
    return false;
  }
  // As servers do: a connection that was closed a moment ago does not make the port taken.
  const int on = 1;
  ::setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  address.sin_addr.s_addr = htonl(INADDR_ANY);
  // Listening, too: two sockets with SO_REUSEADDR may both be bound as long as neither listens.
  const bool free =
      ::bind(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0 && ::listen(fd, 1) == 0;
  ::close(fd);
  return free;
}

}  // namespace

std::uint16_t free_port(std::uint16_t count) {
  static std::mutex mutex;
  static std::set<std::uint16_t> given;
  static std::mt19937 random{std::random_device{}()};

  const std::lock_guard lock{mutex};
  std::uniform_int_distribution<int> pick{kFirst, kLast - count};
  for (int attempt = 0; attempt < kAttempts; ++attempt) {
    const auto first = static_cast<std::uint16_t>(pick(random));
    bool all_free = true;
    for (int port = first; port < first + count && all_free; ++port) {
      all_free = !given.contains(static_cast<std::uint16_t>(port)) && is_free(static_cast<std::uint16_t>(port));
    }
    if (all_free) {
      for (int port = first; port < first + count; ++port) {
        given.insert(static_cast<std::uint16_t>(port));
      }
      return first;
    }
  }
  throw std::runtime_error("no free TCP port between 18000 and 31999");
}

}  // namespace mbsync::test
