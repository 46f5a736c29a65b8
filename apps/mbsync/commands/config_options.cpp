#include "config_options.h"

#include "settings.h"

namespace mbsync {
namespace {

void add_flag(CLI::App& app, ConfigOptions& options, ConfigKey key) {
  const Setting& entry = setting(key);
  const auto without_it = entry.without_it.substr(0, entry.without_it.find_last_not_of('"') + 1);
  const bool several = entry.type == FileEntry::Type::kList;
  const auto text = fmt::format("{} [{}{}]", entry.help, entry.env,
                                several || entry.flag_value.empty()
                                    ? ""
                                    : fmt::format(", {}", without_it.substr(without_it.starts_with('"') ? 1 : 0)));
  if (entry.flag_value.empty()) {
    app.add_flag_function(
        std::string{entry.flag}, [&options, key](std::int64_t) { options.flags.emplace_back(key, "true"); }, text);
    return;
  }
  if (!several) {
    app.add_option_function<std::string>(
           std::string{entry.flag},
           [&options, key](const std::string& given) { options.flags.emplace_back(key, given); }, text)
        ->take_last()
        ->type_name(std::string{entry.flag_value});
    return;
  }
  app.add_option_function<std::vector<std::string>>(
         std::string{entry.flag},
         [&options, key](const std::vector<std::string>& given) {
           for (const std::string& value : given) {
             options.flags.emplace_back(key, value);
           }
         },
         "may be repeated: " + text)
      ->type_name(std::string{entry.flag_value})
      ->allow_extra_args(false);
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

void refuse_database_url(CLI::App& app) {
  refuse(app, "--database-url,--database,--db,--url", "DATABASE_URL");
}

void add_flags(CLI::App& app, ConfigOptions& options) {
  for (const Setting& entry : all_settings()) {
    if (!entry.flag.empty() && entry.key != ConfigKey::kSkipPrecheck) {
      add_flag(app, options, entry.key);
    }
  }
  refuse(app, "--key,--registration-key,--sync-registration-key", "SYNC_REGISTRATION_KEY");
  refuse(app, "--key-next,--next-key,--registration-key-next,--sync-registration-key-next",
         "SYNC_REGISTRATION_KEY_NEXT");
}

}  // namespace

void add_setting_flags(CLI::App& app, ConfigOptions& options) {
  add_flags(app, options);
  refuse_database_url(app);
}

void add_database_options(CLI::App& app, ConfigOptions& options) {
  app.add_option("--config", options.config_file,
                 "configuration file; without it mbsync.toml and service.env here, or in /etc/mbsync")
      ->type_name("FILE");
  refuse_database_url(app);
}

void add_config_options(CLI::App& app, ConfigOptions& options) {
  add_database_options(app, options);
  add_flags(app, options);
}

void add_skip_db(CLI::App& app, ConfigOptions& options) {
  add_flag(app, options, ConfigKey::kSkipPrecheck);
}

Result<Config> load_config(const ConfigOptions& options, ConfigNeeds needs) {
  const auto sources = gather_config_sources(options.config_file, options.flags);
  MBSYNC_TRY(sources);
  return load_config(*sources, needs);
}

}  // namespace mbsync
