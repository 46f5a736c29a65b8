#include "config_view.h"

#include <fmt/format.h>

#include <cctype>

#include "settings.h"

namespace mbsync {
namespace {

/// Not in words: then it can stand in a mbsync.toml as it is.
bool is_toml(std::string_view value) {
  return !value.empty() && (value == "true" || value == "false" || value.front() == '"' || value.front() == '[' ||
                            std::isdigit(static_cast<unsigned char>(value.front())) != 0);
}

std::string as_code(std::string_view text) {
  return text.empty() ? std::string() : fmt::format("`{}`", text);
}

}  // namespace

std::vector<EffectiveSetting> effective_settings(const Config& config) {
  std::vector<EffectiveSetting> result;
  for (const Setting& entry : all_settings()) {
    result.push_back({std::string{entry.toml}, std::string{entry.env}, shown(entry, config), config.source(entry.key),
                      entry.reload == Reload::kLive});
  }
  return result;
}

std::string example_toml() {
  std::string text =
      "# Settings of mbsync. Those that are not set, with a # in front, are what stands there. service.env beside "
      "this\n"
      "# file overrules it, then the environment, then flags. 'mbsync config' shows what holds, and why.\n";
  for (const Setting& entry : all_settings()) {
    const auto value = entry.example.empty() ? entry.without_it : entry.example;
    text += fmt::format("\n# {}\n# {}; default: {}; environment: {}{}{}\n#{} = {}\n", entry.help, entry.allowed,
                        entry.without_it, entry.env, entry.flag.empty() ? "" : fmt::format("; flag: {}", entry.flag),
                        entry.reload == Reload::kLive ? "; SIGHUP suffices" : "", entry.toml, value);
  }
  return text;
}

std::string settings_as_markdown() {
  std::string text =
      "| in mbsync.toml | in the environment or service.env | flag | default | what it is |\n"
      "| --- | --- | --- | --- | --- |";
  for (const Setting& entry : all_settings()) {
    text +=
        fmt::format("\n| `{}`{} | `{}` | {} | {} | {} |", entry.toml, entry.reload == Reload::kLive ? " ↻" : "",
                    entry.env, as_code(entry.flag),
                    is_toml(entry.without_it) ? as_code(entry.without_it) : std::string(entry.without_it), entry.help);
  }
  return text;
}

}  // namespace mbsync
