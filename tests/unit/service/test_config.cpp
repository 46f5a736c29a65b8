#include "config.h"

#include <catch2/catch.hpp>
#include <filesystem>
#include <fstream>
#include <string>
#include <type_traits>

using namespace mbsync;
using namespace std::chrono_literals;

static_assert(!fmt::is_formattable<Secret>::value, "a secret must not be printable");

namespace {

constexpr const char* kUrl = "postgresql://shop:s3cret@db:5433/shop";

ConfigSources complete() {
  ConfigSources sources;
  sources.environment = {{"DATABASE_URL", kUrl}, {"SYNC_REGISTRATION_KEY", "s3cret-key"}};
  sources.host_name = "till-1";
  return sources;
}

ConfigSources with_toml(std::string text) {
  ConfigSources sources = complete();
  sources.toml = ConfigFile{"/etc/mbsync/mbsync.toml", std::move(text), {}};
  return sources;
}

Config loaded(const ConfigSources& sources, ConfigNeeds needs = ConfigNeeds::kNode) {
  auto config = load_config(sources, needs);
  if (!config) {
    FAIL(config.error().text());
  }
  return *config;
}

Error refused(const ConfigSources& sources, ConfigNeeds needs = ConfigNeeds::kNode) {
  const auto config = load_config(sources, needs);
  REQUIRE_FALSE(config);
  CHECK(config.error().kind == ErrorKind::kConfig);
  CHECK_THAT(config.error().text(), !Catch::Contains("s3cret"));
  return config.error();
}

}  // namespace

TEST_CASE("config: the environment alone suffices, the rest has defaults") {
  const Config config = loaded(complete());
  CHECK(config.database_url.display == "postgresql://shop@db:5433/shop");
  CHECK(config.registration_key.reveal() == "s3cret-key");
  CHECK(config.port == 8765);
  CHECK(config.interval == 30000ms);
  CHECK(config.log_level == LogLevel::kInfo);
  CHECK(config.data_dir == "data/sync");
  CHECK(config.log_file() == "data/sync/sync-service.log");
  CHECK(config.node_name == "till-1");
  CHECK(config.peers.empty());
  CHECK(config.bind_address == "::");
  CHECK(config.conflict_retention_days == 90);
  CHECK(config.config_file.empty());
  CHECK(config.warnings.empty());
  CHECK(config.source(ConfigKey::kDatabaseUrl) == "environment DATABASE_URL");
  CHECK(config.source(ConfigKey::kPort) == "default");
}

TEST_CASE("config: each layer overrules the one before, and every value knows where it came from") {
  ConfigSources sources = with_toml(
      "database_url = 'postgres://toml/toml'\nregistration_key = 'toml'\nport = 1\ninterval_ms = 1001\n"
      "log_level = 'debug'\ndata_dir = '/toml'\nnode_name = 'toml'\npeers = ['toml:1', 'toml']\nbind_address = '::'\n"
      "conflict_retention_days = 0\naway_after_days = 0\n");
  sources.environment = {};
  Config config = loaded(sources);
  CHECK(config.database_url.display == "postgresql://toml/toml");
  CHECK(config.registration_key.reveal() == "toml");
  CHECK(config.port == 1);
  CHECK(config.interval == 1001ms);
  CHECK(config.log_level == LogLevel::kDebug);
  CHECK(config.data_dir == "/toml");
  CHECK(config.node_name == "toml");
  CHECK(config.peers == std::vector<std::string>{"toml:1", "toml:8765"});
  CHECK(config.bind_address == "::");
  CHECK(config.conflict_retention_days == 0);
  CHECK(config.away_after_days == 0);
  CHECK(config.config_file == "/etc/mbsync/mbsync.toml");
  CHECK(config.source(ConfigKey::kPort) == "mbsync.toml:3");

  sources.service_env =
      ConfigFile{"/etc/mbsync/service.env", "SYNC_PORT=2\nSYNC_INTERVAL=1002\nSYNC_PEERS=\"env:1,\"\n", {}};
  config = loaded(sources);
  CHECK(config.port == 2);
  CHECK(config.interval == 1002ms);
  CHECK(config.peers == std::vector<std::string>{"env:1"});
  CHECK(config.node_name == "toml");
  CHECK(config.source(ConfigKey::kPort) == "service.env:1");

  sources.environment = {{"SYNC_PORT", "3"},
                         {"SYNC_PEERS", " b:2, a:1 ,b:2"},
                         {"LOG_LEVEL", "WARN"},
                         {"SYNC_BIND", "127.0.0.1"},
                         {"SYNC_INTERVAL", ""},
                         {"HOME", "/root"},
                         {"SYNC_CONFLICT_RETENTION_DAYS", "30"},
                         {"SYNC_AWAY_AFTER_DAYS", "365"}};
  config = loaded(sources);
  CHECK(config.conflict_retention_days == 30);
  CHECK(config.away_after_days == 365);
  CHECK(config.port == 3);
  CHECK(config.interval == 1002ms);
  CHECK(config.peers == std::vector<std::string>{"b:2", "a:1"});
  CHECK(config.log_level == LogLevel::kWarning);
  CHECK(config.bind_address == "127.0.0.1");
  CHECK(config.source(ConfigKey::kPort) == "environment SYNC_PORT");
  CHECK(config.source(ConfigKey::kInterval) == "service.env:2");

  sources.flags = {{ConfigKey::kPort, "9"},        {ConfigKey::kPort, "4"},         {ConfigKey::kPeers, "c:3"},
                   {ConfigKey::kPeers, "[::1]:4"}, {ConfigKey::kDataDir, "/flag"},  {ConfigKey::kNodeName, "flag"},
                   {ConfigKey::kInterval, "1004"}, {ConfigKey::kLogLevel, "error"}, {ConfigKey::kBindAddress, "::1"}};
  config = loaded(sources);
  CHECK(config.port == 4);
  CHECK(config.peers == std::vector<std::string>{"c:3", "[::1]:4"});
  CHECK(config.data_dir == "/flag");
  CHECK(config.node_name == "flag");
  CHECK(config.interval == 1004ms);
  CHECK(config.log_level == LogLevel::kError);
  CHECK(config.bind_address == "::1");
  CHECK(config.source(ConfigKey::kPort) == "--port");
}

TEST_CASE("config: what is missing is named, with the way out") {
  ConfigSources sources = complete();
  sources.environment.erase("SYNC_REGISTRATION_KEY");
  CHECK(refused(sources).message == "Missing SYNC_REGISTRATION_KEY");
  CHECK_THAT(refused(sources).hint, Catch::Contains("mbsync keygen"));
  CHECK(loaded(sources, ConfigNeeds::kDatabase).registration_key.empty());

  sources.environment = {{"DATABASE_URL", ""}};
  CHECK(refused(sources).message == "Missing DATABASE_URL; Missing SYNC_REGISTRATION_KEY");
  CHECK(refused(sources, ConfigNeeds::kDatabase).message == "Missing DATABASE_URL");
  CHECK_THAT(refused(sources).hint, Catch::Contains("postgresql://"));
}

TEST_CASE("config: an unknown setting in mbsync.toml is an error with the nearest right one") {
  const Error error = refused(with_toml("port = 8765\nregistration_kye = 's3cret'\n"));
  CHECK(error.message == "/etc/mbsync/mbsync.toml:2: there is no setting 'registration_kye'");
  CHECK_THAT(error.hint, Catch::StartsWith("did you mean 'registration_key'?") && Catch::Contains("bind_address"));
  CHECK_THAT(refused(with_toml("[service]\nport = 1\n")).message, Catch::Contains("no setting 'service'"));
}

TEST_CASE("config: wrong types and ranges name place and allowed values") {
  CHECK(refused(with_toml("\nport = 'x'\n")).message ==
        "/etc/mbsync/mbsync.toml:2: port: must be a whole number from 1 to 65535, not a string");
  CHECK(refused(with_toml("port = 70000\n")).message ==
        "/etc/mbsync/mbsync.toml:1: port: must be a whole number from 1 to 65535, not '70000'");
  CHECK(refused(with_toml("peers = 'a:1'\n")).message ==
        "/etc/mbsync/mbsync.toml:1: peers: must be a list of strings: [\"host:port\"], not a string");
  CHECK_THAT(refused(with_toml("peers = ['a:x']\n")).message, Catch::Contains("toml:1: peers: 'a:x' is no address"));
  CHECK_THAT(refused(with_toml("peers = [1]\n")).message, Catch::Contains("a list that contains a whole number"));
  CHECK_THAT(refused(with_toml("database_url = 5\n")).message, Catch::Contains("must be a string, not a whole number"));
  CHECK(refused(with_toml("database_url = 'postgres://u:s3cret@h:x/d'\n")).message ==
        "/etc/mbsync/mbsync.toml:1: database_url: DATABASE_URL: the port is not a number from 1 to 65535");

  const auto variable = [](const char* name, const char* value) {
    ConfigSources sources = complete();
    sources.environment[name] = value;
    return refused(sources).message;
  };
  CHECK(variable("SYNC_PORT", "0") ==
        "environment variable SYNC_PORT: must be a whole number from 1 to 65535, not '0'");
  CHECK_THAT(variable("SYNC_PORT", "87 65"), Catch::Contains("not '87 65'"));
  CHECK(variable("SYNC_INTERVAL", "99") ==
        "environment variable SYNC_INTERVAL: must be a whole number of milliseconds from 100 to 86400000, not '99'");
  CHECK(variable("LOG_LEVEL", "loud") ==
        "environment variable LOG_LEVEL: must be debug, info, warning or error, not 'loud'");
  CHECK_THAT(variable("SYNC_NODE_NAME", "a\nb"), Catch::Contains("SYNC_NODE_NAME: must be a name of 1 to 63 bytes"));
  CHECK(variable("SYNC_NODE_NAME", "B\xfcro") == "environment variable SYNC_NODE_NAME: must be UTF-8");
  CHECK_THAT(variable("SYNC_CONFLICT_RETENTION_DAYS", "-1"),
             Catch::Contains("SYNC_CONFLICT_RETENTION_DAYS: must be a whole number of days from 0 to 36500"));
  CHECK_THAT(variable("SYNC_BIND", "1.2.3.4 "), Catch::Contains("SYNC_BIND: must be an IP address"));
  CHECK_THAT(variable("SYNC_DISCOVERY", "yes"), Catch::Contains("SYNC_DISCOVERY: must be auto, on or off, not 'yes'"));
  CHECK_THAT(variable("SYNC_LIVE_PEERS", "1"), Catch::Contains("SYNC_LIVE_PEERS: must be a whole number from 2 to 64"));
  CHECK_THAT(variable("SYNC_PEERS", "a b"), Catch::Contains("'a b' is no address of a peer"));
  CHECK_THAT(variable("DATABASE_URL", "'postgres://u:s3cret@h/d'"), Catch::Contains("quotes were left around"));

  ConfigSources sources = complete();
  sources.service_env = ConfigFile{"service.env", "# x\nSYNC_PORT=http\n", {}};
  CHECK_THAT(refused(sources).message, Catch::StartsWith("service.env:2: SYNC_PORT: must be a whole number"));
  sources = complete();
  sources.flags = {{ConfigKey::kPort, "http"}};
  CHECK_THAT(refused(sources).message, Catch::StartsWith("--port: must be a whole number"));
}

TEST_CASE("config: a node's name is UTF-8, the host's as far as it is") {
  ConfigSources sources = complete();
  sources.environment["SYNC_NODE_NAME"] = "B\xc3\xbcro";
  CHECK(loaded(sources).node_name == "B\xc3\xbcro");
  sources.environment["SYNC_NODE_NAME"] = "B\xfcro";
  CHECK_THAT(refused(sources).hint, Catch::Contains("UTF-8"));

  sources = complete();
  sources.host_name = std::string(62, 'x') + "\xc3\xbc";
  CHECK(loaded(sources).node_name == std::string(62, 'x'));
  sources.host_name = "\xfcro";
  CHECK(loaded(sources).node_name == "node");
}

TEST_CASE("config: a wrong value is an error even where a later layer overrules it") {
  ConfigSources sources = with_toml("port = 0\n");
  sources.environment["SYNC_PORT"] = "1";
  CHECK_THAT(refused(sources).message, Catch::Contains("mbsync.toml:1"));
}

TEST_CASE("config: misspelt variables and open files are warned about") {
  ConfigSources sources = complete();
  sources.environment["SYNC_PROT"] = "1";
  sources.service_env =
      ConfigFile{"/srv/service.env", "SYNC_REGISTRATION_KEI=s3cret\nNODE_ENV=production\n", {.others_read = true}};
  CHECK_THAT(loaded(sources).warnings,
             Catch::Equals(std::vector<std::string>{
                 "/srv/service.env:1: mbsync knows no SYNC_REGISTRATION_KEI; did you mean SYNC_REGISTRATION_KEY?",
                 "environment: mbsync knows no SYNC_PROT; did you mean SYNC_PORT?"}));

  sources = {};
  sources.toml = ConfigFile{"/srv/mbsync.toml", "registration_key = 's3cret'", {.others_read = true}};
  sources.service_env = ConfigFile{"/srv/service.env", "DATABASE_URL=postgres://u:a@s3cret@h/d", {.others_read = true}};
  const Config config = loaded(sources);
  REQUIRE(config.warnings.size() == 3);
  CHECK(config.warnings[0] ==
        "/srv/mbsync.toml holds SYNC_REGISTRATION_KEY and can be read by every user of this machine: chmod o= "
        "/srv/mbsync.toml");
  CHECK_THAT(config.warnings[1], Catch::StartsWith("/srv/service.env holds DATABASE_URL"));
  CHECK_THAT(config.warnings[2], Catch::Contains("%40"));
}

TEST_CASE("config: whoever can get at a file with a key is named, with the command that mends it") {
  const auto warnings = [](const FileExposure& exposure, const std::string& path = "/srv/mbsync.toml") {
    ConfigSources sources;
    sources.toml = ConfigFile{path, "database_url = 'postgres://h/d'\nregistration_key_next = 's3cret'", exposure};
    sources.environment["DATABASE_URL"] = "postgres://h/d";
    sources.environment["SYNC_REGISTRATION_KEY"] = "s3cret";
    return loaded(sources).warnings;
  };
  using Lines = std::vector<std::string>;
  const std::string holds = "/srv/mbsync.toml holds SYNC_REGISTRATION_KEY_NEXT and ";
  CHECK(warnings({}).empty());
  CHECK(warnings({.others_read = true}) ==
        Lines{holds + "can be read by every user of this machine: chmod o= /srv/mbsync.toml"});
  CHECK(warnings({.group = "staff"}) ==
        Lines{holds + "can be read by all of the group 'staff': chmod g= /srv/mbsync.toml"});
  CHECK(warnings({.others_write = true}) ==
        Lines{holds + "can be changed by other users of this machine: chmod go-w /srv/mbsync.toml"});
  const std::string replaced = "can be replaced by every user of this machine, who may all write in its directory: ";
  CHECK(warnings({.directory_open = true}) == Lines{holds + replaced + "chmod o-w /srv"});
  CHECK(warnings({.directory_open = true}, "mbsync.toml") ==
        Lines{"mbsync.toml holds SYNC_REGISTRATION_KEY_NEXT and " + replaced + "chmod o-w ."});
}

TEST_CASE("config: allowed nodes are ids as status shows them") {
  const auto with = [](const std::string& value) {
    ConfigSources sources = complete();
    sources.environment["SYNC_ALLOWED_NODES"] = value;
    return sources;
  };
  CHECK(loaded(complete()).allowed_nodes.empty());
  CHECK(loaded(with(" 05f3a1b2c4d5e6f7 ,,00000000000000ff")).allowed_nodes ==
        std::vector<NodeId>{NodeId{0x05f3a1b2c4d5e6f7}, NodeId{0xff}});
  CHECK(loaded(with_toml("allowed_nodes = ['00000000000000ff']\n")).allowed_nodes == std::vector<NodeId>{NodeId{0xff}});
  for (const char* wrong : {"till-1", "ff", "0000000000000000", "05f3a1b2c4d5e6f7 00000000000000ff"}) {
    CHECK_THAT(refused(with(wrong)).message,
               Catch::Contains("SYNC_ALLOWED_NODES: must be ids of nodes as 'mbsync status' shows them") &&
                   Catch::Contains(wrong));
  }
}

TEST_CASE("config: peers are looked for on the network unless no other machine could reach this one") {
  const auto with = [](const std::string& discovery, const std::string& bind) {
    auto sources = complete();
    sources.environment["SYNC_DISCOVERY"] = discovery;
    sources.environment["SYNC_BIND"] = bind;
    return loaded(sources).discovers();
  };
  CHECK(with("auto", "0.0.0.0"));
  CHECK(with("auto", "192.168.1.5"));
  CHECK_FALSE(with("auto", "127.0.0.1"));
  CHECK_FALSE(with("auto", "::1"));
  CHECK(with("on", "127.0.0.1"));
  CHECK_FALSE(with("off", "0.0.0.0"));
}

TEST_CASE("config: effective settings show every value and source, and no secret") {
  ConfigSources sources = complete();
  sources.flags = {{ConfigKey::kPeers, "a:1"}, {ConfigKey::kPeers, "b:2"}};
  sources.environment["SYNC_REGISTRATION_KEY_NEXT"] = "s3cret";
  sources.environment["SYNC_ALLOWED_NODES"] = "00000000000000ff,05f3a1b2c4d5e6f7";
  std::string text;
  for (const auto& setting : effective_settings(loaded(sources))) {
    text += setting.name + "|" + setting.value + "|" + setting.source + "\n";
  }
  CHECK(text ==
        "database_url|postgresql://shop@db:5433/shop|environment DATABASE_URL\n"
        "registration_key|(set)|environment SYNC_REGISTRATION_KEY\n"
        "port|8765|default\ninterval_ms|30000|default\nlog_level|info|default\ndata_dir|data/sync|default\n"
        "node_name|till-1|default\npeers|a:1, b:2|--peer\nbind_address|::|default\n"
        "conflict_retention_days|90|default\ndiscovery|auto|default\nlive_peers|8|default\n"
        "registration_key_next|(set)|environment SYNC_REGISTRATION_KEY_NEXT\n"
        "allowed_nodes|00000000000000ff, 05f3a1b2c4d5e6f7|environment SYNC_ALLOWED_NODES\n"
        "away_after_days|180|default\n");
}

TEST_CASE("config: files are found, read, and their mode looked at") {
  const auto directory = std::filesystem::temp_directory_path() / ("mbsync-config-" + std::to_string(::getpid()));
  std::filesystem::create_directories(directory);
  const auto write = [&](const char* name, const char* text, std::filesystem::perms mode) {
    std::ofstream{directory / name} << text;
    std::filesystem::permissions(directory / name, mode);
  };
  write("mine.toml", "port = 1", std::filesystem::perms{0600});
  write("service.env", "SYNC_PORT=2", std::filesystem::perms{0644});

  auto sources = gather_config_sources(directory / "mine.toml", {{ConfigKey::kPort, "3"}});
  REQUIRE(sources);
  REQUIRE(sources->toml);
  CHECK(sources->toml->text == "port = 1");
  CHECK_FALSE(sources->toml->exposure.others_read);
  CHECK_FALSE(sources->toml->exposure.directory_open);
  REQUIRE(sources->service_env);
  CHECK(sources->service_env->text == "SYNC_PORT=2");
  CHECK(sources->service_env->exposure.others_read);
  CHECK_FALSE(sources->service_env->exposure.others_write);
  CHECK(sources->flags.size() == 1);
  CHECK_FALSE(sources->host_name.empty());
  CHECK(sources->environment.contains("PATH"));

  // Who of a group can read it is of interest where the group is not root's, and the file is this user's.
  write("mine.toml", "port = 1", std::filesystem::perms{0660});
  constexpr gid_t kSomeGroup = 4242;  // nobody has given it a name
  const bool given_away = ::chown((directory / "mine.toml").c_str(), ::geteuid(), kSomeGroup) == 0;
  std::filesystem::permissions(directory, std::filesystem::perms{0777});
  sources = gather_config_sources(directory / "mine.toml", {});
  REQUIRE(sources);
  CHECK(sources->toml->exposure.others_write);
  CHECK(sources->toml->exposure.directory_open);
  CHECK_FALSE(sources->toml->exposure.others_read);
  CHECK((!given_away || sources->toml->exposure.group == "4242"));
  std::filesystem::permissions(directory, std::filesystem::perms{01777});
  CHECK_FALSE(gather_config_sources(directory / "mine.toml", {})->toml->exposure.directory_open);

  sources = gather_config_sources(directory / "none.toml", {});
  REQUIRE_FALSE(sources);
  CHECK_THAT(sources.error().text(), Catch::Contains("none.toml' cannot be read") && Catch::Contains("no such file"));
  REQUIRE_FALSE(gather_config_sources(directory, {}));
  std::filesystem::remove_all(directory);
}
