#include "lone_thread.h"

#include <sys/wait.h>
#include <unistd.h>

#include <catch2/catch.hpp>
#include <chrono>
#include <iostream>
#include <memory>
#include <mutex>
#include <thread>

using namespace mbsync;

namespace {

struct Gate {
  std::mutex closed;
};

/// Waits until there is none.
void await_none() {
  const auto until = std::chrono::steady_clock::now() + std::chrono::seconds{10};
  while (has_lone_threads() && std::chrono::steady_clock::now() < until) {
    std::this_thread::yield();
  }
}

}  // namespace

TEST_CASE("lone thread: it counts from its start until what it owned is gone") {
  CHECK_FALSE(has_lone_threads());
  CHECK(leave(7) == 7);
  auto gate = std::make_shared<Gate>();
  const std::weak_ptr<Gate> owned = gate;
  std::unique_lock open(gate->closed);
  start_lone_thread([gate] { const std::lock_guard pass(gate->closed); });
  CHECK(has_lone_threads());
  open.unlock();
  gate.reset();
  await_none();
  CHECK_FALSE(has_lone_threads());
  CHECK(owned.expired());
}

TEST_CASE("lone thread: a process ends beside one, with what it printed, and without waiting") {
  int ends[2] = {-1, -1};
  REQUIRE(::pipe(ends) == 0);
  const pid_t child = ::fork();
  REQUIRE(child >= 0);
  if (child == 0) {
    ::dup2(ends[1], STDOUT_FILENO);
    std::mutex never;
    never.lock();
    start_lone_thread([&never] { never.lock(); });
    std::cout << "printed";
    std::_Exit(leave(5) + 100);  // leave() does not come back
  }
  ::close(ends[1]);
  char text[32] = {};
  CHECK(::read(ends[0], text, sizeof text - 1) == 7);
  CHECK(std::string(text) == "printed");
  int status = 0;
  REQUIRE(::waitpid(child, &status, 0) == child);
  CHECK(WIFEXITED(status));
  CHECK(WEXITSTATUS(status) == 5);
  ::close(ends[0]);
}
