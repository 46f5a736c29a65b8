// Names and addresses of hosts, as they stand in a URL or a Host header. Pure text; nothing is looked up.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace mbsync {

/// A to Z become a to z.
std::string lower_case(std::string_view text);

/// The host of "name:port" or "[::1]:port" without the port, in the form that names are compared in: lower case, no
/// brackets, no dot at the end; nothing where it is neither a name nor an address.
std::optional<std::string> host_of(std::string_view host_and_port);
/// An IPv4 or IPv6 address.
bool is_numeric_host(const std::string& host);
/// 127.0.0.0/8, ::1, and the name localhost.
bool is_loopback_host(std::string_view host);

}  // namespace mbsync
