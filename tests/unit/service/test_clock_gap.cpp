#include "clock_gap.h"

#include <rapidcheck/catch.h>
#include <catch2/catch.hpp>

using namespace mbsync;
using std::chrono::milliseconds;
using std::chrono::seconds;

namespace {

const ClockGap::Time kStart{seconds{1'700'000'000}};

/// An exchange with a peer whose clock is `off`: its way there, what it waits, its way back.
void exchange(ClockGap& gap, milliseconds off, milliseconds there, milliseconds waits, milliseconds back) {
  gap.take(kStart, kStart + there + waits + off, kStart + there + waits + back);
}

}  // namespace

TEST_CASE("clock gap: nothing is said before an answer") {
  CHECK_FALSE(ClockGap().ahead());
}

TEST_CASE("clock gap: a quick answer tells it") {
  const milliseconds off = GENERATE(seconds{0}, seconds{7}, seconds{-7}, seconds{-86'400});
  ClockGap gap;
  exchange(gap, off, milliseconds{3}, milliseconds{0}, milliseconds{3});
  CHECK(gap.ahead() == off);
}

TEST_CASE("clock gap: an answer or a question that lay in a queue is no clock that is off") {
  ClockGap gap;
  exchange(gap, {}, milliseconds{1}, milliseconds{0}, seconds{7});
  CHECK(gap.ahead() == milliseconds{0});
  exchange(gap, {}, seconds{7}, milliseconds{0}, milliseconds{1});
  CHECK(gap.ahead() == milliseconds{0});
  exchange(gap, {}, milliseconds{1}, seconds{25}, milliseconds{1});
  CHECK(gap.ahead() == milliseconds{0});
}

TEST_CASE("clock gap: a slow answer keeps what a quick one has told") {
  ClockGap gap;
  exchange(gap, seconds{-7}, milliseconds{1}, milliseconds{0}, milliseconds{1});
  exchange(gap, seconds{-7}, milliseconds{1}, seconds{25}, milliseconds{1});
  CHECK(gap.ahead() == seconds{-7});
}

TEST_CASE("clock gap: a clock that is set right shows in the next answer, however slow") {
  const milliseconds off = GENERATE(seconds{60}, seconds{-60});
  ClockGap gap;
  exchange(gap, off, milliseconds{1}, milliseconds{0}, milliseconds{1});
  REQUIRE(gap.ahead() == off);
  exchange(gap, {}, milliseconds{1}, seconds{25}, milliseconds{1});
  REQUIRE(gap.ahead());
  CHECK(std::chrono::abs(*gap.ahead()) <= seconds{26});
  exchange(gap, {}, milliseconds{1}, milliseconds{500}, milliseconds{1});
  CHECK(std::chrono::abs(*gap.ahead()) <= seconds{1});
}

TEST_CASE("clock gap: no more is said than what the answers prove") {
  rc::prop("the estimate is off by no more than the time that the exchange took", [] {
    const auto up_to_a_minute = rc::gen::map(rc::gen::inRange(0, 60'000), [](int ms) { return milliseconds{ms}; });
    const milliseconds off{*rc::gen::inRange(-100'000, 100'000)};
    ClockGap gap;
    for (int i = 0; i < 5; ++i) {
      const auto there = *up_to_a_minute;
      const auto waits = *up_to_a_minute;
      const auto back = *up_to_a_minute;
      exchange(gap, off, there, waits, back);
      RC_ASSERT(gap.ahead().has_value());
      RC_ASSERT(std::chrono::abs(*gap.ahead() - off) <= there + waits + back);
      // Where the clocks go alike, nothing is said at all but what a quick exchange may be wrong by.
      RC_ASSERT(off != milliseconds{0} || std::chrono::abs(*gap.ahead()) <= ClockGap::kQuick);
    }
  });
}
