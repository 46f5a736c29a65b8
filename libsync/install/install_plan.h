// The steps that make a synchronising node of a machine, in their order: database and port looked at, then the
// service's user, directories, configuration, schema and triggers, the service, the firewall. Run again, they repair.
#pragma once

#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "database_look.h"
#include "plan.h"
#include "service_manager.h"
#include "settle_settings.h"

namespace mbsync {

/// Whom the service runs as.
inline constexpr const char* kServiceUser = "mbsync";
/// Where its log and scratch space lie, if nobody says otherwise.
inline constexpr const char* kServiceDataDir = "/var/lib/mbsync";
inline constexpr const char* kTomlFile = "mbsync.toml";
inline constexpr const char* kSecretsFile = "service.env";

/// What the steps are to make, and what they tell each other. Outlives the plan.
struct Installation {
  std::filesystem::path directory;  ///< of the configuration
  std::filesystem::path program;    ///< mbsyncd
  SettledSettings settings;
  bool open_firewall = false;
  ServiceManager* manager = nullptr;

  std::optional<DatabaseLook> database;  ///< by the step that looks at it
  bool restart = false;                  ///< the service that runs does not know of something yet

  [[nodiscard]] const Config& config() const { return settings.config; }
  [[nodiscard]] std::filesystem::path toml() const { return directory / kTomlFile; }
  [[nodiscard]] std::filesystem::path secrets() const { return directory / kSecretsFile; }
  [[nodiscard]] ServiceSpec service() const;
};

std::vector<std::unique_ptr<Step>> make_install_plan(Installation& installation);

/// The service's user or, before it is there, one that may do nothing. `config` if there is neither.
Result<Account> who_looks();

/// Why the service could not have its data there: it is hidden from services, or no place for data; nothing if it
/// could.
std::optional<Error> why_no_data_dir(const std::filesystem::path& path);

// The steps, for make_install_plan().
std::unique_ptr<Step> make_settings_step(Installation& installation);
std::unique_ptr<Step> make_database_step(Installation& installation);
std::unique_ptr<Step> make_port_step(Installation& installation);
std::unique_ptr<Step> make_account_step();
std::unique_ptr<Step> make_directories_step(Installation& installation);
std::unique_ptr<Step> make_configuration_step(Installation& installation);
std::unique_ptr<Step> make_schema_step(Installation& installation);
std::unique_ptr<Step> make_unit_step(Installation& installation);
std::unique_ptr<Step> make_service_step(Installation& installation);
std::unique_ptr<Step> make_firewall_step(Installation& installation);

}  // namespace mbsync
