#include "local_guard.h"

#include <fmt/format.h>
#include <openssl/crypto.h>
#include <openssl/sha.h>

#include <algorithm>
#include <array>

namespace mbsync {
namespace {

bool is_known_host(const LocalGuard& guard, const std::string& host) {
  return is_loopback_host(host) || (guard.any_address && is_numeric_host(host)) ||
         std::any_of(guard.hosts.begin(), guard.hosts.end(),
                     [&](const std::string& known) { return lower_case(known) == host; });
}

/// "http://name:port" of the page that asks, without the scheme; empty for "null" and whatever else is no page.
std::string page_of(std::string_view origin) {
  for (const std::string_view scheme : {"http://", "https://"}) {
    if (lower_case(origin.substr(0, scheme.size())) == scheme) {
      return lower_case(origin.substr(scheme.size()));
    }
  }
  return "";
}

LocalRefusal of_another_page() {
  return {403, Error{ErrorKind::kRejected, "asked by a page that is not this node's own",
                     "ask from a program, or from a server of yours that passes it on (examples/nextjs)"}};
}

/// Takes as long whatever differs, and does not tell the length of the right one.
bool is_same_secret(std::string_view given, std::string_view right) {
  std::array<unsigned char, SHA256_DIGEST_LENGTH> a{};
  std::array<unsigned char, SHA256_DIGEST_LENGTH> b{};
  SHA256(reinterpret_cast<const unsigned char*>(given.data()), given.size(), a.data());
  SHA256(reinterpret_cast<const unsigned char*>(right.data()), right.size(), b.data());
  return CRYPTO_memcmp(a.data(), b.data(), a.size()) == 0;
}

bool has_token(const LocalGuard& guard, const LocalHead& head) {
  constexpr std::string_view kScheme = "bearer ";
  const std::string_view given(head.authorization);
  return lower_case(given.substr(0, kScheme.size())) == kScheme &&
         is_same_secret(given.substr(kScheme.size()), guard.token);
}

bool is_json(std::string_view type) {
  constexpr std::string_view kJson = "application/json";
  return lower_case(type.substr(0, kJson.size())) == kJson &&
         (type.size() == kJson.size() || type[kJson.size()] == ';' || type[kJson.size()] == ' ');
}

}  // namespace

std::optional<LocalRefusal> refused_by(const LocalGuard& guard, const LocalHead& head) {
  const auto host = head.hosts.size() == 1 ? host_of(head.hosts.front()) : std::nullopt;
  if (!host || !is_known_host(guard, *host)) {
    return LocalRefusal{
        421, Error{ErrorKind::kRejected, "asked by a name that is not known to be this node's",
                   "ask by localhost or 127.0.0.1; if this machine goes by another name, add it to SYNC_STATUS_HOSTS"}};
  }
  // A link that somebody follows, to a page: the page that it stands on does not see the answer.
  const bool follows_link = head.method == "GET" && head.fetch_mode == "navigate" && head.fetch_dest == "document";
  if (!head.origin.empty() && page_of(head.origin) != lower_case(head.hosts.front())) {
    return of_another_page();
  }
  if (!head.fetch_site.empty() && head.fetch_site != "same-origin" && head.fetch_site != "none" && !follows_link) {
    return of_another_page();
  }
  if (!guard.token.empty() && head.needs_token && !has_token(guard, head)) {
    return LocalRefusal{401, Error{ErrorKind::kRejected, "the token is missing or wrong",
                                   "send SYNC_STATUS_TOKEN of this node as 'Authorization: Bearer TOKEN'"}};
  }
  if (head.encoded) {
    return LocalRefusal{415, Error{ErrorKind::kRejected, "a request with Content-Encoding", "send it as it is"}};
  }
  if (head.method == "POST" && !is_json(head.content_type)) {
    // A form, which any page may send without being asked, cannot have this type.
    return LocalRefusal{415, Error{ErrorKind::kRejected, "the body has to be JSON, and to say so",
                                   "send it with 'Content-Type: application/json'"}};
  }
  return std::nullopt;
}

}  // namespace mbsync
