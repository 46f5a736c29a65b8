// Tells systemd how the node goes: readiness, a line about what it does, signs of life for its watchdog (sd_notify(3)).
// Does nothing where no systemd listens.
#pragma once

#include <chrono>
#include <string_view>

#include "supervisor.h"

namespace mbsync {

class SystemdSupervisor : public Supervisor {
 public:
  SystemdSupervisor();

  using Supervisor::doing;
  void doing(std::string_view phase, std::string_view detail) override;
  void ready() override;
  void alive() override;
  void stopping() override;

 private:
  std::chrono::steady_clock::duration watchdog_{};  ///< how often a sign of life is due; 0: never
  std::chrono::steady_clock::time_point last_sign_;
};

}  // namespace mbsync
