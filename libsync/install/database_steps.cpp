// The steps of an installation that look at the database and the ports, and that make the schema.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <chrono>
#include <thread>

#include "install_plan.h"

namespace mbsync {
namespace {

constexpr const char* kNotYet = "is looked at once the user is there";

const Check* failed_one(const std::vector<Check>& checks) {
  const auto found =
      std::find_if(checks.begin(), checks.end(), [](const Check& check) { return check.verdict == Verdict::kFailed; });
  return found == checks.end() ? nullptr : &*found;
}

void add_warnings(const std::vector<Check>& checks, std::vector<std::string>& details) {
  for (const auto& check : checks) {
    // Of tables everything is said, one by one; the schema has a step of its own.
    if (check.verdict == Verdict::kWarning && check.name != "tables" && check.name != "schema") {
      details.push_back(
          fmt::format("{}: {}{}", check.name, check.what, check.next.empty() ? "" : "; next: " + check.next));
    }
  }
}

Error database_error(const Check& check, const DatabaseUrl& url) {
  Error error{ErrorKind::kConfig, check.what, check.next, ErrorArea::kDatabase};
  if (goes_by_account(url)) {
    error.hint += fmt::format(
        "{}DATABASE_URL has no password, so the service comes as the user {} of this system: let that in as the role "
        "of DATABASE_URL (a line in pg_ident.conf, or a role of its name), or put a password into DATABASE_URL",
        error.hint.empty() ? "" : "; ", kServiceUser);
  }
  return error;
}

bool runs(ServiceManager& manager) {
  const auto state = manager.state();
  return state && (state->runs == ServiceRuns::kRunning || state->runs == ServiceRuns::kStarting);
}

class DatabaseStep : public Step {
 public:
  explicit DatabaseStep(Installation& installation) : Step("database"), installation_(installation) {}

  Result<Finding> look() override {
    const auto& config = installation_.config();
    if (goes_by_account(config.database_url) && !find_account(kServiceUser)) {
      return Finding{Finding::State::kToDo, fmt::format("{} {}", config.database_url.display, kNotYet)};
    }
    auto found = look_now();
    MBSYNC_TRY(found);
    return Finding{Finding::State::kAsItShouldBe, std::move(found->what), std::move(found->details)};
  }

  Result<Done> act() override { return look_now(); }

 private:
  Result<Done> look_now() {
    const auto account = who_looks();
    MBSYNC_TRY(account);
    auto look = look_as(*account, installation_.config());
    MBSYNC_TRY(look);
    if (const auto* check = failed_one(look->checks)) {
      return database_error(*check, installation_.config().database_url);
    }
    if (look->node_at_work && !runs(*installation_.manager)) {
      return Error{ErrorKind::kTransient, "an mbsync is at work on this database already, and it is not the service",
                   "stop it (an 'mbsync run' that somebody has started), then say it again", ErrorArea::kDatabase};
    }
    Done done{look->checks.front().what};
    if (!look->tables.empty()) {
      done.details.push_back(fmt::format("take part ({}): {}", look->tables.size(), fmt::join(look->tables, ", ")));
    } else {
      done.details.emplace_back("no table takes part: run the application's migrations on this database");
    }
    for (const auto& [table, reason] : look->refused) {
      done.details.push_back(fmt::format("not: {} {}", table, reason));
    }
    add_warnings(look->checks, done.details);
    installation_.database = std::move(*look);
    return done;
  }

  Installation& installation_;
};

class PortStep : public Step {
 public:
  explicit PortStep(Installation& installation) : Step("port"), installation_(installation) {}

  Result<Finding> look() override {
    if (!installation_.database) {
      return Finding{Finding::State::kToDo, fmt::format("{} {}", installation_.config().port, kNotYet)};
    }
    auto found = look_now();
    MBSYNC_TRY(found);
    return Finding{Finding::State::kAsItShouldBe, std::move(found->what), std::move(found->details)};
  }

  Result<Done> act() override { return look_now(); }

 private:
  Result<Done> look_now() {
    const auto& ports = installation_.database->ports;
    if (const auto* check = failed_one(ports)) {
      if (!is_held_by_the_service()) {
        return Error{ErrorKind::kConfig, fmt::format("port {}", check->what), check->next, ErrorArea::kPort};
      }
      return Done{fmt::format("{} is held by the service, which is running", installation_.config().port)};
    }
    Done done{ports.front().what};
    add_warnings(ports, done.details);
    return done;
  }

  /// It may not be asked any more who it is, as its key is about to change.
  bool is_held_by_the_service() {
    const auto& changes = installation_.settings.changes;
    const bool same = std::none_of(changes.begin(), changes.end(), [](const SettingChange& change) {
      return change.key == ConfigKey::kPort || change.key == ConfigKey::kBindAddress;
    });
    const bool another_key = std::any_of(changes.begin(), changes.end(), [](const SettingChange& change) {
      return change.key == ConfigKey::kRegistrationKey && change.replaces;
    });
    return same && another_key && runs(*installation_.manager);
  }

  Installation& installation_;
};

class SchemaStep : public Step {
 public:
  explicit SchemaStep(Installation& installation) : Step("schema"), installation_(installation) {}

  Result<Finding> look() override {
    const auto& found = installation_.database;
    if (found && found->prepared) {
      return Finding{Finding::State::kAsItShouldBe,
                     fmt::format("schema mbsync is there, node {}, triggers in place", found->node)};
    }
    if (found && found->older_schema && found->node_at_work) {
      installation_.restart = true;
      return Finding{Finding::State::kAsItShouldBe, "schema mbsync is of an earlier version; the restart renews it"};
    }
    return Finding{Finding::State::kToDo, "schema mbsync, with triggers on each table that takes part"};
  }

  Result<Done> act() override {
    const auto account = who_looks();
    MBSYNC_TRY(account);
    if (installation_.database && installation_.database->node_at_work) {
      return wait_for_node(*account);
    }
    const auto report = prepare_as(*account, installation_.config());
    if (!report) {
      return report.error().area == ErrorArea::kOther ? report.error().about(ErrorArea::kDatabase) : report.error();
    }
    Done done{fmt::format("schema mbsync {}; tables with triggers: {} ({} made anew), rows taken in: {}",
                          report->created ? "made" : "is there", report->tables, report->triggers_installed,
                          report->rows_adopted)};
    for (const auto& table : report->waiting) {
      done.details.push_back(
          fmt::format("{}: its triggers wait for a transaction of the application; the node sees to it", table));
    }
    return done;
  }

 private:
  Result<Done> wait_for_node(const Account& account) {
    constexpr std::chrono::seconds kSeesToItWithin{30};
    constexpr std::chrono::milliseconds kLookEvery{300};
    const auto until = std::chrono::steady_clock::now() + kSeesToItWithin;
    for (;;) {
      const auto look = look_as(account, installation_.config());
      MBSYNC_TRY(look);
      if (look->prepared) {
        return Done{"triggers were missing; the node that runs has put them in place"};
      }
      if (std::chrono::steady_clock::now() >= until) {
        return Error{ErrorKind::kTransient,
                     "triggers are missing, and the node that runs has not put them in place within 30 s",
                     "its log says what it waits for (journalctl -u mbsync); 'sudo mbsync restart' may help",
                     ErrorArea::kDatabase};
      }
      std::this_thread::sleep_for(kLookEvery);
    }
  }

  Installation& installation_;
};

}  // namespace

std::unique_ptr<Step> make_database_step(Installation& installation) {
  return std::make_unique<DatabaseStep>(installation);
}

std::unique_ptr<Step> make_port_step(Installation& installation) {
  return std::make_unique<PortStep>(installation);
}

std::unique_ptr<Step> make_schema_step(Installation& installation) {
  return std::make_unique<SchemaStep>(installation);
}

}  // namespace mbsync
