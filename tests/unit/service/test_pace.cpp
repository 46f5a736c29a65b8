#include "pace.h"

#include <catch2/catch.hpp>
#include <thread>

using namespace mbsync;
using std::chrono::seconds;
using std::chrono::steady_clock;

TEST_CASE("pace: waits double up to the longest and begin anew") {
  Backoff backoff(milliseconds{100}, milliseconds{350});
  CHECK(backoff.next() == milliseconds{100});
  CHECK(backoff.next() == milliseconds{200});
  CHECK(backoff.next() == milliseconds{350});
  CHECK(backoff.next() == milliseconds{350});
  backoff.reset();
  CHECK(backoff.next() == milliseconds{100});
}

TEST_CASE("pace: a stop ends a pause") {
  std::stop_source stop;
  Pause pause(stop.get_token());
  const auto begun = steady_clock::now();
  pause(milliseconds{10});
  CHECK(steady_clock::now() - begun >= milliseconds{10});
  std::jthread stopper([&] { stop.request_stop(); });
  pause(seconds{60});
  CHECK(steady_clock::now() - begun < seconds{10});
}

TEST_CASE("pace: whoever is in a hurry ends the pause under way, or else the next one") {
  const std::stop_source stop;
  Pause pause(stop.get_token());
  const auto begun = steady_clock::now();
  pause.hurry();
  pause(seconds{60});
  std::jthread other([&] { pause.hurry(); });
  pause(seconds{60});
  CHECK(steady_clock::now() - begun < seconds{10});
  other.join();
  const auto again = steady_clock::now();
  pause(milliseconds{10});
  CHECK(steady_clock::now() - again >= milliseconds{10});
}

TEST_CASE("pace: a thing is said once until it changes") {
  Announcer announcer;
  CHECK(announcer.is_news(""));
  CHECK_FALSE(announcer.is_news(""));
  CHECK(announcer.is_news("away"));
  CHECK_FALSE(announcer.is_news("away"));
  CHECK(announcer.is_news(""));
  announcer.forget();
  CHECK(announcer.is_news(""));
}

TEST_CASE("pace: what is said about one sender hides nothing about another, and is said anew when all was well") {
  SenderAnnouncer announcer;
  CHECK(announcer.is_news("a", "refused"));
  CHECK_FALSE(announcer.is_news("a", "refused"));
  CHECK(announcer.is_news("b", "refused"));
  CHECK(announcer.is_news("a", "refused for another reason"));
  announcer.forget("a");
  CHECK(announcer.is_news("a", "refused for another reason"));
  CHECK_FALSE(announcer.is_news("b", "refused"));
  // However many there are, there is room; those who are known already do not make it anew.
  for (std::size_t i = 0; i + 2 < kSendersKept; ++i) {
    CHECK(announcer.is_news(std::to_string(i), "refused"));
  }
  CHECK_FALSE(announcer.is_news("b", "refused"));
  CHECK(announcer.is_news("one more", "refused"));
  CHECK_FALSE(announcer.is_news("one more", "refused"));
}

TEST_CASE("pace: asking again is quick at first, then rarer, and overdue when no peer would take so long to join") {
  AskAgainPace pace;
  AskAgainPace::Time now{std::chrono::hours{1}};
  const auto begun = now;
  for (int i = 0; i < kAskAgainQuick; ++i) {
    const auto next = pace.next(now);
    CHECK(next.wait == kAskAgainPause);
    CHECK_FALSE(next.overdue);
    now += next.wait;
  }
  milliseconds last = kAskAgainPause;
  int asked = 0;
  for (auto next = pace.next(now); !next.overdue; next = pace.next(now)) {
    CHECK(next.wait >= last);
    CHECK(next.wait <= kBackoffMax);
    last = next.wait;
    now += next.wait;
    ++asked;
  }
  CHECK(asked < 12);
  CHECK(now - begun >= kAskAgainPatience);
  CHECK(now - begun < kAskAgainPatience + kBackoffMax);

  pace.reset();
  const auto next = pace.next(now);
  CHECK(next.wait == kAskAgainPause);
  CHECK_FALSE(next.overdue);
}
