#include "stop_signal.h"

#include <sys/wait.h>
#include <unistd.h>

#include <catch2/catch.hpp>
#include <chrono>
#include <condition_variable>
#include <mutex>

using namespace mbsync;

namespace {

/// What a process does that says when it has been asked to stop, and then takes for ever.
[[noreturn]] void never_end(int say) {
  const StopSignal signal;
  const auto write_one = [&](char c) { return ::write(say, &c, 1) == 1; };
  const std::stop_callback heard(signal.token(), [&] { write_one('s'); });
  write_one('r');
  for (;;) {
    ::pause();
  }
}

char next_byte(int fd) {
  char byte = 0;
  return ::read(fd, &byte, 1) == 1 ? byte : '\0';
}

}  // namespace

TEST_CASE("stop signal: the first asks, the second ends the process at once") {
  for (const auto& [first, second] : {std::pair{SIGTERM, SIGTERM}, {SIGINT, SIGINT}, {SIGINT, SIGTERM}}) {
    int pipe[2];
    REQUIRE(::pipe(pipe) == 0);
    const pid_t child = ::fork();
    REQUIRE(child >= 0);
    if (child == 0) {
      ::close(pipe[0]);
      never_end(pipe[1]);
    }
    ::close(pipe[1]);
    CHECK(next_byte(pipe[0]) == 'r');
    CHECK(::kill(child, first) == 0);
    CHECK(next_byte(pipe[0]) == 's');
    CHECK(::waitpid(child, nullptr, WNOHANG) == 0);
    CHECK(::kill(child, second) == 0);
    int status = 0;
    CHECK(::waitpid(child, &status, 0) == child);
    CHECK(WIFEXITED(status));
    CHECK(WEXITSTATUS(status) == 128 + second);
    ::close(pipe[0]);
  }
}

TEST_CASE("stop signal: a hangup that somebody sends is noted, and stops nothing") {
  StopSignal signal;
  CHECK_FALSE(signal.take_hangup());
  REQUIRE(::kill(::getpid(), SIGHUP) == 0);
  const auto until = std::chrono::steady_clock::now() + std::chrono::seconds{10};
  bool heard = false;
  while (!heard && std::chrono::steady_clock::now() < until) {
    heard = signal.take_hangup();
  }
  CHECK(heard);
  CHECK_FALSE(signal.take_hangup());
  CHECK_FALSE(signal.token().stop_requested());
}
