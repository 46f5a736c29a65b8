#include "config_options.h"

namespace mbsync {
namespace {

void add_flag(CLI::App& app, ConfigOptions& options, ConfigKey key, const std::string& name, const std::string& value,
              const std::string& text) {
  app.add_option_function<std::string>(
         name, [&options, key](const std::string& given) { options.flags.emplace_back(key, given); }, text)
      ->take_last()
      ->type_name(value);
}

/// Recognised only to say why it is refused; without this, the mistake would be a mere "unknown option".
void refuse(CLI::App& app, const std::string& names, const std::string& variable) {
  app.add_option_function<std::vector<std::string>>(
         names,
         [variable](const std::vector<std::string>&) {
           throw CLI::ValidationError(
               fmt::format("{} is not taken from the command line, where every user of the "
                           "machine could read it; set it in the environment or in service.env",
                           variable));
         },
         "")
      ->expected(0, CLI::detail::expected_max_vector_size)
      ->group("");
}

}  // namespace

void add_database_options(CLI::App& app, ConfigOptions& options) {
  app.add_option("--config", options.config_file, "configuration file; without it mbsync.toml, if there is one here")
      ->type_name("FILE");
  refuse(app, "--database-url,--database,--db,--url", "DATABASE_URL");
}

void add_config_options(CLI::App& app, ConfigOptions& options) {
  add_database_options(app, options);
  app.add_option_function<std::vector<std::string>>(
         "--peer",
         [&options](const std::vector<std::string>& given) {
           for (const std::string& peer : given) {
             options.flags.emplace_back(ConfigKey::kPeers, peer);
           }
         },
         "a peer to exchange with; may be repeated [SYNC_PEERS]")
      ->type_name("HOST:PORT")
      ->allow_extra_args(false);
  add_flag(app, options, ConfigKey::kPort, "--port", "NUMBER", "port for peers [SYNC_PORT, 8765]");
  add_flag(app, options, ConfigKey::kBindAddress, "--bind", "ADDRESS",
           "address to listen on [SYNC_BIND, ::, which is all of IPv4 and IPv6]");
  add_flag(
      app, options, ConfigKey::kDiscovery, "--discovery", "WHETHER",
      "look for peers on the local network: auto (unless --bind is a loopback address), on or off [SYNC_DISCOVERY, "
      "auto]");
  add_flag(app, options, ConfigKey::kInterval, "--interval", "MS",
           "longest time between exchanges, in milliseconds [SYNC_INTERVAL, 30000]");
  add_flag(app, options, ConfigKey::kNodeName, "--node-name", "NAME",
           "what people call this node [SYNC_NODE_NAME, the host's name]");
  add_flag(app, options, ConfigKey::kDataDir, "--data-dir", "DIRECTORY",
           "state and log of this node [SYNC_DATA_DIR, data/sync]");
  add_flag(app, options, ConfigKey::kLogLevel, "--log-level", "LEVEL",
           "debug, info, warning or error [LOG_LEVEL, info]");
  refuse(app, "--key,--registration-key,--sync-registration-key", "SYNC_REGISTRATION_KEY");
  refuse(app, "--key-next,--next-key,--registration-key-next,--sync-registration-key-next",
         "SYNC_REGISTRATION_KEY_NEXT");
}

Result<Config> load_config(const ConfigOptions& options, ConfigNeeds needs) {
  const auto sources = gather_config_sources(options.config_file, options.flags);
  MBSYNC_TRY(sources);
  return load_config(*sources, needs);
}

}  // namespace mbsync
