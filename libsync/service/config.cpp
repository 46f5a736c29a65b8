#include "config.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <grp.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <fstream>
#include <iterator>

#include "config_file.h"
#include "utf8.h"

namespace mbsync {
namespace {

constexpr std::int64_t kPortMax = 65535;
constexpr std::int64_t kIntervalMin = 100;
constexpr std::int64_t kIntervalMax = std::int64_t{24} * 60 * 60 * 1000;
constexpr std::int64_t kRetentionDaysMax = 36500;
constexpr std::int64_t kLivePeersMin = 2;
constexpr std::int64_t kLivePeersMax = 64;
constexpr const char* kNameless = "node";   // where the host has no name either
constexpr std::size_t kLabelBytesMax = 63;  // a DNS label, as announced on the network

using Values = std::vector<std::string>;

/// Takes the value, or says what is allowed: "must be ...". Never repeats the value of a secret.
using Apply = Result<void> (*)(const Values&, Config&);

struct Setting {
  std::string_view toml;
  std::string_view env;
  std::string_view flag;  ///< empty: there is none, since other users of the machine can see command lines
  FileEntry::Type type;
  std::string_view type_name;
  Apply apply;
};

Error must(std::string what) {
  return Error{ErrorKind::kConfig, "must be " + std::move(what), {}};
}

Result<std::int64_t> whole_number(const std::string& text, std::int64_t min, std::int64_t max, std::string_view unit) {
  std::int64_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc{} || end != text.data() + text.size() || number < min || number > max) {
    return must(fmt::format("a whole number{} from {} to {}, not '{}'", unit, min, max, text));
  }
  return number;
}

Result<void> apply_database_url(const Values& values, Config& config) {
  auto url = parse_database_url(values.front());
  MBSYNC_TRY(url);
  config.database_url = std::move(*url);
  return {};
}

Result<void> apply_registration_key(const Values& values, Config& config) {
  config.registration_key = Secret{values.front()};
  return {};
}

Result<void> apply_port(const Values& values, Config& config) {
  const auto number = whole_number(values.front(), 1, kPortMax, "");
  MBSYNC_TRY(number);
  config.port = static_cast<std::uint16_t>(*number);
  return {};
}

Result<void> apply_interval(const Values& values, Config& config) {
  const auto number = whole_number(values.front(), kIntervalMin, kIntervalMax, " of milliseconds");
  MBSYNC_TRY(number);
  config.interval = std::chrono::milliseconds{*number};
  return {};
}

Result<void> apply_log_level(const Values& values, Config& config) {
  const auto level = parse_log_level(values.front());
  if (!level) {
    return must(fmt::format("debug, info, warning or error, not '{}'", values.front()));
  }
  config.log_level = *level;
  return {};
}

Result<void> apply_data_dir(const Values& values, Config& config) {
  if (values.front().empty()) {
    return must("the path of a directory, not empty");
  }
  config.data_dir = values.front();
  return {};
}

Result<void> apply_node_name(const Values& values, Config& config) {
  const std::string& name = values.front();
  const bool printable =
      std::none_of(name.begin(), name.end(), [](char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7f; });
  if (name.empty() || name.size() > kLabelBytesMax || !printable) {
    return must(fmt::format("a name of 1 to {} bytes without control characters", kLabelBytesMax));
  }
  if (valid_utf8_length(name) != name.size()) {
    return Error{ErrorKind::kConfig, "must be UTF-8",
                 "write it in UTF-8 (a file in another encoding: 'iconv -t UTF-8'), or with the letters a to z alone"};
  }
  config.node_name = name;
  return {};
}

/// What stands between commas, without the space around it; nothing of what is empty.
std::vector<std::string_view> parts_of(const Values& values) {
  std::vector<std::string_view> parts;
  for (const std::string& value : values) {
    std::string_view rest = value;
    while (!rest.empty()) {
      const auto comma = rest.find(',');
      std::string_view text = rest.substr(0, comma);
      rest = comma == std::string_view::npos ? std::string_view{} : rest.substr(comma + 1);
      text.remove_prefix(std::min(text.find_first_not_of(" \t"), text.size()));
      text = text.substr(0, text.find_last_not_of(" \t") + 1);
      if (!text.empty()) {
        parts.push_back(text);
      }
    }
  }
  return parts;
}

Result<void> apply_peers(const Values& values, Config& config) {
  std::vector<std::string> peers;
  for (const auto text : parts_of(values)) {
    const auto address = parse_peer_address(text);
    MBSYNC_TRY(address);
    if (std::string peer = to_string(*address); std::find(peers.begin(), peers.end(), peer) == peers.end()) {
      peers.push_back(std::move(peer));
    }
  }
  config.peers = std::move(peers);
  return {};
}

Result<void> apply_bind_address(const Values& values, Config& config) {
  const std::string& address = values.front();
  if (address.empty() || address.find_first_of(" \t/@,[]") != std::string::npos) {
    return must(fmt::format("an IP address of this machine, 0.0.0.0 (all) or ::, not '{}'", address));
  }
  config.bind_address = address;
  return {};
}

Result<void> apply_conflict_retention(const Values& values, Config& config) {
  const auto number = whole_number(values.front(), 0, kRetentionDaysMax, " of days");
  MBSYNC_TRY(number);
  config.conflict_retention_days = static_cast<int>(*number);
  return {};
}

Result<void> apply_away_after(const Values& values, Config& config) {
  const auto number = whole_number(values.front(), 0, kRetentionDaysMax, " of days");
  MBSYNC_TRY(number);
  config.away_after_days = static_cast<int>(*number);
  return {};
}

std::string_view to_string(Discovery discovery) {
  return discovery == Discovery::kOn ? "on" : discovery == Discovery::kOff ? "off" : "auto";
}

Result<void> apply_discovery(const Values& values, Config& config) {
  for (const auto discovery : {Discovery::kAuto, Discovery::kOn, Discovery::kOff}) {
    if (values.front() == to_string(discovery)) {
      config.discovery = discovery;
      return {};
    }
  }
  return must(fmt::format("auto, on or off, not '{}'", values.front()));
}

Result<void> apply_live_peers(const Values& values, Config& config) {
  const auto number = whole_number(values.front(), kLivePeersMin, kLivePeersMax, "");
  MBSYNC_TRY(number);
  config.live_peers = static_cast<std::size_t>(*number);
  return {};
}

Result<void> apply_next_key(const Values& values, Config& config) {
  config.next_key = Secret{values.front()};
  return {};
}

Result<void> apply_allowed_nodes(const Values& values, Config& config) {
  std::vector<NodeId> nodes;
  for (const auto text : parts_of(values)) {
    const auto node = parse_node_id(text);
    if (!node || !node->valid()) {
      return must(fmt::format("ids of nodes as 'mbsync status' shows them, 16 of 0-9 and a-f each, not '{}'", text));
    }
    nodes.push_back(*node);
  }
  config.allowed_nodes = std::move(nodes);
  return {};
}

// In the order of ConfigKey.
constexpr std::array<Setting, kConfigKeys> kSettings{{
    {"database_url", "DATABASE_URL", "", FileEntry::Type::kText, "a string", apply_database_url},
    {"registration_key", "SYNC_REGISTRATION_KEY", "", FileEntry::Type::kText, "a string", apply_registration_key},
    {"port", "SYNC_PORT", "--port", FileEntry::Type::kInteger, "a whole number from 1 to 65535", apply_port},
    {"interval_ms", "SYNC_INTERVAL", "--interval", FileEntry::Type::kInteger,
     "a whole number of milliseconds from 100 to 86400000", apply_interval},
    {"log_level", "LOG_LEVEL", "--log-level", FileEntry::Type::kText, "a string: debug, info, warning or error",
     apply_log_level},
    {"data_dir", "SYNC_DATA_DIR", "--data-dir", FileEntry::Type::kText, "a string", apply_data_dir},
    {"node_name", "SYNC_NODE_NAME", "--node-name", FileEntry::Type::kText, "a string", apply_node_name},
    {"peers", "SYNC_PEERS", "--peer", FileEntry::Type::kList, "a list of strings: [\"host:port\"]", apply_peers},
    {"bind_address", "SYNC_BIND", "--bind", FileEntry::Type::kText, "a string", apply_bind_address},
    {"conflict_retention_days", "SYNC_CONFLICT_RETENTION_DAYS", "", FileEntry::Type::kInteger,
     "a whole number of days from 0 (for ever) to 36500", apply_conflict_retention},
    {"discovery", "SYNC_DISCOVERY", "--discovery", FileEntry::Type::kText, "a string: auto, on or off",
     apply_discovery},
    {"live_peers", "SYNC_LIVE_PEERS", "", FileEntry::Type::kInteger, "a whole number from 2 to 64", apply_live_peers},
    {"registration_key_next", "SYNC_REGISTRATION_KEY_NEXT", "", FileEntry::Type::kText, "a string", apply_next_key},
    {"allowed_nodes", "SYNC_ALLOWED_NODES", "", FileEntry::Type::kList, "a list of strings: [\"00000000000000ff\"]",
     apply_allowed_nodes},
    {"away_after_days", "SYNC_AWAY_AFTER_DAYS", "", FileEntry::Type::kInteger,
     "a whole number of days from 0 (never) to 36500", apply_away_after},
}};

const Setting& setting(ConfigKey key) {
  return kSettings[static_cast<std::size_t>(key)];
}

Result<void> apply(ConfigKey key, const Values& values, std::string_view where, std::string source, Config& config) {
  if (auto done = setting(key).apply(values, config); !done) {
    return done.error().in(where);
  }
  config.sources[static_cast<std::size_t>(key)] = std::move(source);
  return {};
}

std::optional<ConfigKey> key_of(std::string_view name, std::string_view Setting::*spelling) {
  for (std::size_t i = 0; i < kSettings.size(); ++i) {
    if (kSettings[i].*spelling == name) {
      return static_cast<ConfigKey>(i);
    }
  }
  return std::nullopt;
}

/// Levenshtein's distance.
std::size_t distance(std::string_view a, std::string_view b) {
  std::vector<std::size_t> row(b.size() + 1);
  for (std::size_t j = 0; j <= b.size(); ++j) {
    row[j] = j;
  }
  for (std::size_t i = 1; i <= a.size(); ++i) {
    std::size_t diagonal = row[0];
    row[0] = i;
    for (std::size_t j = 1; j <= b.size(); ++j) {
      const std::size_t above = row[j];
      row[j] = std::min({above + 1, row[j - 1] + 1, diagonal + (a[i - 1] == b[j - 1] ? 0 : 1)});
      diagonal = above;
    }
  }
  return row[b.size()];
}

std::string nearest(std::string_view name, std::string_view Setting::*spelling) {
  const auto best = std::min_element(kSettings.begin(), kSettings.end(), [&](const Setting& a, const Setting& b) {
    return distance(name, a.*spelling) < distance(name, b.*spelling);
  });
  return std::string{(*best).*spelling};
}

std::filesystem::path directory_of(const std::filesystem::path& file) {
  return file.has_parent_path() ? file.parent_path() : ".";
}

std::string plain_name(const ConfigFile& file) {
  return file.path.filename().string();
}

Result<void> apply_toml(const ConfigFile& file, Config& config) {
  const std::string path = file.path.string();
  const auto entries = parse_toml_file(file.text, path);
  MBSYNC_TRY(entries);
  for (const FileEntry& entry : *entries) {
    const std::string where = fmt::format("{}:{}: {}", path, entry.line, entry.name);
    const auto key = key_of(entry.name, &Setting::toml);
    if (!key) {
      std::vector<std::string_view> names;
      std::transform(kSettings.begin(), kSettings.end(), std::back_inserter(names),
                     [](const auto& s) { return s.toml; });
      return Error{
          ErrorKind::kConfig, fmt::format("{}:{}: there is no setting '{}'", path, entry.line, entry.name),
          fmt::format("did you mean '{}'? There are {}", nearest(entry.name, &Setting::toml), fmt::join(names, ", "))};
    }
    if (entry.type != setting(*key).type) {
      return must(fmt::format("{}, not {}", setting(*key).type_name, entry.type_name)).in(where);
    }
    MBSYNC_TRY(apply(*key, entry.values, where, fmt::format("{}:{}", plain_name(file), entry.line), config));
  }
  return {};
}

/// A misspelt SYNC_ variable would go unnoticed otherwise; others belong to somebody else.
void warn_of_unknown(std::string_view name, std::string_view where, Config& config) {
  if (name.starts_with("SYNC_")) {
    config.warnings.push_back(
        fmt::format("{}: mbsync knows no {}; did you mean {}?", where, name, nearest(name, &Setting::env)));
  }
}

Result<void> apply_service_env(const ConfigFile& file, Config& config) {
  const std::string path = file.path.string();
  const auto entries = parse_env_file(file.text, path);
  MBSYNC_TRY(entries);
  for (const FileEntry& entry : *entries) {
    const std::string place = fmt::format("{}:{}", path, entry.line);
    const auto key = key_of(entry.name, &Setting::env);
    if (!key) {
      warn_of_unknown(entry.name, place, config);
    } else if (!entry.values.front().empty()) {
      MBSYNC_TRY(apply(*key, entry.values, fmt::format("{}: {}", place, entry.name),
                       fmt::format("{}:{}", plain_name(file), entry.line), config));
    }
  }
  return {};
}

/// An empty variable is one that is not set: that is how composed environments leave something out.
Result<void> apply_environment(const std::map<std::string, std::string>& environment, Config& config) {
  for (const auto& [name, value] : environment) {
    const auto key = key_of(name, &Setting::env);
    if (!key) {
      warn_of_unknown(name, "environment", config);
    } else if (!value.empty()) {
      MBSYNC_TRY(apply(*key, {value}, "environment variable " + name, "environment " + name, config));
    }
  }
  return {};
}

Result<void> apply_flags(const std::vector<std::pair<ConfigKey, std::string>>& flags, Config& config) {
  std::map<ConfigKey, Values> given;
  for (const auto& [key, value] : flags) {
    MBSYNC_CHECK(!setting(key).flag.empty(), "this setting has no flag");
    Values& values = given[key];
    if (key != ConfigKey::kPeers) {
      values.clear();
    }
    values.push_back(value);
  }
  for (const auto& [key, values] : given) {
    const std::string flag{setting(key).flag};
    MBSYNC_TRY(apply(key, values, flag, flag, config));
  }
  return {};
}

Result<void> check_complete(const Config& config, ConfigNeeds needs) {
  std::vector<std::string> missing;
  std::string hint;
  if (config.database_url.conninfo.empty()) {
    missing.emplace_back("Missing DATABASE_URL");
    hint =
        "set DATABASE_URL in the environment or service.env, or database_url in mbsync.toml: "
        "postgresql://USER:PASSWORD@localhost:5432/DATABASE";
  }
  if (needs == ConfigNeeds::kNode && config.registration_key.empty()) {
    missing.emplace_back("Missing SYNC_REGISTRATION_KEY");
    hint += fmt::format(
        "{}'mbsync keygen' makes a key; set the same one as SYNC_REGISTRATION_KEY, or registration_key in mbsync.toml, "
        "on "
        "every machine of the fleet",
        hint.empty() ? "" : "; ");
  }
  if (missing.empty()) {
    return {};
  }
  return Error{ErrorKind::kConfig, fmt::format("{}", fmt::join(missing, "; ")), hint};
}

void warn_of_open_file(const std::optional<ConfigFile>& file, Config& config) {
  if (!file) {
    return;
  }
  std::vector<std::string_view> secrets;
  for (const ConfigKey key : {ConfigKey::kDatabaseUrl, ConfigKey::kRegistrationKey, ConfigKey::kNextKey}) {
    if (config.source(key).starts_with(plain_name(*file) + ":")) {
      secrets.push_back(setting(key).env);
    }
  }
  if (secrets.empty()) {
    return;
  }
  const auto warn = [&](std::string_view what, std::string_view mend, const std::filesystem::path& path) {
    config.warnings.push_back(fmt::format("{} holds {} and {}: {} {}", file->path.string(), fmt::join(secrets, " and "),
                                          what, mend, path.string()));
  };
  const FileExposure& exposure = file->exposure;
  if (exposure.others_read) {
    warn("can be read by every user of this machine", "chmod o=", file->path);
  }
  if (!exposure.group.empty()) {
    warn(fmt::format("can be read by all of the group '{}'", exposure.group), "chmod g=", file->path);
  }
  if (exposure.others_write) {
    warn("can be changed by other users of this machine", "chmod go-w", file->path);
  }
  if (exposure.directory_open) {
    warn("can be replaced by every user of this machine, who may all write in its directory", "chmod o-w",
         directory_of(file->path));
  }
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

Result<std::optional<ConfigFile>> read_config_file(const std::filesystem::path& path, bool required) {
  struct stat info {};
  std::ifstream file{path, std::ios::binary};
  const bool exists = ::stat(path.c_str(), &info) == 0;
  if (!exists && !required) {
    return std::optional<ConfigFile>{};
  }
  if (!exists || S_ISDIR(info.st_mode) || !file) {
    return Error{ErrorKind::kConfig, fmt::format("the configuration file '{}' cannot be read", path.string()),
                 exists ? "give this user the right to read it" : "there is no such file; --config names another"};
  }
  std::string text{std::istreambuf_iterator<char>{file}, std::istreambuf_iterator<char>{}};
  return std::optional{ConfigFile{path, std::move(text), exposure_of(path, info)}};
}

std::string own_host_name() {
  std::array<char, 256> buffer{};
  if (::gethostname(buffer.data(), buffer.size() - 1) != 0 || buffer.front() == '\0') {
    return kNameless;
  }
  return buffer.data();
}

}  // namespace

Result<Config> load_config(const ConfigSources& sources, ConfigNeeds needs) {
  Config config;
  config.sources.fill("default");
  const std::string_view host = std::string_view(sources.host_name).substr(0, kLabelBytesMax);
  config.node_name = host.substr(0, valid_utf8_length(host));
  if (config.node_name.empty()) {
    config.node_name = kNameless;
  }
  if (sources.toml) {
    config.config_file = sources.toml->path;
    MBSYNC_TRY(apply_toml(*sources.toml, config));
  }
  if (sources.service_env) {
    MBSYNC_TRY(apply_service_env(*sources.service_env, config));
  }
  MBSYNC_TRY(apply_environment(sources.environment, config));
  MBSYNC_TRY(apply_flags(sources.flags, config));
  MBSYNC_TRY(check_complete(config, needs));
  warn_of_open_file(sources.toml, config);
  warn_of_open_file(sources.service_env, config);
  config.warnings.insert(config.warnings.end(), config.database_url.warnings.begin(),
                         config.database_url.warnings.end());
  return config;
}

Result<ConfigSources> gather_config_sources(const std::optional<std::filesystem::path>& config_file,
                                            std::vector<std::pair<ConfigKey, std::string>> flags) {
  ConfigSources sources;
  const std::filesystem::path path = config_file.value_or("mbsync.toml");
  auto toml = read_config_file(path, config_file.has_value());
  MBSYNC_TRY(toml);
  sources.toml = std::move(*toml);
  auto service_env = read_config_file(path.parent_path() / "service.env", false);
  MBSYNC_TRY(service_env);
  sources.service_env = std::move(*service_env);
  for (char** entry = environ; *entry != nullptr; ++entry) {
    const std::string_view text{*entry};
    const auto equals = text.find('=');
    if (equals != std::string_view::npos) {
      sources.environment.emplace(text.substr(0, equals), text.substr(equals + 1));
    }
  }
  sources.flags = std::move(flags);
  sources.host_name = own_host_name();
  return sources;
}

bool Config::discovers() const {
  const bool loopback = bind_address == "::1" || bind_address == "localhost" || bind_address.starts_with("127.");
  return discovery == Discovery::kOn || (discovery == Discovery::kAuto && !loopback);
}

std::vector<EffectiveSetting> effective_settings(const Config& config) {
  std::vector<std::string> allowed;
  std::transform(config.allowed_nodes.begin(), config.allowed_nodes.end(), std::back_inserter(allowed),
                 [](NodeId node) { return to_string(node); });
  const std::array<std::string, kConfigKeys> values{
      config.database_url.display,
      config.registration_key.empty() ? "" : "(set)",
      std::to_string(config.port),
      std::to_string(config.interval.count()),
      std::string{to_string(config.log_level)},
      config.data_dir.string(),
      config.node_name,
      fmt::format("{}", fmt::join(config.peers, ", ")),
      config.bind_address,
      std::to_string(config.conflict_retention_days),
      std::string{to_string(config.discovery)},
      std::to_string(config.live_peers),
      config.next_key.empty() ? "" : "(set)",
      fmt::format("{}", fmt::join(allowed, ", ")),
      std::to_string(config.away_after_days),
  };
  std::vector<EffectiveSetting> result;
  for (std::size_t i = 0; i < kConfigKeys; ++i) {
    result.push_back({std::string{kSettings[i].toml}, values[i], config.sources[i]});
  }
  return result;
}

}  // namespace mbsync
