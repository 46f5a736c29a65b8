#include <fmt/format.h>

#include <catch2/catch.hpp>

#include "address_limiter.h"
#include "transport_tuning.h"

using namespace mbsync;
using std::chrono::milliseconds;
using std::chrono::seconds;
using Verdict = AddressLimiter::Verdict;

namespace {

const TokenBucket::Time kStart{std::chrono::hours{1}};
constexpr AddressLimiter::Limits kLimits{.failures = {10, 10.0 / 60},
                                         .failures_known = {120, 2},
                                         .known_for = seconds{600},
                                         .connections = 3,
                                         .requests = {5, 2},
                                         .addresses = 100};

/// How many of `attempts` connections at once are let as far as a handshake, which fails.
int failures_let_through(AddressLimiter& limiter, const std::string& address, int attempts, TokenBucket::Time now) {
  int let_through = 0;
  for (int i = 0; i < attempts; ++i) {
    if (limiter.connected(address, now) == Verdict::kAdmitted) {
      ++let_through;
      limiter.handshake_failed(address, now);
      limiter.closed(address, now);
    }
  }
  return let_through;
}

}  // namespace

TEST_CASE("limits: what is counted together") {
  CHECK(limit_group("10.0.0.9") == "10.0.0.9");
  CHECK(limit_group("2001:db8:1:2:3:4:5:6") == "2001:0db8:0001:0002::/64");
  CHECK(limit_group("2001:db8:1:2::9") == limit_group("2001:db8:1:2:ffff::1"));
  CHECK(limit_group("2001:db8:1:3::9") != limit_group("2001:db8:1:2::9"));
  CHECK(limit_group("fe80::1%eth0") != limit_group("fe80::2%eth0"));
  CHECK(limit_group("fe80::1%eth0") != limit_group("fe80::1%eth1"));
  CHECK(limit_group("unknown") == "unknown");
}

TEST_CASE("limits: a bucket lets a burst through, then its rate") {
  TokenBucket bucket;
  constexpr TokenBucket::Rate kRate{3, 2};
  const auto take = [&](milliseconds at, int times) {
    int taken = 0;
    for (int i = 0; i < times; ++i) {
      taken += bucket.take(kRate, kStart + at) ? 1 : 0;
    }
    return taken;
  };
  CHECK(bucket.full(kRate, kStart));
  CHECK(take(milliseconds{0}, 10) == 3);
  CHECK_FALSE(bucket.any(kRate, kStart + milliseconds{499}));
  CHECK(bucket.any(kRate, kStart + milliseconds{500}));
  CHECK(take(milliseconds{1'000}, 10) == 2);
  CHECK(take(milliseconds{500}, 10) == 0);  // a clock that goes back gives nothing
  CHECK_FALSE(bucket.full(kRate, kStart + seconds{2}));
  CHECK(bucket.full(kRate, kStart + seconds{3}));
  CHECK(take(seconds{1'000}, 10) == 3);
}

TEST_CASE("limits: ten handshakes of one address may fail in a minute") {
  AddressLimiter limiter(kLimits);
  CHECK(failures_let_through(limiter, "10.0.0.9", 50, kStart) == 10);
  CHECK(failures_let_through(limiter, "10.0.0.9", 50, kStart + seconds{5}) == 0);
  CHECK(failures_let_through(limiter, "10.0.0.8", 50, kStart + seconds{5}) == 10);
  CHECK(failures_let_through(limiter, "10.0.0.9", 50, kStart + seconds{30}) == 5);
  CHECK(failures_let_through(limiter, "10.0.0.9", 50, kStart + seconds{300}) == 10);
  // A whole network of IPv6 is one.
  int let_through = 0;
  for (int i = 0; i < 50; ++i) {
    let_through += failures_let_through(limiter, fmt::format("2001:db8::{:x}", i), 1, kStart);
  }
  CHECK(let_through == 10);
}

TEST_CASE("limits: where the key has come from, more may fail, for a while") {
  AddressLimiter limiter(kLimits);
  CHECK_FALSE(limiter.knows("10.0.0.9", kStart));
  CHECK(failures_let_through(limiter, "10.0.0.9", 50, kStart) == 10);
  const auto later = kStart + seconds{6};  // one is let in, and has the key
  REQUIRE(limiter.connected("10.0.0.9", later) == Verdict::kAdmitted);
  limiter.handshake_done("10.0.0.9", later);
  limiter.closed("10.0.0.9", later);
  CHECK(limiter.knows("10.0.0.9", later));
  CHECK_FALSE(limiter.knows("10.0.0.8", later));
  CHECK(failures_let_through(limiter, "10.0.0.9", 500, later) >= 100);
  CHECK(limiter.knows("10.0.0.9", later + seconds{599}));
  CHECK_FALSE(limiter.knows("10.0.0.9", later + seconds{600}));
  CHECK(failures_let_through(limiter, "10.0.0.9", 50, later + seconds{600}) == 10);
}

TEST_CASE("limits: connections of one address at a time") {
  AddressLimiter limiter(kLimits);
  for (int i = 0; i < 3; ++i) {
    CHECK(limiter.connected("10.0.0.9", kStart) == Verdict::kAdmitted);
  }
  CHECK(limiter.connected("10.0.0.9", kStart) == Verdict::kTooManyConnections);
  CHECK(limiter.connected("10.0.0.8", kStart) == Verdict::kAdmitted);
  limiter.closed("10.0.0.9", kStart);
  CHECK(limiter.connected("10.0.0.9", kStart) == Verdict::kAdmitted);
  CHECK(limiter.connected("10.0.0.9", kStart) == Verdict::kTooManyConnections);
}

TEST_CASE("limits: requests of one address") {
  AddressLimiter limiter(kLimits);
  int let_through = 0;
  for (int i = 0; i < 100; ++i) {
    let_through += limiter.request("10.0.0.9", kStart + milliseconds{100} * i) ? 1 : 0;
  }
  CHECK(let_through >= 23);  // five at once, and two in each of ten seconds
  CHECK(let_through <= 25);
}

TEST_CASE("limits: addresses by the million take no room, and do not push out those that are known") {
  AddressLimiter limiter(kLimits);
  REQUIRE(limiter.connected("10.0.0.9", kStart) == Verdict::kAdmitted);
  limiter.handshake_done("10.0.0.9", kStart);
  int let_through = 0;
  for (int i = 0; i < 1'000'000; ++i) {
    const auto address =
        fmt::format("{}.{}.{}.{}", 11 + i / 256 / 256 / 256, i / 256 / 256 % 256, i / 256 % 256, i % 256);
    let_through += failures_let_through(limiter, address, 1, kStart);
    if (i % 100'000 == 0) {
      CHECK(limiter.size() <= kLimits.addresses);
    }
  }
  CHECK(limiter.size() == kLimits.addresses);
  CHECK(let_through == static_cast<int>(kLimits.addresses) - 1 + 10);  // each its first, and ten of all the rest
  CHECK(limiter.knows("10.0.0.9", kStart));
  // Once it is over there is room again.
  CHECK(limiter.connected("10.1.1.1", kStart + seconds{60}) == Verdict::kAdmitted);
  CHECK(limiter.size() == 2);
  // What was counted with the rest ends there.
  limiter.closed("10.1.1.1", kStart + seconds{60});
  limiter.closed("10.1.1.1", kStart + seconds{60});
  CHECK(limiter.connected("10.1.1.1", kStart + seconds{60}) == Verdict::kAdmitted);
}

TEST_CASE("limits: what one node may ask for") {
  SenderLimiter limiter({.requests = {5, 2}, .exchanges = 2, .senders = 3});
  using Answer = SenderLimiter::Verdict;
  CHECK(limiter.begun(1, kStart) == Answer::kAdmitted);
  CHECK(limiter.begun(1, kStart) == Answer::kAdmitted);
  CHECK(limiter.begun(1, kStart) == Answer::kTooManyExchanges);
  CHECK(limiter.begun(2, kStart) == Answer::kAdmitted);
  limiter.ended(1);
  CHECK(limiter.begun(1, kStart) == Answer::kAdmitted);
  limiter.ended(1);
  limiter.ended(1);
  CHECK(limiter.begun(1, kStart) == Answer::kAdmitted);
  limiter.ended(1);
  CHECK(limiter.begun(1, kStart) == Answer::kAdmitted);
  limiter.ended(1);
  CHECK(limiter.begun(1, kStart) == Answer::kTooManyRequests);
  CHECK(limiter.begun(1, kStart + milliseconds{500}) == Answer::kAdmitted);
  // Ids can be invented; there is room for so many, and whoever is at rest makes room.
  CHECK(limiter.begun(3, kStart) == Answer::kAdmitted);
  CHECK(limiter.begun(4, kStart) == Answer::kTooManyRequests);
  limiter.ended(3);
  CHECK(limiter.begun(4, kStart + seconds{10}) == Answer::kAdmitted);
}

TEST_CASE("limits: twenty nodes behind one address stay below them") {
  AddressLimiter limiter(tuning::kAddressLimits);
  // Each has a connection that waits and one more; and one of them has a wrong key, and tries both that it has.
  for (int i = 0; i < 40; ++i) {
    REQUIRE(limiter.connected("127.0.0.1", kStart) == Verdict::kAdmitted);
    limiter.handshake_done("127.0.0.1", kStart);
  }
  for (int second = 0; second < 3'600; second += 15) {
    const auto now = kStart + seconds{second};
    CHECK(failures_let_through(limiter, "127.0.0.1", 4, now) == 4);
    limiter.handshake_done("127.0.0.1", now);
  }
}
