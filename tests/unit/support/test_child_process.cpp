#include <catch2/catch.hpp>
#include <csignal>
#include <stdexcept>

#include "child_process.h"
#include "free_port.h"
#include "wait_until.h"

using namespace mbsync::test;
using namespace std::chrono_literals;

TEST_CASE("child process: output, input, environment and exit code") {
  const Finished done = run_program("sh", {.arguments = {"-c", "cat; echo \"$NAME${HOME-none}\" >&2; exit 5"},
                                           .environment = {{"NAME", "value "}},
                                           .unset = {"HOME"},
                                           .input = "typed"});
  CHECK(done.exit_code == 5);
  CHECK(done.out == "typed");
  CHECK(done.err == "value none\n");
}

TEST_CASE("child process: a program that does not exist is an error, not an exit code") {
  CHECK_THROWS_AS(ChildProcess("/nonexistent/program"), std::runtime_error);
}

TEST_CASE("child process: wait gives up at the deadline, and signals arrive") {
  ChildProcess child{"sleep", {.arguments = {"100"}}};
  CHECK_FALSE(child.wait(20ms));
  CHECK(child.running());
  child.signal(SIGTERM);
  CHECK(child.wait(10s) == 128 + SIGTERM);
  CHECK_FALSE(child.running());
}

TEST_CASE("child process: the destructor ends the child") {
  pid_t pid = -1;
  {
    const ChildProcess child{"sleep", {.arguments = {"100"}}};
    pid = child.pid();
    CHECK(::kill(pid, 0) == 0);
  }
  CHECK(::kill(pid, 0) != 0);
}

TEST_CASE("child process: peak memory is known while it runs and afterwards") {
  ChildProcess child{"sh", {.arguments = {"-c", "read _; exit 0"}}};
  CHECK(child.wait(10s) == 0);
  ChildProcess sleeper{"sleep", {.arguments = {"100"}}};
  REQUIRE(wait_until(10s, [&] { return sleeper.peak_resident_kib() > 0; }));
  sleeper.kill();
  CHECK(sleeper.peak_resident_kib() > 0);
}

TEST_CASE("free port: neighbours are free and nothing is given twice") {
  const auto first = free_port(2);
  const auto second = free_port();
  CHECK(first >= 18000);
  CHECK(second != first);
  CHECK(second != first + 1);
}
