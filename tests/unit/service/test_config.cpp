#include "config.h"

#include <algorithm>
#include <catch2/catch.hpp>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <set>
#include <sstream>
#include <string>
#include <type_traits>

#include "config_view.h"
#include "settings.h"

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
  const Error table = refused(with_toml("[somewhere]\nport = 1\n"));
  CHECK_THAT(table.message, Catch::Contains("no setting 'somewhere'"));
  CHECK_THAT(table.hint, Catch::StartsWith("There are database_url, "));
  CHECK_THAT(refused(with_toml("databse_url = 's3cret'\n")).text(),
             Catch::Contains("mbsync.toml:1: there is no setting 'databse_url' (did you mean 'database_url'?"));
}

TEST_CASE("config: an unknown setting in service.env is an error, whoever it may be for") {
  const auto with_env = [](const char* text) {
    ConfigSources sources = complete();
    sources.service_env = ConfigFile{"/etc/mbsync/service.env", text, {}};
    return refused(sources);
  };
  const Error slip = with_env("SYNC_PORT=1\nSYNC_REGISTRATION_KEI=s3cret\n");
  CHECK(slip.message == "/etc/mbsync/service.env:2: there is no setting 'SYNC_REGISTRATION_KEI'");
  CHECK_THAT(slip.hint, Catch::StartsWith("did you mean 'SYNC_REGISTRATION_KEY'?"));
  const Error other = with_env("NODE_ENV=production\n");
  CHECK(other.message == "/etc/mbsync/service.env:1: there is no setting 'NODE_ENV'");
  CHECK_THAT(other.hint, Catch::StartsWith("There are DATABASE_URL, "));
}

TEST_CASE("config: tables, log files and the precheck") {
  ConfigSources sources = complete();
  CHECK(loaded(sources).tables == TableChoice{});
  CHECK_FALSE(loaded(sources).skip_db_precheck);
  sources.environment["SYNC_TABLES"] = "public.*, shop.Order";
  sources.environment["SKIP_DB_PRECHECK"] = "Yes";
  sources.environment["SYNC_LOG_SIZE_MB"] = "2";
  sources.environment["SYNC_LOG_FILES"] = "3";
  const Config config = loaded(sources);
  CHECK(config.tables.in == std::vector<std::string>{"public.*", "shop.Order"});
  CHECK(config.skip_db_precheck);
  CHECK(config.log_options().file_bytes_max == 2 * 1024 * 1024);
  CHECK(config.log_options().files_kept == 3);
  CHECK(loaded(with_toml("skip_db_precheck = true\ntables_except = ['audit_*']\n")).tables.except ==
        std::vector<std::string>{"audit_*"});
  CHECK(refused(with_toml("skip_db_precheck = 1\n")).message ==
        "/etc/mbsync/mbsync.toml:1: skip_db_precheck: must be true or false, not a whole number");
  sources.environment["SKIP_DB_PRECHECK"] = "maybe";
  CHECK(refused(sources).message == "environment variable SKIP_DB_PRECHECK: must be true or false, not 'maybe'");
  CHECK_THAT(refused(with_toml("tables = ['\"Order\"']\n")).message,
             Catch::Contains("tables: must be names of tables"));
  CHECK_THAT(refused(with_toml("log_files = 0\n")).message, Catch::Contains("from 1 to 100, not '0'"));
}

TEST_CASE("config: what has changed between two is told, also where it is a secret") {
  const Config before = loaded(complete());
  CHECK(changed_settings(before, loaded(complete())).empty());
  ConfigSources sources = complete();
  sources.environment["SYNC_REGISTRATION_KEY"] = "another";
  sources.environment["DATABASE_URL"] = "postgresql://shop:other@db:5433/shop";
  sources.environment["SYNC_PEERS"] = "a:1";
  CHECK(changed_settings(before, loaded(sources)) ==
        std::vector<ConfigKey>{ConfigKey::kDatabaseUrl, ConfigKey::kRegistrationKey, ConfigKey::kPeers});
}

TEST_CASE("config: the table of settings is in the order of its keys, and no name is there twice") {
  std::set<std::string_view> names;
  for (std::size_t i = 0; i < kConfigKeys; ++i) {
    const Setting& entry = all_settings()[i];
    CHECK(static_cast<std::size_t>(entry.key) == i);
    CHECK_FALSE(entry.help.empty());
    CHECK_FALSE(entry.without_it.empty());
    for (const auto name : {entry.toml, entry.env, entry.flag}) {
      CHECK((name.empty() || names.insert(name).second));
    }
    CHECK((!entry.secret || entry.flag.empty()));
  }
}

TEST_CASE("config: the example names every setting, and says the defaults as they are") {
  const std::string example = example_toml();
  ConfigSources sources;
  sources.host_name = "till-1";
  sources.toml = ConfigFile{"mbsync.toml", example, {}};
  const Config none_set = *load_config(sources, ConfigNeeds::kNothing);
  CHECK(std::all_of(none_set.sources.begin(), none_set.sources.end(), [](const auto& s) { return s == "default"; }));
  // Each line that sets something, one by one: it can be read, and is the default unless it is an example.
  std::istringstream lines(example);
  int set = 0;
  for (std::string line; std::getline(lines, line);) {
    if (line.size() > 1 && line[0] == '#' && line[1] != ' ') {
      const Setting& entry = all_settings()[static_cast<std::size_t>(set++)];
      sources.toml->text = line.substr(1) + "\n";
      INFO(line);
      const auto config = load_config(sources, ConfigNeeds::kNothing);
      if (entry.key == ConfigKey::kDatabaseUrl || entry.key == ConfigKey::kRegistrationKey || entry.secret) {
        CHECK_THAT(line, Catch::StartsWith("#" + std::string(entry.toml) + " = \""));
        continue;
      }
      REQUIRE(config);
      CHECK((!entry.example.empty() || changed_settings(*config, none_set).empty()));
    }
  }
  CHECK(set == static_cast<int>(kConfigKeys));
}

TEST_CASE("config: README.md has the table of settings as it is") {
  std::ifstream file{MBSYNC_README};
  const std::string readme{std::istreambuf_iterator<char>{file}, std::istreambuf_iterator<char>{}};
  INFO(settings_as_markdown());
  CHECK(readme.find(settings_as_markdown()) != std::string::npos);
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
        "/etc/mbsync/mbsync.toml:1: database_url: the port is not a number from 1 to 65535");

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
  CHECK_THAT(
      variable("SYNC_NODE_NAME", "postgresql://shop:hush-hush@h/d"),
      Catch::Contains("SYNC_NODE_NAME: must be a name, and looks like an address") && !Catch::Contains("hush-hush"));
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
  sources.service_env = ConfigFile{"/srv/service.env", "LOG_LEVEL=info\n", {.others_read = true}};
  sources.environment["SYNC_SOMETHING_OF_OTHERS"] = "1";
  sources.environment["DATABASE_URI"] = "somebody else's";
  CHECK_THAT(loaded(sources).warnings,
             Catch::Equals(std::vector<std::string>{"environment: mbsync knows no SYNC_PROT; did you mean 'SYNC_PORT'?",
                                                    "environment: mbsync knows no SYNC_SOMETHING_OF_OTHERS"}));

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
        "away_after_days|180|default\ntables|*|default\ntables_except||default\n"
        "log_size_mb|10|default\nlog_files|5|default\nskip_db_precheck|false|default\n"
        "status_port|8766|default\nstatus_bind|127.0.0.1, ::1|default\nstatus_token||default\n"
        "status_hosts||default\nverify_interval_hours|24|default\nverify_rows_per_s|5000|default\n");
}

TEST_CASE("config: the local port is the one after the port, and beyond the loopback it needs a token") {
  const auto with = [](std::map<std::string, std::string> more) {
    auto sources = complete();
    sources.environment.merge(more);
    return sources;
  };
  CHECK(loaded(complete()).local_port() == 8766);
  CHECK(loaded(with({{"SYNC_PORT", "9000"}})).local_port() == 9001);
  CHECK(loaded(with({{"SYNC_PORT", "65535"}})).local_port() == 0);
  CHECK(loaded(with({{"SYNC_STATUS_PORT", "0"}})).local_port() == 0);
  CHECK(loaded(with({{"SYNC_STATUS_BIND", "127.0.0.2"}})).status_bind == std::vector<std::string>{"127.0.0.2"});
  CHECK_THAT(refused(with({{"SYNC_STATUS_BIND", "127.0.0.1, 192.168.1.5"}})).text(),
             Catch::Contains("192.168.1.5") && Catch::Contains("SYNC_STATUS_TOKEN"));
  CHECK_THAT(refused(with({{"SYNC_STATUS_BIND", "::"}})).text(), Catch::Contains("SYNC_STATUS_TOKEN"));
  const auto open = loaded(with({{"SYNC_STATUS_BIND", "0.0.0.0"}, {"SYNC_STATUS_TOKEN", "s3cret-token-of-20ch"}}));
  CHECK(open.status_token.reveal() == "s3cret-token-of-20ch");
  CHECK_THAT(refused(with({{"SYNC_STATUS_PORT", "8765"}})).text(), Catch::Contains("SYNC_STATUS_PORT and SYNC_PORT"));
  // A name may lead anywhere, and looking it up may take long.
  for (const char* name : {"localhost", "till.example", "127.1", "[::1]", "10.0.0.0/8"}) {
    CHECK_THAT(refused(with({{"SYNC_STATUS_BIND", name}, {"SYNC_STATUS_TOKEN", "s3cret-token-of-20ch"}})).text(),
               Catch::Contains("IP addresses of this machine"));
  }
  loaded(with({{"SYNC_STATUS_BIND", "fe80::1%eth0"}, {"SYNC_STATUS_TOKEN", "s3cret-token-of-20ch"}}));
  // Who does not listen needs none; nor does a command that only looks.
  loaded(with({{"SYNC_STATUS_BIND", "::"}, {"SYNC_STATUS_PORT", "0"}}));
  loaded(with({{"SYNC_STATUS_BIND", "::"}}), ConfigNeeds::kDatabase);
  CHECK_THAT(refused(with({{"SYNC_STATUS_TOKEN", "s3cret"}})).text(), Catch::Contains("16 to 512 characters"));
  refused(with({{"SYNC_STATUS_TOKEN", "s3cret with spaces in it"}}));
  CHECK(loaded(with({{"SYNC_STATUS_HOSTS", "Till-1.local, office"}})).status_hosts ==
        std::vector<std::string>{"till-1.local", "office"});
  refused(with({{"SYNC_STATUS_HOSTS", "http://office"}}));
  refused(with({{"SYNC_STATUS_PORT", "70000"}}));
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

  // Without a name: those here if there is one, else those of the installed service.
  const auto before = std::filesystem::current_path();
  std::filesystem::permissions(directory, std::filesystem::perms{0755});
  std::filesystem::create_directories(directory / "here");
  std::filesystem::current_path(directory / "here");
  sources = gather_config_sources(std::nullopt, {}, directory);
  REQUIRE(sources);
  REQUIRE(sources->service_env);
  CHECK(sources->service_env->path == directory / "service.env");
  CHECK_FALSE(sources->toml);
  REQUIRE(sources->places.size() == 4);
  CHECK(sources->places[0].path == "mbsync.toml");
  CHECK(sources->places[2].path == directory / "mbsync.toml");
  CHECK(sources->places[2].outcome == ConfigPlace::Outcome::kAbsent);
  CHECK(sources->places[3].outcome == ConfigPlace::Outcome::kRead);
  write("here/mbsync.toml", "port = 7", std::filesystem::perms{0600});
  sources = gather_config_sources(std::nullopt, {}, directory);
  REQUIRE(sources);
  CHECK(sources->toml->path == "mbsync.toml");
  CHECK_FALSE(sources->service_env);
  CHECK(sources->places.size() == 2);
  // What may not be read: an error here, and there said where something is missing.
  std::filesystem::remove(directory / "here" / "mbsync.toml");
  std::filesystem::remove(directory / "service.env");
  std::filesystem::create_directories(directory / "service.env");
  sources = gather_config_sources(std::nullopt, {}, directory);
  REQUIRE(sources);
  CHECK(sources->places[3].outcome == ConfigPlace::Outcome::kForbidden);
  sources->environment = {};
  CHECK_THAT(refused(*sources).hint,
             Catch::Contains((directory / "service.env").string() + " is there, but this user"));
  std::filesystem::create_directories(directory / "here" / "mbsync.toml");
  CHECK_FALSE(gather_config_sources(std::nullopt, {}, directory));
  std::filesystem::current_path(before);

  sources = gather_config_sources(directory / "none.toml", {});
  REQUIRE_FALSE(sources);
  CHECK_THAT(sources.error().text(), Catch::Contains("none.toml' cannot be read") && Catch::Contains("no such file"));
  REQUIRE_FALSE(gather_config_sources(directory, {}));
  std::filesystem::remove_all(directory);
}
