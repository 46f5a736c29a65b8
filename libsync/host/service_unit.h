// The unit file that systemd reads. Pure.
#pragma once

#include <filesystem>
#include <string>

namespace mbsync {

struct ServiceSpec {
  std::filesystem::path program;  ///< mbsyncd, absolute
  std::filesystem::path config;   ///< mbsync.toml, absolute
  std::string user;               ///< whom it runs as; its group has the same name
  std::filesystem::path data_dir;
};

std::string systemd_unit(const ServiceSpec& spec);

}  // namespace mbsync
