// The steps of an installation that make the service's user, its directories and its configuration.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>

#include "install_plan.h"
#include "settings.h"

namespace mbsync {
namespace {

constexpr mode_t kOpenDirectory = 0755;
constexpr mode_t kClosedDirectory = 0700;
constexpr mode_t kOpenFile = 0644;
constexpr mode_t kSecretFile = 0600;

bool is_below(const std::filesystem::path& path, const std::filesystem::path& directory) {
  const auto [end, rest] = std::mismatch(directory.begin(), directory.end(), path.begin(), path.end());
  return end == directory.end();
}

/// What ProtectHome=, PrivateTmp= and PrivateDevices= of the unit hide.
std::optional<std::string> hidden_by(const std::filesystem::path& path) {
  std::error_code error;
  const auto real = std::filesystem::weakly_canonical(path, error);
  for (const char* directory : {"/home", "/root", "/run/user", "/tmp", "/var/tmp", "/dev", "/proc", "/sys"}) {
    if (is_below(path.lexically_normal(), directory) || (!error && is_below(real, directory))) {
      return directory;
    }
  }
  return std::nullopt;
}

/// One that is somebody else's is not to become mbsync's by a slip in a setting.
Result<void> may_be_taken(const std::filesystem::path& data) {
  const auto account = find_account(kServiceUser);
  const auto there = look_at_file(data);
  MBSYNC_TRY(there);
  if (!*there || (account && (*there)->rights.owner.user == account->owner.user)) {
    return {};
  }
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(data, error)) {
    if (!entry.path().filename().string().starts_with("sync-service")) {
      return Error{ErrorKind::kConfig,
                   fmt::format("the data directory {} is not the user {}'s, and holds something ({})", data.string(),
                               kServiceUser, entry.path().filename().string()),
                   "name an empty directory, or one that is not there yet: --data-dir"};
    }
  }
  return {};
}

class SettingsStep : public Step {
 public:
  explicit SettingsStep(Installation& installation) : Step("settings"), installation_(installation) {}

  Result<Finding> look() override {
    const auto& config = installation_.config();
    if (const auto key = check_key(config); key.verdict == Verdict::kFailed) {
      return Error{ErrorKind::kConfig, key.what, key.next};
    }
    if (auto error = why_no_data_dir(config.data_dir)) {
      return std::move(*error);
    }
    MBSYNC_TRY(may_be_taken(config.data_dir));
    if (const auto hidden = hidden_by(installation_.program)) {
      return Error{ErrorKind::kConfig,
                   fmt::format("the service cannot start {}, since {} is hidden from it",
                               installation_.program.string(), *hidden),
                   "install the package, or copy mbsync and mbsyncd to /usr/local/bin, and run that mbsync"};
    }
    const auto program = look_at_file(installation_.program);
    MBSYNC_TRY(program);
    if (!*program || (*program)->is_directory) {
      return Error{ErrorKind::kConfig,
                   fmt::format("there is no {}, the program that the service is", installation_.program.string()),
                   "install it beside mbsync"};
    }
    Finding finding{Finding::State::kAsItShouldBe,
                    fmt::format("node {}, port {}, {}", config.node_name, config.port, config.database_url.display)};
    for (const auto& kept : installation_.settings.kept) {
      finding.details.push_back("kept: " + kept);
    }
    for (const auto& warning : config.warnings) {
      finding.details.push_back("warning: " + warning);
    }
    return finding;
  }

  Result<Done> act() override { return Done{}; }

 private:
  Installation& installation_;
};

class AccountStep : public Step {
 public:
  AccountStep() : Step("user") {}

  Result<Finding> look() override {
    const auto account = find_account(kServiceUser);
    if (!account) {
      return Finding{Finding::State::kToDo, fmt::format("the system user {}, whom the service runs as", kServiceUser)};
    }
    if (account->owner.user == 0 || !account->has_group) {
      return Error{ErrorKind::kConfig,
                   fmt::format("the service cannot run as the user {}: {}", kServiceUser,
                               account->owner.user == 0 ? "it is root" : "there is no group of the same name"),
                   account->owner.user == 0 ? "give that user another number"
                                            : fmt::format("groupadd --system {}", kServiceUser)};
    }
    return Finding{Finding::State::kAsItShouldBe, fmt::format("{} is there", kServiceUser)};
  }

  Result<Done> act() override {
    MBSYNC_TRY(make_account(kServiceUser));
    return Done{fmt::format("the system user {} made", kServiceUser)};
  }
};

class DirectoriesStep : public Step {
 public:
  explicit DirectoriesStep(Installation& installation) : Step("directories"), installation_(installation) {}

  Result<Finding> look() override {
    to_do_.clear();
    const auto account = find_account(kServiceUser);
    const auto& data = installation_.config().data_dir;
    MBSYNC_TRY(wants(installation_.directory, {kOpenDirectory, {}}));
    MBSYNC_TRY(may_be_taken(data));
    MBSYNC_TRY(wants(data, {kClosedDirectory, account ? account->owner : FileOwner{}}));
    // What somebody who ran mbsync as root has left behind could not be written to.
    std::error_code error;
    for (const auto& entry : std::filesystem::directory_iterator(data, error)) {
      const auto look = look_at_file(entry.path());
      MBSYNC_TRY(look);
      if (account && entry.path().filename().string().starts_with("sync-service") && entry.is_regular_file(error) &&
          *look && (*look)->rights.owner.user != account->owner.user) {
        to_do_.emplace_back(entry.path(), FileRights{(*look)->rights.mode, account->owner});
      }
    }
    std::vector<std::string> names;
    for (const auto& [path, rights] : to_do_) {
      names.push_back(fmt::format("{} ({:04o})", path.string(), rights.mode));
    }
    if (to_do_.empty()) {
      return Finding{Finding::State::kAsItShouldBe,
                     fmt::format("{}, {}", installation_.directory.string(), data.string())};
    }
    return Finding{Finding::State::kToDo, fmt::format("{}", fmt::join(names, ", "))};
  }

  Result<Done> act() override {
    auto found = look();  // the user is there by now
    MBSYNC_TRY(found);
    for (const auto& [path, rights] : to_do_) {
      std::error_code error;
      MBSYNC_TRY(std::filesystem::is_regular_file(path, error) ? set_rights(path, rights)
                                                               : make_directory(path, rights));
    }
    return Done{std::move(found->what)};
  }

 private:
  Result<void> wants(const std::filesystem::path& path, const FileRights& rights) {
    const auto there = look_at_file(path);
    MBSYNC_TRY(there);
    if (*there && !(*there)->is_directory) {
      return Error{ErrorKind::kConfig, fmt::format("'{}' is no directory", path.string()), "move it away"};
    }
    if (!*there || !((*there)->rights == rights)) {
      to_do_.emplace_back(path, rights);
    }
    return {};
  }

  Installation& installation_;
  std::vector<std::pair<std::filesystem::path, FileRights>> to_do_;
};

class ConfigurationStep : public Step {
 public:
  explicit ConfigurationStep(Installation& installation) : Step("configuration"), installation_(installation) {}

  Result<Finding> look() override {
    const auto account = find_account(kServiceUser);
    const FileOwner owner = account ? account->owner : FileOwner{};
    const auto& settings = installation_.settings;
    std::vector<std::string> secrets;
    for (const auto& entry : all_settings()) {
      if (entry.secret) {
        secrets.emplace_back(entry.toml);
      }
    }
    const auto entries = parse_toml_file(settings.toml, kTomlFile);
    MBSYNC_TRY(entries);
    const bool secret_toml = std::any_of(entries->begin(), entries->end(), [&](const FileEntry& entry) {
      return std::find(secrets.begin(), secrets.end(), entry.name) != secrets.end();
    });
    files_ = {{{installation_.toml(), settings.toml,
                secret_toml ? FileRights{kSecretFile, owner} : FileRights{kOpenFile, {}}, !secret_toml},
               {installation_.secrets(), settings.service_env, {kSecretFile, owner}, false}}};
    Finding finding;
    std::vector<std::string> names;
    for (auto& file : files_) {
      MBSYNC_TRY(compare(file, owner));
      names.push_back(file.path.string());
      if (!file.says.empty()) {
        finding.state = Finding::State::kToDo;
        finding.details.push_back(fmt::format("{}: {}", file.path.string(), file.says));
      }
    }
    finding.what = fmt::format("{}", fmt::join(names, ", "));
    return finding;
  }

  Result<Done> act() override {
    auto found = look();  // the user is there by now
    MBSYNC_TRY(found);
    for (const auto& file : files_) {
      if (file.other_text) {
        MBSYNC_TRY(write_file(file.path, file.text, file.rights));
        installation_.restart = true;
      } else if (!file.says.empty()) {
        MBSYNC_TRY(set_rights(file.path, file.rights));
      }
    }
    return Done{std::move(found->what), std::move(found->details)};
  }

 private:
  struct File {
    std::filesystem::path path;
    std::string text;
    FileRights rights;
    bool closer_is_well = false;  ///< other rights stay, as long as the service can read it and nobody else write it
    bool other_text = false;
    std::string says{};  ///< what is to be done; empty: nothing
  };

  Result<void> compare(File& file, const FileOwner& owner) {
    const auto text = read_file(file.path);
    MBSYNC_TRY(text);
    const auto there = look_at_file(file.path);
    MBSYNC_TRY(there);
    std::vector<std::string> changes;
    for (const auto& change : installation_.settings.changes) {
      if (change.in_service_env == (file.path == installation_.secrets())) {
        changes.push_back(change.text);
      }
    }
    file.other_text = !*text || **text != file.text;
    const bool right =
        *there && ((*there)->rights == file.rights || (file.closer_is_well && is_well((*there)->rights, owner)));
    if (right) {
      file.rights = (*there)->rights;
    }
    if (file.other_text) {
      file.says = fmt::format("{}", fmt::join(changes, ", "));
    } else if (!right) {
      file.says =
          fmt::format("mode {:04o} instead of {:04o}, or another owner", file.rights.mode, (*there)->rights.mode);
    }
    return {};
  }

  static bool is_well(const FileRights& rights, const FileOwner& service) {
    constexpr mode_t kOthersWrite = 0022;
    constexpr mode_t kOthersRead = 0004;
    constexpr mode_t kGroupReads = 0040;
    return (rights.mode & kOthersWrite) == 0 && (rights.owner.user == 0 || rights.owner.user == service.user) &&
           ((rights.mode & kOthersRead) != 0 || rights.owner.user == service.user ||
            ((rights.mode & kGroupReads) != 0 && rights.owner.group == service.group));
  }

  Installation& installation_;
  std::array<File, 2> files_;
};

}  // namespace

std::optional<Error> why_no_data_dir(const std::filesystem::path& path) {
  const auto hint = fmt::format("name another directory (--data-dir), or none for {}", kServiceDataDir);
  if (!path.is_absolute()) {
    return Error{ErrorKind::kConfig, fmt::format("the data directory {} is no absolute path", path.string()), hint};
  }
  if (const auto hidden = hidden_by(path)) {
    return Error{
        ErrorKind::kConfig,
        fmt::format("the service cannot use the data directory {}, since {} is hidden from it", path.string(), *hidden),
        hint};
  }
  return std::nullopt;
}

std::unique_ptr<Step> make_settings_step(Installation& installation) {
  return std::make_unique<SettingsStep>(installation);
}

std::unique_ptr<Step> make_account_step() {
  return std::make_unique<AccountStep>();
}

std::unique_ptr<Step> make_directories_step(Installation& installation) {
  return std::make_unique<DirectoriesStep>(installation);
}

std::unique_ptr<Step> make_configuration_step(Installation& installation) {
  return std::make_unique<ConfigurationStep>(installation);
}

}  // namespace mbsync
