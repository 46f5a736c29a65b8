// Where configuration is read from: the files, how they are protected, and the environment.
#include <fmt/format.h>
#include <grp.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <fstream>
#include <iterator>

#include "config.h"

namespace mbsync {
namespace {

using Outcome = ConfigPlace::Outcome;

constexpr const char* kTomlName = "mbsync.toml";
constexpr const char* kEnvName = "service.env";

std::filesystem::path directory_of(const std::filesystem::path& file) {
  return file.has_parent_path() ? file.parent_path() : ".";
}

FileExposure exposure_of(const std::filesystem::path& path, const struct stat& info) {
  FileExposure exposure;
  exposure.others_read = (info.st_mode & S_IROTH) != 0;
  exposure.others_write = (info.st_mode & (S_IWGRP | S_IWOTH)) != 0;
  // Of a file that is somebody else's, root's as a rule, this user is meant to be in the group. And whoever is in
  // root's group is as good as root.
  if ((info.st_mode & S_IRGRP) != 0 && info.st_uid == ::geteuid() && info.st_gid != 0) {
    const group* entry = ::getgrgid(info.st_gid);
    exposure.group = entry != nullptr ? entry->gr_name : std::to_string(info.st_gid);
  }
  struct stat directory {};
  exposure.directory_open = ::stat(directory_of(path).c_str(), &directory) == 0 && (directory.st_mode & S_IWOTH) != 0 &&
                            (directory.st_mode & S_ISVTX) == 0;
  return exposure;
}

struct Read {
  Outcome outcome = Outcome::kAbsent;
  std::optional<ConfigFile> file;
};

Read read_file(const std::filesystem::path& path) {
  struct stat info {};
  if (::stat(path.c_str(), &info) != 0) {
    return {errno == ENOENT || errno == ENOTDIR ? Outcome::kAbsent : Outcome::kForbidden, {}};
  }
  std::ifstream stream{path, std::ios::binary};
  if (S_ISDIR(info.st_mode) || !stream) {
    return {Outcome::kForbidden, {}};
  }
  std::string text{std::istreambuf_iterator<char>{stream}, std::istreambuf_iterator<char>{}};
  return {Outcome::kRead, ConfigFile{path, std::move(text), exposure_of(path, info)}};
}

Error cannot_be_read(const std::filesystem::path& path, Outcome outcome) {
  return Error{ErrorKind::kConfig, fmt::format("the configuration file '{}' cannot be read", path.string()),
               outcome == Outcome::kForbidden ? "give this user the right to read it"
                                              : "there is no such file; --config names another"};
}

/// `lenient`: files that may not be read are as good as absent.
Result<void> read_directory(const std::filesystem::path& toml, bool toml_required, bool lenient,
                            ConfigSources& sources) {
  for (const bool is_toml : {true, false}) {
    const auto path = is_toml ? toml : toml.parent_path() / kEnvName;
    auto read = read_file(path);
    sources.places.push_back({path, read.outcome});
    const bool absent_is_bad = is_toml && toml_required;
    if ((read.outcome == Outcome::kForbidden && !lenient) || (read.outcome == Outcome::kAbsent && absent_is_bad)) {
      return cannot_be_read(path, read.outcome);
    }
    (is_toml ? sources.toml : sources.service_env) = std::move(read.file);
  }
  return {};
}

std::string own_host_name() {
  std::array<char, 256> buffer{};
  if (::gethostname(buffer.data(), buffer.size() - 1) != 0) {
    return {};
  }
  return buffer.data();
}

void add_surroundings(std::vector<std::pair<ConfigKey, std::string>> flags, ConfigSources& sources) {
  for (char** entry = environ; *entry != nullptr; ++entry) {
    const std::string_view text{*entry};
    const auto equals = text.find('=');
    if (equals != std::string_view::npos) {
      sources.environment.emplace(text.substr(0, equals), text.substr(equals + 1));
    }
  }
  sources.flags = std::move(flags);
  sources.host_name = own_host_name();
}

}  // namespace

Result<ConfigSources> gather_config_sources(const std::optional<std::filesystem::path>& config_file,
                                            std::vector<std::pair<ConfigKey, std::string>> flags,
                                            const std::filesystem::path& system_directory) {
  ConfigSources sources;
  MBSYNC_TRY(read_directory(config_file.value_or(kTomlName), config_file.has_value(), false, sources));
  if (!config_file && !sources.toml && !sources.service_env) {
    MBSYNC_TRY(read_directory(system_directory / kTomlName, false, true, sources));
  }
  add_surroundings(std::move(flags), sources);
  return sources;
}

Result<ConfigSources> gather_config_sources_in(const std::filesystem::path& directory,
                                               std::vector<std::pair<ConfigKey, std::string>> flags) {
  ConfigSources sources;
  MBSYNC_TRY(read_directory(directory / kTomlName, false, false, sources));
  add_surroundings(std::move(flags), sources);
  return sources;
}

}  // namespace mbsync
