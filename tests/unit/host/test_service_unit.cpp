#include "service_unit.h"

#include <catch2/catch.hpp>

using namespace mbsync;

TEST_CASE("service unit: pauses grow where systemd can do that, and it is told nothing that it does not know") {
  CHECK_FALSE(knows_growing_pauses("systemd 252 (252.39-1~deb12u1)\n+PAM +AUDIT\n"));
  CHECK_FALSE(knows_growing_pauses("systemd 253.5 (x)"));
  CHECK(knows_growing_pauses("systemd 254 (254.1-1)"));
  CHECK(knows_growing_pauses("systemd 257.7 (257.7-1)\n"));
  CHECK_FALSE(knows_growing_pauses(""));
  CHECK_FALSE(knows_growing_pauses("command not found"));

  ServiceSpec spec{"/usr/bin/mbsyncd", "/etc/mbsync/mbsync.toml", "mbsync", "/var/lib/mbsync"};
  CHECK_THAT(systemd_unit(spec),
             Catch::Contains("\nRestartSec=5\nRestartPreventExitStatus=2\n") && !Catch::Contains("Steps"));
  spec.growing_pauses = true;
  CHECK_THAT(systemd_unit(spec),
             Catch::Contains("\nRestartSec=5\nRestartSteps=6\nRestartMaxDelaySec=60\nRestartPreventExitStatus=2\n"));
}
