#include "spelling.h"

#include <catch2/catch.hpp>

using namespace mbsync;

TEST_CASE("spelling: the nearest name, if it is near") {
  CHECK(did_you_mean("stauts", {"start", "status", "stop"}) == "did you mean 'status'?");
  CHECK(did_you_mean("sotp", {"start", "status", "stop"}) == "did you mean 'stop'?");
  CHECK(did_you_mean("uninstal", {"install", "uninstall"}) == "did you mean 'uninstall'?");
  CHECK(did_you_mean("replicate", {"start", "status", "stop"}).empty());
  CHECK(did_you_mean("x", {}).empty());
  CHECK(did_you_mean("x", {""}).empty());
}
