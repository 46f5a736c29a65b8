// The unit file that systemd reads. Pure.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>

namespace mbsync {

struct ServiceSpec {
  std::filesystem::path program;  ///< mbsyncd, absolute
  std::filesystem::path config;   ///< mbsync.toml, absolute
  std::string user;               ///< whom it runs as; its group has the same name
  std::filesystem::path data_dir;
  /// With pauses between restarts that grow. Only systemd 254 and later can, earlier ones take note of what they do not
  /// know in the journal, again and again: knows_growing_pauses().
  bool growing_pauses = false;
};

std::string systemd_unit(const ServiceSpec& spec);

/// `said`: of 'systemctl --version', as "systemd 252 (252.39-1~deb12u1)". False if it cannot be read.
bool knows_growing_pauses(std::string_view said);

}  // namespace mbsync
