#include "install_plan.h"

#include <fmt/format.h>

namespace mbsync {

ServiceSpec Installation::service() const {
  return {.program = program, .config = toml(), .user = kServiceUser, .data_dir = config().data_dir};
}

Result<Account> who_looks() {
  for (const char* name : {kServiceUser, "nobody"}) {
    if (auto account = find_account(name)) {
      return std::move(*account);
    }
  }
  return Error{ErrorKind::kConfig, fmt::format("there is neither a user '{}' nor 'nobody' to try it as", kServiceUser),
               fmt::format("make one: useradd --system --user-group {}", kServiceUser)};
}

std::vector<std::unique_ptr<Step>> make_install_plan(Installation& installation) {
  std::vector<std::unique_ptr<Step>> steps;
  steps.push_back(make_settings_step(installation));
  // What comes to the database by its account alone has to be there first.
  const bool account_first = goes_by_account(installation.config().database_url);
  if (account_first) {
    steps.push_back(make_account_step());
  }
  steps.push_back(make_database_step(installation));
  steps.push_back(make_port_step(installation));
  if (!account_first) {
    steps.push_back(make_account_step());
  }
  steps.push_back(make_directories_step(installation));
  steps.push_back(make_configuration_step(installation));
  steps.push_back(make_schema_step(installation));
  steps.push_back(make_unit_step(installation));
  steps.push_back(make_service_step(installation));
  steps.push_back(make_firewall_step(installation));
  return steps;
}

}  // namespace mbsync
