// Prints the unit of the Debian package: the same text as everywhere, with the package's places. It is for the release
// of the system that the package is made on.
#include <chrono>
#include <iostream>

#include "command.h"
#include "service_unit.h"

int main() {
  const auto version = mbsync::run_or_fail({"systemctl", "--version"}, std::chrono::seconds{10});
  std::cout << mbsync::systemd_unit({.program = "/usr/bin/mbsyncd",
                                     .config = "/etc/mbsync/mbsync.toml",
                                     .user = "mbsync",
                                     .data_dir = "/var/lib/mbsync",
                                     .growing_pauses = version && mbsync::knows_growing_pauses(*version)});
  return std::cout.flush() ? 0 : 1;
}
