#include <catch2/catch.hpp>

#include "warning_limiter.h"

using namespace mbsync;
using std::chrono::seconds;

namespace {
const WarningLimiter::Time kStart{std::chrono::hours{1}};
}

TEST_CASE("warnings: one a minute for an address, with a count of the others") {
  WarningLimiter limiter(seconds{60}, 256);
  CHECK(limiter.admit("10.0.0.9", "wrong key", kStart).value() == "connection from '10.0.0.9': wrong key");
  for (int i = 1; i <= 31; ++i) {
    CHECK_FALSE(limiter.admit("10.0.0.9", "wrong key", kStart + seconds{i}));
  }
  CHECK(limiter.admit("10.0.0.9", "no TLS", kStart + seconds{60}).value() ==
        "connection from '10.0.0.9': no TLS (31 more since the last warning)");
  CHECK_FALSE(limiter.admit("10.0.0.9", "no TLS", kStart + seconds{119}));
}

TEST_CASE("warnings: addresses do not hide each other") {
  WarningLimiter limiter(seconds{60}, 256);
  CHECK(limiter.admit("a", "x", kStart));
  CHECK(limiter.admit("b", "x", kStart));
  CHECK_FALSE(limiter.admit("a", "x", kStart));
}

TEST_CASE("warnings: a flood from everywhere is bounded too, and room comes back") {
  WarningLimiter limiter(seconds{60}, 3);
  int lines = 0;
  for (int i = 0; i < 1000; ++i) {
    lines += limiter.admit("10.0.0." + std::to_string(i), "x", kStart) ? 1 : 0;
  }
  CHECK(lines == 4);  // three of their own, and one for all the rest
  CHECK_THAT(limiter.admit("10.0.0.999", "x", kStart + seconds{30}).value_or("none"), Catch::Equals("none"));
  CHECK(limiter.admit("10.0.0.500", "x", kStart + seconds{61}));
  CHECK_FALSE(limiter.admit("10.0.0.500", "x", kStart + seconds{62}));
}
