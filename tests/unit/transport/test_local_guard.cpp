#include "local_guard.h"

#include <catch2/catch.hpp>

using namespace mbsync;

namespace {

constexpr int kAnswered = 0;

LocalHead head_for(std::string host) {
  LocalHead head;
  head.method = "GET";
  head.hosts = {std::move(host)};
  return head;
}

int verdict(const LocalGuard& guard, const LocalHead& head) {
  const auto refusal = refused_by(guard, head);
  return refusal ? refusal->status : kAnswered;
}

}  // namespace

TEST_CASE("local guard: only names and addresses of this node are taken") {
  const LocalGuard guard{.hosts = {"Till-1.local", "192.168.1.5"}};
  for (const char* host : {"localhost", "localhost:8766", "LOCALHOST:1", "localhost.", "127.0.0.1:8766", "127.9.9.9",
                           "[::1]:8766", "[::1]", "till-1.local:8766", "192.168.1.5"}) {
    INFO(host);
    CHECK(verdict(guard, head_for(host)) == kAnswered);
  }
  for (const char* host : {"", "evil.example", "localhost.evil.example", "evil.example:8766", "127.0.0.1.evil.example",
                           "127.0.0.1@evil", "192.168.1.6", "[::2]", "[::1", "[::1]x", "localhost:8766:1",
                           "localhost:x", "::1", "127.1", "2130706433", "0.0.0.0", "localhost/", " localhost"}) {
    INFO(host);
    CHECK(verdict(guard, head_for(host)) == 421);
  }
  auto twice = head_for("localhost");
  twice.hosts.emplace_back("localhost");
  CHECK(verdict(guard, twice) == 421);
  twice.hosts.clear();
  CHECK(verdict(guard, twice) == 421);
  // Where it listens on all addresses, by any of them; names can be made to lead here, numbers cannot.
  const LocalGuard everywhere{.any_address = true};
  CHECK(verdict(everywhere, head_for("10.1.2.3:8766")) == kAnswered);
  CHECK(verdict(everywhere, head_for("[fe80::1]:8766")) == kAnswered);
  CHECK(verdict(everywhere, head_for("evil.example")) == 421);
}

TEST_CASE("local guard: other pages are refused, whatever the browser says of them") {
  const LocalGuard guard;
  auto head = head_for("localhost:8766");
  const auto with_origin = [&](const char* origin) {
    head.origin = origin;
    return verdict(guard, head);
  };
  CHECK(with_origin("http://localhost:8766") == kAnswered);
  CHECK(with_origin("HTTP://LOCALHOST:8766") == kAnswered);
  for (const char* origin : {"http://localhost:3000", "http://localhost", "http://127.0.0.1:8766", "null",
                             "https://evil.example", "file://", "localhost:8766", "said twice"}) {
    INFO(origin);
    CHECK(with_origin(origin) == 403);
  }
  head.origin.clear();
  const auto with_site = [&](const char* site, const char* mode, const char* dest) {
    head.fetch_site = site;
    head.fetch_mode = mode;
    head.fetch_dest = dest;
    return verdict(guard, head);
  };
  CHECK(with_site("same-origin", "cors", "empty") == kAnswered);
  CHECK(with_site("none", "navigate", "document") == kAnswered);
  CHECK(with_site("cross-site", "navigate", "document") == kAnswered);  // a link that somebody follows
  CHECK(with_site("cross-site", "navigate", "iframe") == 403);
  CHECK(with_site("cross-site", "no-cors", "image") == 403);
  CHECK(with_site("same-site", "cors", "empty") == 403);  // another port of this machine
  head.method = "POST";
  head.content_type = "application/json";
  CHECK(with_site("cross-site", "navigate", "document") == 403);
  CHECK(with_site("same-origin", "cors", "empty") == kAnswered);
}

TEST_CASE("local guard: a body says that it is JSON") {
  auto head = head_for("localhost");
  head.method = "POST";
  const auto with_type = [&](const char* type) {
    head.content_type = type;
    return verdict(LocalGuard{}, head);
  };
  CHECK(with_type("application/json") == kAnswered);
  CHECK(with_type("Application/JSON; charset=utf-8") == kAnswered);
  for (const char* type : {"", "text/plain", "application/x-www-form-urlencoded", "application/jsonx",
                           "multipart/form-data; boundary=application/json"}) {
    INFO(type);
    CHECK(with_type(type) == 415);
  }
  head.content_type = "application/json";
  head.encoded = true;
  CHECK(verdict(LocalGuard{}, head) == 415);
}

TEST_CASE("local guard: with a token, only who bears it") {
  const LocalGuard guard{.token = "0123456789abcdef"};
  auto head = head_for("localhost");
  const auto bearing = [&](const char* authorization) {
    head.authorization = authorization;
    return verdict(guard, head);
  };
  CHECK(bearing("Bearer 0123456789abcdef") == kAnswered);
  CHECK(bearing("bearer 0123456789abcdef") == kAnswered);
  for (const char* other : {"", "Bearer", "Bearer ", "Bearer 0123456789abcde", "Bearer 0123456789abcdefg",
                            "Bearer 0123456789ABCDEF", "Basic 0123456789abcdef", "0123456789abcdef"}) {
    INFO(other);
    CHECK(bearing(other) == 401);
  }
  head.needs_token = false;
  CHECK(verdict(guard, head) == kAnswered);
  // It does not open the door to other names and pages.
  head.authorization = "Bearer 0123456789abcdef";
  head.hosts = {"evil.example"};
  CHECK(verdict(guard, head) == 421);
}
