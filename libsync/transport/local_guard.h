// Who may ask on the local port. Any page that a browser of this machine shows can send requests to it, so a request
// has to show that it does not come from one: by the name it was sent to (a name of somebody else's that was made to
// lead here, "DNS rebinding"), and by what browsers say of the page that sends it. Pure.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "error.h"
#include "host_name.h"

namespace mbsync {

struct LocalGuard {
  /// By which names and addresses it may be asked, beside those of the loopback.
  std::vector<std::string> hosts{};
  /// It listens on all addresses of the machine, which are too many to be named: any address in numbers will do, since
  /// nobody can make a number lead elsewhere.
  bool any_address = false;
  std::string token{};  ///< empty: none is needed
};

/// What of a request is looked at; empty: it was not said.
struct LocalHead {
  std::string method;
  std::vector<std::string> hosts;  ///< each Host that there is; more than one is refused
  std::string origin{};
  std::string fetch_site{};  ///< Sec-Fetch-Site
  std::string fetch_mode{};  ///< Sec-Fetch-Mode
  std::string fetch_dest{};  ///< Sec-Fetch-Dest
  std::string authorization{};
  std::string content_type{};
  bool encoded = false;     ///< it has a Content-Encoding
  bool needs_token = true;  ///< LocalRoute::needs_no_token
};

struct LocalRefusal {
  int status = 403;
  Error error;
};

/// Nothing: it may be answered. 421 for another name, 403 for another page, 401 for a token that is missing or wrong,
/// 415 for a body that is not JSON.
std::optional<LocalRefusal> refused_by(const LocalGuard& guard, const LocalHead& head);

}  // namespace mbsync
