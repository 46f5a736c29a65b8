#include "documents/command_tree.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "settings.h"

namespace mbsync {
namespace {

std::vector<std::string> parts_of(std::string_view text, char separator) {
  std::vector<std::string> parts;
  while (!text.empty()) {
    const auto end = std::min(text.find(separator), text.size());
    if (const auto part = text.substr(0, end); !part.empty()) {
      parts.emplace_back(part);
    }
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return parts;
}

/// Of a setting's flag, the values that the table of settings names. Of any other, those of CLI::IsMember, which CLI11
/// keeps in the type's name alone: "SHELL:{bash,powershell}".
std::vector<std::string> choices_of(const CLI::Option& option, const std::string& type) {
  for (const std::string& name : option.get_lnames()) {
    if (const auto key = find_setting("--" + name, &Setting::flag); key && !setting(*key).choices.empty()) {
      return parts_of(setting(*key).choices, ' ');
    }
  }
  const auto begin = type.find('{');
  const auto end = type.rfind('}');
  return begin == std::string::npos || end == std::string::npos || end < begin
             ? std::vector<std::string>{}
             : parts_of(std::string_view{type}.substr(begin + 1, end - begin - 1), ',');
}

Parameter parameter_of(const CLI::Option& option) {
  Parameter parameter;
  for (const std::string& name : option.get_snames()) {
    parameter.names.push_back("-" + name);
  }
  for (const std::string& name : option.get_lnames()) {
    parameter.names.push_back("--" + name);
  }
  parameter.text = option.get_description();
  parameter.required = option.get_required();
  if (option.get_type_size_max() == 0 || option.get_expected_max() == 0) {
    return parameter;
  }
  const auto type = option.get_type_name();
  parameter.value = type.substr(0, type.find(":{"));
  parameter.repeated = option.get_expected_max() >= CLI::detail::expected_max_vector_size;
  parameter.choices = choices_of(option, type);
  parameter.offers = !parameter.choices.empty()       ? Offers::kChoices
                     : parameter.value == "FILE"      ? Offers::kFiles
                     : parameter.value == "DIRECTORY" ? Offers::kDirectories
                                                      : Offers::kNothing;
  return parameter;
}

Command command_of(const CLI::App& app, std::vector<std::string> path) {
  path.push_back(app.get_name());
  Command command{.path = std::move(path), .text = app.get_description(), .footer = app.get_footer()};
  command.command_required = app.get_require_subcommand_min() > 0;
  for (const CLI::Option* option : app.get_options()) {
    if (option->get_group().empty()) {
      continue;
    }
    (option->get_positional() ? command.arguments : command.options).push_back(parameter_of(*option));
  }
  for (const CLI::App* below : app.get_subcommands(nullptr)) {
    if (!below->get_group().empty()) {
      command.commands.push_back(command_of(*below, command.path));
    }
  }
  return command;
}

}  // namespace

Command command_tree(const CLI::App& app) {
  return command_of(app, {});
}

std::string path_text(const Command& command) {
  return fmt::format("{}", fmt::join(command.path, " "));
}

}  // namespace mbsync
