// The steps that take the service off a machine and, when everything is to go, schema mbsync, data, configuration and
// user as well. What the application has stays as it is. Run again, they do what is left to do.
#pragma once

#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "database_look.h"
#include "plan.h"
#include "service_manager.h"

namespace mbsync {

struct Uninstallation {
  std::filesystem::path directory;  ///< of the configuration
  std::optional<Config> config;     ///< as it stands there; nothing if it cannot be read
  bool purge = false;               ///< everything goes
  bool leave_database = false;      ///< but schema mbsync stays
  ServiceManager* manager = nullptr;
};

std::vector<std::unique_ptr<Step>> make_uninstall_plan(Uninstallation& uninstallation);

/// Whether the database lets its part of the plan be done, as far as looking tells: to be asked before the service is
/// stopped. Errors as that step has them.
Result<void> look_at_database_first(Uninstallation& uninstallation);

/// Sentences about what would be lost with schema mbsync; none if nothing would.
std::vector<std::string> what_is_lost(const Unsent& unsent);

}  // namespace mbsync
