// The unit file that systemd reads; the Debian package carries the same text, made by the same function. Pure.
#pragma once

#include <string>

#include "service_manager.h"

namespace mbsync {

std::string systemd_unit(const ServiceSpec& spec);

}  // namespace mbsync
