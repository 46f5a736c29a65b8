#include "run_as.h"

#include <stdlib.h>  // NOLINT(modernize-deprecated-headers): setenv
#include <unistd.h>

#include <catch2/catch.hpp>
#include <cstdlib>
#include <filesystem>
#include <iostream>
#include <stdexcept>

using namespace mbsync;

TEST_CASE("run as: another user, without what libpq would take from the environment, and nothing of it stays") {
  const auto nobody = find_account("nobody");
  if (!is_root() || !nobody) {
    std::cout << "skipped: it takes root, and a user nobody\n";
    return;
  }
  ::setenv("PGPASSWORD", "hush", 1);
  ::setenv("MBSYNC_STAYS", "yes", 1);
  const auto directory = std::filesystem::current_path();
  const auto told = run_as(*nobody, [] {
    const auto text = [](const char* name) {
      return std::string(std::getenv(name) == nullptr ? "-" : std::getenv(name));
    };
    return std::to_string(::geteuid()) + " " + std::to_string(::getegid()) + " " + text("PGPASSWORD") + " " +
           text("HOME") + " " + text("MBSYNC_STAYS") + " " + std::filesystem::current_path().string() + " " +
           (::access("/etc/shadow", R_OK) == 0 ? "reads" : "does not read") + " " +
           (::setuid(0) == 0 ? "comes back" : "does not come back");
  });
  ::unsetenv("PGPASSWORD");
  REQUIRE(told);
  CHECK(*told == std::to_string(nobody->owner.user) + " " + std::to_string(nobody->owner.group) +
                     " - - yes / does not read does not come back");
  CHECK(::geteuid() == 0);
  CHECK(std::filesystem::current_path() == directory);

  const std::string large(1 << 20, 'x');
  CHECK(*run_as(*nobody, [&] { return std::string(large); }) == large);
  CHECK_FALSE(run_as(*nobody, []() -> std::string { throw std::runtime_error("no"); }));
  CHECK_FALSE(run_as(*nobody, []() -> std::string { std::abort(); }));
  CHECK_FALSE(run_as(*nobody, []() -> std::string { ::_exit(3); }));
}
