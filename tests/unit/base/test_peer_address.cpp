#include <catch2/catch.hpp>
#include <string>

#include "peer_address.h"

using namespace mbsync;

TEST_CASE("peer address: what is read is written the same way") {
  for (const char* text : {"till-2:8765", "192.168.1.7:1", "[::1]:65535", "[fe80::1%eth0]:8765", "a.b.example:9000"}) {
    const auto address = parse_peer_address(text);
    REQUIRE(address);
    CHECK(to_string(*address) == text);
  }
}

TEST_CASE("peer address: the usual port is added") {
  CHECK(parse_peer_address("till-2").value() == PeerAddress{"till-2", 8765});
  CHECK(parse_peer_address("[::1]").value() == PeerAddress{"::1", 8765});
}

TEST_CASE("peer address: anything else is refused, with the reason and the form") {
  const auto refusal = [](std::string_view text) {
    const auto result = parse_peer_address(text);
    REQUIRE_FALSE(result);
    CHECK(result.error().kind == ErrorKind::kConfig);
    CHECK_THAT(result.error().hint, Catch::Contains("host:port"));
    return result.error().message;
  };
  CHECK(refusal("") == "'' is no address of a peer: the host is missing");
  CHECK_THAT(refusal(":8765"), Catch::Contains("the host is missing"));
  CHECK_THAT(refusal("[]:8765"), Catch::Contains("the host is missing"));
  CHECK_THAT(refusal("h:"), Catch::Contains("port"));
  CHECK_THAT(refusal("h:0"), Catch::Contains("1 to 65535"));
  CHECK_THAT(refusal("h:65536"), Catch::Contains("1 to 65535"));
  CHECK_THAT(refusal("h:87x"), Catch::Contains("1 to 65535"));
  CHECK_THAT(refusal("fe80::1"), Catch::Contains("brackets"));
  CHECK_THAT(refusal("[::1"), Catch::Contains("']' is missing"));
  CHECK_THAT(refusal("[::1]8765"), Catch::Contains("may follow ']'"));
  CHECK_THAT(refusal("http://h:8765"), Catch::Contains("URL"));
  CHECK_THAT(refusal("postgres://u:s3cret@h/d"), !Catch::Contains("s3cret"));
  CHECK_THAT(refusal("a/b:8765"), Catch::Contains("character"));
  CHECK_THAT(refusal("a b:8765"), Catch::Contains("character"));
}
