#include "command.h"

#include <stdlib.h>  // NOLINT(modernize-deprecated-headers): setenv

#include <catch2/catch.hpp>
#include <cstdlib>
#include <filesystem>

using namespace mbsync;
using std::chrono::seconds;

TEST_CASE("command: what administrators run is found where PATH does not lead") {
  if (!std::filesystem::exists("/usr/sbin/nologin")) {
    return;  // Debian's login has it
  }
  const std::string path = std::getenv("PATH");
  ::setenv("PATH", "/usr/bin:/bin", 1);
  const auto done = run_command({"nologin"}, seconds{10});
  const auto absent = run_command({"no-such-program-anywhere"}, seconds{10});
  ::setenv("PATH", path.c_str(), 1);
  REQUIRE(done);
  CHECK(done->exit_code == 1);
  CHECK_THAT(done->output, Catch::Contains("not available"));
  REQUIRE_FALSE(absent);
  CHECK(absent.error().kind == ErrorKind::kNotFound);
}

TEST_CASE("command: what failed is told with its end, and no secret of this process is handed on") {
  ::setenv("DATABASE_URL", "hush-hush", 1);
  const auto told = run_command({"sh", "-c", "echo $DATABASE_URL-$LC_ALL; exit 3"}, seconds{10});
  ::unsetenv("DATABASE_URL");
  REQUIRE(told);
  CHECK(told->exit_code == 3);
  CHECK(told->output == "-C\n");
  const auto failed = run_or_fail({"sh", "-c", "echo why; exit 3"}, seconds{10});
  REQUIRE_FALSE(failed);
  CHECK(failed.error().message == "'sh -c 'echo why; exit 3'' failed with exit code 3: why");
}
