#include "host_name.h"

#include <arpa/inet.h>

#include <algorithm>

namespace mbsync {
namespace {

constexpr std::size_t kHostBytesMax = 255;

char lower(char c) {
  return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
}

bool is_ipv4(const std::string& host) {
  in_addr address{};
  return ::inet_pton(AF_INET, host.c_str(), &address) == 1;
}

bool is_ipv6(const std::string& host) {
  in6_addr address{};
  return ::inet_pton(AF_INET6, host.c_str(), &address) == 1;
}

}  // namespace

std::string lower_case(std::string_view text) {
  std::string result(text);
  std::transform(result.begin(), result.end(), result.begin(), lower);
  return result;
}

bool is_numeric_host(const std::string& host) {
  return is_ipv4(host) || is_ipv6(host);
}

std::optional<std::string> host_of(std::string_view host_and_port) {
  if (host_and_port.empty() || host_and_port.size() > kHostBytesMax) {
    return std::nullopt;
  }
  std::string host;
  std::string_view port;
  if (host_and_port.front() == '[') {
    const auto end = host_and_port.find(']');
    if (end == std::string_view::npos) {
      return std::nullopt;
    }
    host = lower_case(host_and_port.substr(1, end - 1));
    port = host_and_port.substr(end + 1);
    if (!is_ipv6(host) || (!port.empty() && port.front() != ':')) {
      return std::nullopt;
    }
  } else {
    const auto colon = host_and_port.find(':');
    host = lower_case(host_and_port.substr(0, colon));
    port = colon == std::string_view::npos ? std::string_view() : host_and_port.substr(colon);
    if (!host.empty() && host.back() == '.') {
      host.pop_back();
    }
    if (host.empty() || host.find_first_not_of("abcdefghijklmnopqrstuvwxyz0123456789.-_") != std::string::npos) {
      return std::nullopt;
    }
  }
  if (!port.empty() && port.substr(1).find_first_not_of("0123456789") != std::string_view::npos) {
    return std::nullopt;
  }
  return host;
}

bool is_loopback_host(std::string_view host) {
  const std::string name(host);
  return name == "localhost" || name == "::1" || (is_ipv4(name) && name.starts_with("127."));
}

}  // namespace mbsync
