#include "commands/show_config.h"

#include <fmt/format.h>

#include <memory>

#include "config_view.h"

namespace mbsync {
namespace {

std::string_view words_of(ConfigPlace::Outcome outcome) {
  switch (outcome) {
    case ConfigPlace::Outcome::kRead:
      return "read";
    case ConfigPlace::Outcome::kAbsent:
      return "not there";
    case ConfigPlace::Outcome::kForbidden:
      break;
  }
  return "may not be read by this user";
}

nlohmann::ordered_json as_json(const std::vector<ConfigPlace>& places, const Config& config) {
  nlohmann::ordered_json document{{"files", nlohmann::ordered_json::array()},
                                  {"settings", nlohmann::ordered_json::array()},
                                  {"warnings", config.warnings}};
  for (const auto& place : places) {
    document["files"].push_back({{"path", std::filesystem::absolute(place.path).string()},
                                 {"read", place.outcome == ConfigPlace::Outcome::kRead},
                                 {"found", place.outcome != ConfigPlace::Outcome::kAbsent}});
  }
  for (const auto& entry : effective_settings(config)) {
    document["settings"].push_back({{"name", entry.name},
                                    {"environment", entry.environment},
                                    {"value", entry.value},
                                    {"source", entry.source},
                                    {"reloadable", entry.reloadable}});
  }
  return document;
}

std::string as_text(const std::vector<ConfigPlace>& places, const Config& config) {
  std::string text;
  for (const auto& place : places) {
    text += fmt::format("{}: {}\n", std::filesystem::absolute(place.path).string(), words_of(place.outcome));
  }
  std::vector<std::vector<std::string>> rows;
  for (const auto& entry : effective_settings(config)) {
    rows.push_back({entry.name, entry.value.empty() ? "(none)" : entry.value, entry.source,
                    entry.reloadable ? "SIGHUP" : "restart"});
  }
  return text + "\n" + format_table({"Setting", "Value", "From", "To change it"}, rows);
}

}  // namespace

void add_show_config(CLI::App& app, Invocation& invocation) {
  auto options = std::make_shared<ConfigOptions>();
  auto example = std::make_shared<bool>(false);
  CLI::App& command = *app.add_subcommand("config", "Show each setting, its value, and where that comes from");
  add_config_options(command, *options);
  add_skip_db(command, *options);
  command.add_flag("--example", *example, "print a mbsync.toml with all settings, explained");
  command.add_flag("--json", invocation.json, "as JSON");
  command.footer(
      "Secrets are not shown. What 'mbsync run' would lack is no error here.\n"
      "\nExample:\n  mbsync config --example > mbsync.toml\n");
  command.callback([options, example, &invocation] {
    invocation.action = [options, example](Output& output) {
      if (*example) {
        auto text = example_toml();
        text.pop_back();  // the output adds a line break
        return output.result(text, {{"example", text}});
      }
      return run_show_config(*options, output);
    };
  });
}

Result<void> run_show_config(const ConfigOptions& options, Output& output) {
  const auto sources = gather_config_sources(options.config_file, options.flags);
  MBSYNC_TRY(sources);
  const auto config = load_config(*sources, ConfigNeeds::kNothing);
  MBSYNC_TRY(config);
  if (!output.json()) {
    for (const auto& warning : config->warnings) {
      output.hint("warning: " + warning);
    }
  }
  return output.result(as_text(sources->places, *config), as_json(sources->places, *config));
}

}  // namespace mbsync
