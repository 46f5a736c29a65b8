#include "engine_turn.h"

#include <algorithm>
#include <atomic>
#include <catch2/catch.hpp>
#include <thread>
#include <vector>

using namespace mbsync;
using std::chrono::milliseconds;

TEST_CASE("engine turn: one at a time, and whoever has no more patience goes without") {
  EngineTurn turn;
  CHECK(turn.enter({}));
  CHECK_FALSE(turn.enter(milliseconds{20}));
  turn.leave();
  CHECK(turn.enter(milliseconds{0}));
  turn.leave();

  std::atomic<int> inside = 0;
  std::atomic<int> most = 0;
  std::vector<std::jthread> threads;
  threads.reserve(4);
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&, patient = i % 2 == 0] {
      for (int round = 0; round < 200; ++round) {
        if (turn.enter(patient ? Patience{} : Patience{milliseconds{1}})) {
          const EngineTurn::Leaver leaver(turn);
          most = std::max<int>(most, ++inside);
          --inside;
        }
      }
    });
  }
  threads.clear();
  CHECK(most == 1);
  CHECK(turn.enter(milliseconds{0}));
}
