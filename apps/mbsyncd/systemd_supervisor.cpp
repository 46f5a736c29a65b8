#include "systemd_supervisor.h"

#include <fmt/format.h>
#include <systemd/sd-daemon.h>

#include <algorithm>
#include <cstdint>

namespace mbsync {

SystemdSupervisor::SystemdSupervisor() {
  std::uint64_t microseconds = 0;
  if (sd_watchdog_enabled(0, &microseconds) > 0) {
    // Twice as often as it has to be, as sd_watchdog_enabled(3) advises.
    watchdog_ = std::chrono::microseconds(microseconds) / 2;
  }
}

void SystemdSupervisor::doing(std::string_view phase, std::string_view detail) {
  auto text = fmt::format("{}{}{}", phase, detail.empty() ? "" : ": ", detail);
  std::replace(text.begin(), text.end(), '\n', ' ');
  sd_notify(0, fmt::format("STATUS={}", text).c_str());
}

void SystemdSupervisor::ready() {
  sd_notify(0, "READY=1");
}

void SystemdSupervisor::alive() {
  const auto now = std::chrono::steady_clock::now();
  if (watchdog_.count() > 0 && now - last_sign_ >= watchdog_) {
    sd_notify(0, "WATCHDOG=1");
    last_sign_ = now;
  }
}

void SystemdSupervisor::stopping() {
  sd_notify(0, "STOPPING=1\nSTATUS=stopping");
}

}  // namespace mbsync
