#include "peer_address.h"

#include <fmt/format.h>

#include <charconv>

namespace mbsync {
namespace {

constexpr std::string_view kForm = "the form is host:port, for example till-2.local:8765 or [fe80::1]:8765";

Error no_address(std::string_view text, std::string_view why) {
  return Error{ErrorKind::kConfig, fmt::format("'{}' is no address of a peer: {}", text, why), std::string{kForm}};
}

}  // namespace

std::string to_string(const PeerAddress& address) {
  const bool ipv6 = address.host.find(':') != std::string::npos;
  return ipv6 ? fmt::format("[{}]:{}", address.host, address.port) : fmt::format("{}:{}", address.host, address.port);
}

Result<PeerAddress> parse_peer_address(std::string_view text) {
  constexpr std::string_view kNotInHosts = " \t\r\n/,[]\"'";
  if (text.find("//") != std::string_view::npos || text.find('@') != std::string_view::npos) {
    // Not repeated: it may be the address of a database, put in the wrong place, with its password.
    return Error{ErrorKind::kConfig, "a peer is given as a URL", std::string{kForm}};
  }
  std::string_view host = text;
  std::string_view port;
  bool has_port = false;
  if (text.starts_with('[')) {
    const auto close = text.find(']');
    if (close == std::string_view::npos) {
      return no_address(text, "']' is missing");
    }
    host = text.substr(1, close - 1);
    port = text.substr(close + 1);
    has_port = !port.empty();
    if (has_port && port.front() != ':') {
      return no_address(text, "only ':' and a port may follow ']'");
    }
    port.remove_prefix(has_port ? 1 : 0);
  } else if (const auto colon = text.find(':'); colon != std::string_view::npos) {
    host = text.substr(0, colon);
    port = text.substr(colon + 1);
    has_port = true;
    if (port.find(':') != std::string_view::npos) {
      return no_address(text, "an IPv6 address stands in brackets");
    }
  }
  if (host.empty()) {
    return no_address(text, "the host is missing");
  }
  if (host.find_first_of(kNotInHosts) != std::string_view::npos) {
    return no_address(text, "the host contains a character that no host has");
  }
  PeerAddress address{std::string{host}, kDefaultSyncPort};
  if (has_port) {
    const auto [end, error] = std::from_chars(port.data(), port.data() + port.size(), address.port);
    if (error != std::errc{} || end != port.data() + port.size() || address.port == 0) {
      return no_address(text, "the port is not a number from 1 to 65535");
    }
  }
  return address;
}

}  // namespace mbsync
