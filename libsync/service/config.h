// What a node is told from outside: where its database is, the fleet's key, its port, its peers. Values come, in rising
// precedence, from built-in defaults, mbsync.toml, service.env beside it, the environment, and flags; each remembers
// where it came from. What settings there are is written down in settings.h. load_config() is pure;
// gather_config_sources() does the reading.
#pragma once

#include <array>
#include <chrono>
#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "database_url.h"
#include "ids.h"
#include "log.h"
#include "peer_address.h"
#include "peer_plan.h"
#include "result.h"
#include "table_choice.h"

namespace mbsync {

/// A text that cannot be printed by mistake: no stream, no format, no comparison takes it.
class Secret {
 public:
  Secret() = default;
  explicit Secret(std::string text) : text_(std::move(text)) {}
  [[nodiscard]] const std::string& reveal() const { return text_; }
  [[nodiscard]] bool empty() const { return text_.empty(); }

 private:
  std::string text_;
};

enum class ConfigKey {
  kDatabaseUrl,        ///< database_url, DATABASE_URL
  kRegistrationKey,    ///< registration_key, SYNC_REGISTRATION_KEY
  kPort,               ///< port, SYNC_PORT, --port
  kInterval,           ///< interval_ms, SYNC_INTERVAL, --interval
  kLogLevel,           ///< log_level, LOG_LEVEL, --log-level
  kDataDir,            ///< data_dir, SYNC_DATA_DIR, --data-dir
  kNodeName,           ///< node_name, SYNC_NODE_NAME, --node-name
  kPeers,              ///< peers, SYNC_PEERS (comma between), --peer (repeated)
  kBindAddress,        ///< bind_address, SYNC_BIND, --bind
  kConflictRetention,  ///< conflict_retention_days, SYNC_CONFLICT_RETENTION_DAYS
  kDiscovery,          ///< discovery, SYNC_DISCOVERY, --discovery
  kLivePeers,          ///< live_peers, SYNC_LIVE_PEERS
  kNextKey,            ///< registration_key_next, SYNC_REGISTRATION_KEY_NEXT
  kAllowedNodes,       ///< allowed_nodes, SYNC_ALLOWED_NODES (comma between)
  kAwayAfter,          ///< away_after_days, SYNC_AWAY_AFTER_DAYS
  kTables,             ///< tables, SYNC_TABLES (comma between)
  kTablesExcept,       ///< tables_except, SYNC_TABLES_EXCEPT (comma between)
  kLogSize,            ///< log_size_mb, SYNC_LOG_SIZE_MB
  kLogFiles,           ///< log_files, SYNC_LOG_FILES
  kSkipPrecheck,       ///< skip_db_precheck, SKIP_DB_PRECHECK, --skip-db
  kStatusPort,         ///< status_port, SYNC_STATUS_PORT, --status-port
  kStatusBind,         ///< status_bind, SYNC_STATUS_BIND (comma between)
  kStatusToken,        ///< status_token, SYNC_STATUS_TOKEN
  kStatusHosts,        ///< status_hosts, SYNC_STATUS_HOSTS (comma between)
  kVerifyInterval,     ///< verify_interval_hours, SYNC_VERIFY_INTERVAL_HOURS
  kVerifyRate,         ///< verify_rows_per_s, SYNC_VERIFY_ROWS_PER_S
};
inline constexpr std::size_t kConfigKeys = 26;
inline constexpr std::size_t kNodeNameBytesMax = 63;  ///< a DNS label, as it is announced on the network

/// Whether peers are looked for on the local network, and this node is announced there.
enum class Discovery {
  kAuto,  ///< unless the node listens on a loopback address only, where no other machine could reach it
  kOn,
  kOff,
};

struct Config {
  DatabaseUrl database_url;  ///< holds the password
  Secret registration_key;
  std::uint16_t port = kDefaultSyncPort;
  std::chrono::milliseconds interval{30000};  ///< the safety net between exchanges; live peers hear of writes at once
  LogLevel log_level = LogLevel::kInfo;
  std::filesystem::path data_dir = "data/sync";
  std::string node_name;             ///< default: the host's name
  std::vector<std::string> peers;    ///< "host:port", checked, without duplicates
  std::string bind_address = "::";   ///< every address of this machine, IPv4 as well
  int conflict_retention_days = 90;  ///< how long conflicts that are decided stay on record; 0: for ever
  Discovery discovery = Discovery::kAuto;
  std::size_t live_peers =
      kLivePeersDefault;              ///< how many peers are listened to at most; the others are visited now and then
  Secret next_key;                    ///< taken beside registration_key, while the fleet changes keys; empty: none
  std::vector<NodeId> allowed_nodes;  ///< who may take part; empty: whoever has the key

  int verify_interval_hours = 24;         ///< how often rows are compared with another member's; 0: never by itself
  std::int64_t verify_rows_per_s = 5000;  ///< how many are read for that at most, on each side; 0: as fast as it goes
  int away_after_days = 180;              ///< after how many days of silence the fleet goes on without a node; 0: never
  TableChoice tables;                     ///< which tables take part
  std::size_t log_size_mb = 10;           ///< of the log file, before a new one is begun
  std::size_t log_files = 5;              ///< full ones that are kept beside it
  bool skip_db_precheck = false;          ///< a run does not look at the database before it starts

  /// The local port (local_port.h): nothing is the one after `port`, 0 is none.
  std::optional<std::uint16_t> status_port;
  std::vector<std::string> status_bind{"127.0.0.1", "::1"};
  Secret status_token;                    ///< asked for on the local port; empty: none
  std::vector<std::string> status_hosts;  ///< names that the local port may be asked by, beside those of the loopback

  std::filesystem::path config_file;               ///< empty if there was none
  std::vector<std::string> warnings;               ///< for the log; no secrets
  std::array<std::string, kConfigKeys> sources{};  ///< "default", "mbsync.toml:3", "environment", "--port"

  [[nodiscard]] const std::string& source(ConfigKey key) const { return sources[static_cast<std::size_t>(key)]; }
  [[nodiscard]] bool discovers() const;  ///< what `discovery` comes to
  /// 0: there is none.
  [[nodiscard]] std::uint16_t local_port() const;
  [[nodiscard]] std::filesystem::path log_file() const { return data_dir / "sync-service.log"; }
  [[nodiscard]] LogOptions log_options() const;
};

/// `config` if it is not there and cannot be made.
Result<void> make_data_dir(const Config& config);

/// Who else of this machine can get at a file, by its mode.
struct FileExposure {
  bool others_read = false;
  bool others_write = false;
  std::string group{};          ///< its members can read it, and need not, as the file is this user's own; else empty
  bool directory_open = false;  ///< anybody can put another file in its place
};

struct ConfigFile {
  std::filesystem::path path;
  std::string text;
  FileExposure exposure;
};

/// A place where a file was looked for.
struct ConfigPlace {
  std::filesystem::path path;
  enum class Outcome { kRead, kAbsent, kForbidden } outcome = Outcome::kAbsent;
};

struct ConfigSources {
  std::vector<ConfigPlace> places;  ///< in the order in which they were looked at
  std::optional<ConfigFile> toml;
  std::optional<ConfigFile> service_env;
  std::map<std::string, std::string> environment;
  std::vector<std::pair<ConfigKey, std::string>> flags;  ///< in the order given; kPeers may come several times
  std::string host_name;
};

/// What the caller cannot do without.
enum class ConfigNeeds {
  kNothing,   ///< whoever only shows what is set
  kDatabase,  ///< DATABASE_URL: commands that look at the database
  kNode,      ///< and SYNC_REGISTRATION_KEY: whatever talks to peers
};

/// `config` for anything unknown, of the wrong type or out of range, with file and line or the name of the variable or
/// flag, and the allowed values. No message holds a secret.
Result<Config> load_config(const ConfigSources& sources, ConfigNeeds needs);

/// Where the files of the installed service lie.
inline constexpr const char* kSystemDirectory = "/etc/mbsync";

/// Reads the files, the environment, and the host's name. The files are `config_file`, which must exist, and
/// service.env beside it; or else mbsync.toml and service.env in the current directory if one of the two is there; or
/// else those in `system_directory`, as far as this user may read them.
Result<ConfigSources> gather_config_sources(const std::optional<std::filesystem::path>& config_file,
                                            std::vector<std::pair<ConfigKey, std::string>> flags,
                                            const std::filesystem::path& system_directory = kSystemDirectory);

/// The same with the files of one directory alone, as far as they are there.
Result<ConfigSources> gather_config_sources_in(const std::filesystem::path& directory,
                                               std::vector<std::pair<ConfigKey, std::string>> flags);

}  // namespace mbsync
