// Prints the unit of the Debian package: the same text as everywhere, with the package's places.
#include <iostream>

#include "service_unit.h"

int main() {
  std::cout << mbsync::systemd_unit({.program = "/usr/bin/mbsyncd",
                                     .config = "/etc/mbsync/mbsync.toml",
                                     .user = "mbsync",
                                     .data_dir = "/var/lib/mbsync"});
  return std::cout.flush() ? 0 : 1;
}
