#include "settings.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <iterator>

#include "setting_values.h"
#include "spelling.h"

namespace mbsync {
namespace {

using Type = FileEntry::Type;

constexpr std::int64_t kPortMax = 65535;
constexpr std::int64_t kIntervalMin = 100;
constexpr std::int64_t kIntervalMax = std::int64_t{24} * 60 * 60 * 1000;
constexpr std::int64_t kDaysMax = 36500;
constexpr std::int64_t kLivePeersMin = 2;
constexpr std::int64_t kLivePeersMax = 64;
constexpr std::int64_t kLogMegabytesMax = 1024;
constexpr std::int64_t kLogFilesMax = 100;
constexpr std::int64_t kVerifyHoursMax = 8760;
constexpr std::int64_t kVerifyRateMax = 10'000'000;

template <typename T>
Result<void> put(Result<T> value, T& place) {
  MBSYNC_TRY(value);
  place = std::move(*value);
  return {};
}

template <typename T>
Result<void> put_number(const SettingValues& values, std::int64_t min, std::int64_t max, std::string_view unit,
                        T& place) {
  const auto number = whole_number(values.front(), min, max, unit);
  MBSYNC_TRY(number);
  place = static_cast<T>(*number);
  return {};
}

Result<void> apply_interval(const SettingValues& values, Config& config) {
  const auto number = whole_number(values.front(), kIntervalMin, kIntervalMax, " of milliseconds");
  MBSYNC_TRY(number);
  config.interval = std::chrono::milliseconds{*number};
  return {};
}

Result<void> apply_log_level(const SettingValues& values, Config& config) {
  const auto level = parse_log_level(values.front());
  if (!level) {
    return must_be(fmt::format("debug, info, warning or error, not '{}'", values.front()));
  }
  config.log_level = *level;
  return {};
}

Result<void> apply_data_dir(const SettingValues& values, Config& config) {
  if (values.front().empty()) {
    return must_be("the path of a directory, not empty");
  }
  config.data_dir = values.front();
  return {};
}

Result<void> apply_status_token(const SettingValues& values, Config& config) {
  auto token = status_token_of(values.front());
  MBSYNC_TRY(token);
  config.status_token = Secret{std::move(*token)};
  return {};
}

std::string joined(const std::vector<std::string>& list) {
  return fmt::format("{}", fmt::join(list, ", "));
}

std::string shown_nodes(const Config& config) {
  std::vector<std::string> nodes;
  std::transform(config.allowed_nodes.begin(), config.allowed_nodes.end(), std::back_inserter(nodes),
                 [](NodeId node) { return to_string(node); });
  return joined(nodes);
}

constexpr std::array<Setting, kConfigKeys> kSettings{{
    {ConfigKey::kDatabaseUrl, "database_url", "DATABASE_URL", "", "", Type::kText, "a string", "none: it has to be set",
     "\"postgresql://shop:PASSWORD@localhost:5432/shop\"",
     "the database of this machine; the line of the application's .env works as it is", true, Reload::kRestart,
     [](const SettingValues& values, Config& config) {
       return put(parse_database_url(values.front()), config.database_url);
     },
     [](const Config& config) { return config.database_url.to_conninfo() + config.database_url.display; }},
    {ConfigKey::kRegistrationKey, "registration_key", "SYNC_REGISTRATION_KEY", "", "", Type::kText, "a string",
     "none: a node has to have it", "\"...\"", "the fleet's key, the same on every machine; 'mbsync keygen' makes one",
     true, Reload::kRestart,
     [](const SettingValues& values, Config& config) {
       config.registration_key = Secret{values.front()};
       return Result<void>{};
     },
     [](const Config& config) { return config.registration_key.reveal(); }},
    {ConfigKey::kPort, "port", "SYNC_PORT", "--port", "NUMBER", Type::kInteger, "a whole number from 1 to 65535",
     "8765", "", "port for peers", false, Reload::kRestart,
     [](const SettingValues& values, Config& config) { return put_number(values, 1, kPortMax, "", config.port); },
     [](const Config& config) { return std::to_string(config.port); }},
    {ConfigKey::kInterval, "interval_ms", "SYNC_INTERVAL", "--interval", "MS", Type::kInteger,
     "a whole number of milliseconds from 100 to 86400000", "30000", "",
     "longest time between exchanges, in milliseconds; peers that are listened to hear of writes at once", false,
     Reload::kLive, apply_interval, [](const Config& config) { return std::to_string(config.interval.count()); }},
    {ConfigKey::kLogLevel, "log_level", "LOG_LEVEL", "--log-level", "LEVEL", Type::kText,
     "a string: debug, info, warning or error", "\"info\"", "", "debug, info, warning or error", false, Reload::kLive,
     apply_log_level, [](const Config& config) { return std::string{to_string(config.log_level)}; },
     "debug info warning error"},
    {ConfigKey::kDataDir, "data_dir", "SYNC_DATA_DIR", "--data-dir", "DIRECTORY", Type::kText, "a string",
     "\"data/sync\"", "", "log and scratch space of this node", false, Reload::kRestart, apply_data_dir,
     [](const Config& config) { return config.data_dir.string(); }},
    {ConfigKey::kNodeName, "node_name", "SYNC_NODE_NAME", "--node-name", "NAME", Type::kText, "a string",
     "the host's name", "\"office\"", "what people call this node", false, Reload::kRestart,
     [](const SettingValues& values, Config& config) { return put(node_name_of(values.front()), config.node_name); },
     [](const Config& config) { return config.node_name; }},
    {ConfigKey::kPeers, "peers", "SYNC_PEERS", "--peer", "HOST:PORT", Type::kList, "a list of strings: [\"host:port\"]",
     "[]", "[\"office.local:8765\", \"10.0.0.7\"]",
     "peers to exchange with, beside those that are found on the network", false, Reload::kLive,
     [](const SettingValues& values, Config& config) { return put(peers_of(values), config.peers); },
     [](const Config& config) { return joined(config.peers); }},
    {ConfigKey::kBindAddress, "bind_address", "SYNC_BIND", "--bind", "ADDRESS", Type::kText, "a string", "\"::\"", "",
     "address to listen on; ::, which is all of IPv4 and IPv6", false, Reload::kRestart,
     [](const SettingValues& values, Config& config) {
       return put(bind_address_of(values.front()), config.bind_address);
     },
     [](const Config& config) { return config.bind_address; }},
    {ConfigKey::kConflictRetention, "conflict_retention_days", "SYNC_CONFLICT_RETENTION_DAYS", "", "", Type::kInteger,
     "a whole number of days from 0 (for ever) to 36500", "90", "",
     "how many days conflicts that are decided stay on record; 0: for ever", false, Reload::kLive,
     [](const SettingValues& values, Config& config) {
       return put_number(values, 0, kDaysMax, " of days", config.conflict_retention_days);
     },
     [](const Config& config) { return std::to_string(config.conflict_retention_days); }},
    {ConfigKey::kDiscovery, "discovery", "SYNC_DISCOVERY", "--discovery", "WHETHER", Type::kText,
     "a string: auto, on or off", "\"auto\"", "",
     "look for peers on the local network: auto (unless bind_address is a loopback address), on or off", false,
     Reload::kRestart,
     [](const SettingValues& values, Config& config) { return put(discovery_of(values.front()), config.discovery); },
     [](const Config& config) { return std::string{to_string(config.discovery)}; }, "auto on off"},
    {ConfigKey::kLivePeers, "live_peers", "SYNC_LIVE_PEERS", "", "", Type::kInteger, "a whole number from 2 to 64", "8",
     "", "how many peers are listened to at most; the others are visited now and then", false, Reload::kRestart,
     [](const SettingValues& values, Config& config) {
       return put_number(values, kLivePeersMin, kLivePeersMax, "", config.live_peers);
     },
     [](const Config& config) { return std::to_string(config.live_peers); }},
    {ConfigKey::kNextKey, "registration_key_next", "SYNC_REGISTRATION_KEY_NEXT", "", "", Type::kText, "a string",
     "none", "\"...\"", "a second key that is taken as well, while the fleet changes keys", true, Reload::kRestart,
     [](const SettingValues& values, Config& config) {
       config.next_key = Secret{values.front()};
       return Result<void>{};
     },
     [](const Config& config) { return config.next_key.reveal(); }},
    {ConfigKey::kAllowedNodes, "allowed_nodes", "SYNC_ALLOWED_NODES", "", "", Type::kList,
     "a list of strings: [\"00000000000000ff\"]", "[]", "[\"05f3a1b2c4d5e6f7\"]",
     "ids of the nodes that may take part; without any, whoever has the key", false, Reload::kLive,
     [](const SettingValues& values, Config& config) { return put(nodes_of(values), config.allowed_nodes); },
     shown_nodes},
    {ConfigKey::kAwayAfter, "away_after_days", "SYNC_AWAY_AFTER_DAYS", "", "", Type::kInteger,
     "a whole number of days from 0 (never) to 36500", "180", "",
     "after how many days of silence the fleet goes on without a machine; 0: never", false, Reload::kLive,
     [](const SettingValues& values, Config& config) {
       return put_number(values, 0, kDaysMax, " of days", config.away_after_days);
     },
     [](const Config& config) { return std::to_string(config.away_after_days); }},
    {ConfigKey::kTables, "tables", "SYNC_TABLES", "", "", Type::kList, "a list of strings: [\"public.*\"]", "[\"*\"]",
     "", "tables that take part: schema.table or the table alone; * is any run of characters, ? one", false,
     Reload::kRestart,
     [](const SettingValues& values, Config& config) { return put(table_patterns_of(values), config.tables.in); },
     [](const Config& config) { return joined(config.tables.in); }},
    {ConfigKey::kTablesExcept, "tables_except", "SYNC_TABLES_EXCEPT", "", "", Type::kList,
     "a list of strings: [\"audit_*\"]", "[]", "[\"audit_*\", \"reports.*\"]",
     "tables that are left out all the same, on every machine the same ones", false, Reload::kRestart,
     [](const SettingValues& values, Config& config) { return put(table_patterns_of(values), config.tables.except); },
     [](const Config& config) { return joined(config.tables.except); }},
    {ConfigKey::kLogSize, "log_size_mb", "SYNC_LOG_SIZE_MB", "", "", Type::kInteger,
     "a whole number of megabytes from 1 to 1024", "10", "", "how large the log file grows before a new one is begun",
     false, Reload::kLive,
     [](const SettingValues& values, Config& config) {
       return put_number(values, 1, kLogMegabytesMax, " of megabytes", config.log_size_mb);
     },
     [](const Config& config) { return std::to_string(config.log_size_mb); }},
    {ConfigKey::kLogFiles, "log_files", "SYNC_LOG_FILES", "", "", Type::kInteger, "a whole number from 1 to 100", "5",
     "", "how many full log files are kept beside the one being written", false, Reload::kLive,
     [](const SettingValues& values, Config& config) {
       return put_number(values, 1, kLogFilesMax, "", config.log_files);
     },
     [](const Config& config) { return std::to_string(config.log_files); }},
    {ConfigKey::kSkipPrecheck, "skip_db_precheck", "SKIP_DB_PRECHECK", "--skip-db", "", Type::kBoolean, "true or false",
     "false", "", "start without looking at the database first, and leave it out of smoke-check", false,
     Reload::kRestart,
     [](const SettingValues& values, Config& config) {
       return put(true_or_false(values.front()), config.skip_db_precheck);
     },
     [](const Config& config) { return std::string{config.skip_db_precheck ? "true" : "false"}; }},
    {ConfigKey::kStatusPort, "status_port", "SYNC_STATUS_PORT", "--status-port", "NUMBER", Type::kInteger,
     "a whole number from 0 (none) to 65535", "the one after port", "8766",
     "local port for status, health and metrics; 0: none", false, Reload::kRestart,
     [](const SettingValues& values, Config& config) {
       return put_number(values, 0, kPortMax, "", config.status_port.emplace());
     },
     [](const Config& config) { return std::to_string(config.local_port()); }},
    {ConfigKey::kStatusBind, "status_bind", "SYNC_STATUS_BIND", "", "", Type::kList,
     "a list of strings: [\"127.0.0.1\"]", "[\"127.0.0.1\", \"::1\"]", "",
     "addresses of the local port; one that other machines reach needs status_token", false, Reload::kRestart,
     [](const SettingValues& values, Config& config) { return put(local_addresses_of(values), config.status_bind); },
     [](const Config& config) { return joined(config.status_bind); }},
    {ConfigKey::kStatusToken, "status_token", "SYNC_STATUS_TOKEN", "", "", Type::kText, "a string", "none", "\"...\"",
     "asked for on the local port, as 'Authorization: Bearer TOKEN'", true, Reload::kRestart, apply_status_token,
     [](const Config& config) { return config.status_token.reveal(); }},
    {ConfigKey::kStatusHosts, "status_hosts", "SYNC_STATUS_HOSTS", "", "", Type::kList,
     "a list of strings: [\"till-1.local\"]", "[]", "[\"till-1.local\"]",
     "names by which the local port may be asked, beside localhost", false, Reload::kRestart,
     [](const SettingValues& values, Config& config) { return put(host_names_of(values), config.status_hosts); },
     [](const Config& config) { return joined(config.status_hosts); }},
    {ConfigKey::kVerifyInterval, "verify_interval_hours", "SYNC_VERIFY_INTERVAL_HOURS", "", "", Type::kInteger,
     "a whole number of hours from 0 (never) to 8760", "24", "",
     "how often rows are compared with another machine's by themselves, in hours; 0: never", false, Reload::kLive,
     [](const SettingValues& values, Config& config) {
       return put_number(values, 0, kVerifyHoursMax, " of hours", config.verify_interval_hours);
     },
     [](const Config& config) { return std::to_string(config.verify_interval_hours); }},
    {ConfigKey::kVerifyRate, "verify_rows_per_s", "SYNC_VERIFY_ROWS_PER_S", "", "", Type::kInteger,
     "a whole number of rows from 0 (no limit) to 10000000", "5000", "",
     "how many rows a second are read for that at most, on each of the two machines; 0: as fast as it goes", false,
     Reload::kLive,
     [](const SettingValues& values, Config& config) {
       return put_number(values, 0, kVerifyRateMax, " of rows", config.verify_rows_per_s);
     },
     [](const Config& config) { return std::to_string(config.verify_rows_per_s); }},
}};

}  // namespace

const std::array<Setting, kConfigKeys>& all_settings() {
  return kSettings;
}

const Setting& setting(ConfigKey key) {
  return kSettings[static_cast<std::size_t>(key)];
}

std::optional<ConfigKey> find_setting(std::string_view name, std::string_view Setting::*spelling) {
  for (const Setting& entry : kSettings) {
    if (entry.*spelling == name && !name.empty()) {
      return entry.key;
    }
  }
  return std::nullopt;
}

std::string did_you_mean(std::string_view name, std::string_view Setting::*spelling) {
  std::vector<std::string_view> names;
  std::transform(kSettings.begin(), kSettings.end(), std::back_inserter(names),
                 [&](const Setting& entry) { return entry.*spelling; });
  return did_you_mean(name, names);
}

std::string shown(const Setting& setting, const Config& config) {
  if (setting.key == ConfigKey::kDatabaseUrl) {
    return config.database_url.display;
  }
  const auto value = setting.reveal(config);
  return setting.secret && !value.empty() ? "(set)" : value;
}

std::vector<ConfigKey> changed_settings(const Config& before, const Config& after) {
  std::vector<ConfigKey> changed;
  for (const Setting& entry : kSettings) {
    if (entry.reveal(before) != entry.reveal(after)) {
      changed.push_back(entry.key);
    }
  }
  return changed;
}

}  // namespace mbsync
