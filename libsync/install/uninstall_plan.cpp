#include "uninstall_plan.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "install_plan.h"

namespace mbsync {
namespace {

constexpr const char* kStatement = "DROP SCHEMA mbsync CASCADE";

class ServiceGoes : public Step {
 public:
  explicit ServiceGoes(Uninstallation& out) : Step("service"), out_(out) {}

  Result<Finding> look() override {
    const auto state = out_.manager->state();
    MBSYNC_TRY(state);
    const auto place = out_.manager->definition_place();
    const auto file = read_file(place);
    MBSYNC_TRY(file);
    // The package's unit stays with the package, and does nothing by itself.
    const bool at_work = state->enabled || state->runs != ServiceRuns::kStopped;
    if (!*file && (!state->installed || !at_work)) {
      return Finding{Finding::State::kAsItShouldBe,
                     state->installed ? "does not run, nor start with the machine" : "is not installed"};
    }
    return Finding{Finding::State::kToDo, *file ? fmt::format("stopped, and {} removed", place.string())
                                                : "stopped, and does not start with the machine any more"};
  }

  Result<Done> act() override {
    auto found = look();
    MBSYNC_TRY(found);
    MBSYNC_TRY(out_.manager->uninstall());
    return Done{std::move(found->what)};
  }

 private:
  Uninstallation& out_;
};

class SchemaGoes : public Step {
 public:
  explicit SchemaGoes(Uninstallation& out) : Step("database"), out_(out) {}

  Result<Finding> look() override {
    if (out_.leave_database) {
      return Finding{Finding::State::kLeft, fmt::format("as it is; by hand, in psql: {}", kStatement)};
    }
    if (!out_.config || out_.config->database_url.conninfo.empty()) {
      return Finding{
          Finding::State::kLeft,
          fmt::format("no configuration says which it is; if schema mbsync is there, in psql: {}", kStatement)};
    }
    const auto account = who_looks();
    MBSYNC_TRY(account);
    const auto view = look_at_purge_as(*account, *out_.config);
    if (!view) {
      return with_a_way_out(view.error());
    }
    if (!view->database_there || !view->look.schema_there) {
      return Finding{Finding::State::kAsItShouldBe,
                     fmt::format("{} {}", out_.config->database_url.display,
                                 view->database_there ? "has no schema mbsync" : "is not there any more")};
    }
    if (!view->look.used_by.empty()) {
      return with_a_way_out(
          Error{ErrorKind::kConfig,
                fmt::format("schema mbsync cannot be removed without taking along what was built upon it: {}",
                            fmt::join(view->look.used_by, ", ")),
                "remove or change that first, then say it again", ErrorArea::kDatabase});
    }
    return Finding{Finding::State::kToDo,
                   fmt::format("schema mbsync and {} triggers removed from {}", view->look.triggers,
                               out_.config->database_url.display),
                   what_is_lost(view->unsent)};
  }

  Result<Done> act() override {
    const auto account = who_looks();
    MBSYNC_TRY(account);
    const auto gone = purge_as(*account, *out_.config);
    if (!gone) {
      return with_a_way_out(gone.error());
    }
    return Done{fmt::format("schema mbsync and {} triggers removed from {}", gone->triggers,
                            out_.config->database_url.display)};
  }

 private:
  static Error with_a_way_out(Error error) {
    error.hint += fmt::format("{}--skip-db removes all else and leaves the database as it is",
                              error.hint.empty() ? "" : "; or: ");
    return error;
  }

  Uninstallation& out_;
};

class DataGoes : public Step {
 public:
  explicit DataGoes(Uninstallation& out) : Step("data"), out_(out) {}

  Result<Finding> look() override {
    path_ = out_.config && out_.config->data_dir.is_absolute() ? out_.config->data_dir
                                                               : std::filesystem::path(kServiceDataDir);
    const auto there = look_at_file(path_);
    MBSYNC_TRY(there);
    if (!*there) {
      return Finding{Finding::State::kAsItShouldBe, fmt::format("{} is not there", path_.string())};
    }
    const auto account = find_account(kServiceUser);
    if (!account || (*there)->rights.owner.user != account->owner.user) {
      return Finding{Finding::State::kLeft, fmt::format("{} is not the user {}'s; by hand: sudo rm -r {}",
                                                        path_.string(), kServiceUser, path_.string())};
    }
    return Finding{Finding::State::kToDo, fmt::format("{} removed", path_.string())};
  }

  Result<Done> act() override {
    MBSYNC_TRY(remove_all_of(path_));
    return Done{fmt::format("{} removed", path_.string())};
  }

 private:
  Uninstallation& out_;
  std::filesystem::path path_;
};

class ConfigurationGoes : public Step {
 public:
  explicit ConfigurationGoes(Uninstallation& out) : Step("configuration"), out_(out) {}

  Result<Finding> look() override {
    there_.clear();
    std::vector<std::string> names;
    for (const char* name : {kTomlFile, kSecretsFile}) {
      const auto look = look_at_file(out_.directory / name);
      MBSYNC_TRY(look);
      if (*look) {
        there_.push_back(out_.directory / name);
        names.push_back(there_.back().string());
      }
    }
    if (there_.empty()) {
      return Finding{Finding::State::kAsItShouldBe, fmt::format("nothing of it is in {}", out_.directory.string())};
    }
    return Finding{Finding::State::kToDo, fmt::format("{} removed", fmt::join(names, ", "))};
  }

  Result<Done> act() override {
    auto found = look();
    MBSYNC_TRY(found);
    for (const auto& path : there_) {
      MBSYNC_TRY(remove_all_of(path));
    }
    std::error_code error;
    if (std::filesystem::is_empty(out_.directory, error)) {
      MBSYNC_TRY(remove_all_of(out_.directory));
    }
    return Done{std::move(found->what)};
  }

 private:
  Uninstallation& out_;
  std::vector<std::filesystem::path> there_;
};

class AccountGoes : public Step {
 public:
  AccountGoes() : Step("user") {}

  Result<Finding> look() override {
    const auto account = find_account(kServiceUser);
    if (!account) {
      return Finding{Finding::State::kAsItShouldBe, fmt::format("{} is not there", kServiceUser)};
    }
    if (!account->made_for_mbsync) {
      return Finding{Finding::State::kLeft, fmt::format("{} was not made by 'mbsync install'; by hand: sudo userdel {}",
                                                        kServiceUser, kServiceUser)};
    }
    return Finding{Finding::State::kToDo, fmt::format("the system user {} removed", kServiceUser)};
  }

  Result<Done> act() override {
    MBSYNC_TRY(remove_account(kServiceUser));
    return Done{fmt::format("the system user {} removed", kServiceUser)};
  }
};

}  // namespace

Result<void> look_at_database_first(Uninstallation& uninstallation) {
  if (!uninstallation.purge) {
    return {};
  }
  const auto look = SchemaGoes(uninstallation).look();
  MBSYNC_TRY(look);
  return {};
}

std::vector<std::unique_ptr<Step>> make_uninstall_plan(Uninstallation& uninstallation) {
  std::vector<std::unique_ptr<Step>> steps;
  steps.push_back(std::make_unique<ServiceGoes>(uninstallation));
  if (uninstallation.purge) {
    steps.push_back(std::make_unique<SchemaGoes>(uninstallation));
    steps.push_back(std::make_unique<DataGoes>(uninstallation));
    steps.push_back(std::make_unique<ConfigurationGoes>(uninstallation));
    steps.push_back(std::make_unique<AccountGoes>());
  }
  return steps;
}

std::vector<std::string> what_is_lost(const Unsent& unsent) {
  std::vector<std::string> sentences;
  if (unsent.writes > 0) {
    sentences.push_back(
        fmt::format("{} writes of this machine have not reached all others; they stay here alone", unsent.writes));
  }
  if (unsent.open_conflicts > 0) {
    sentences.push_back(
        fmt::format("{} conflicts wait for a person; what was kept for that goes ('mbsync resolve' lists them)",
                    unsent.open_conflicts));
  }
  if (unsent.waiting_rows > 0) {
    sentences.push_back(
        fmt::format("{} rows of other machines wait, and have not reached the tables", unsent.waiting_rows));
  }
  return sentences;
}

}  // namespace mbsync
