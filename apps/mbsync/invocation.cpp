#include "invocation.h"

#include <fmt/format.h>

#include <iostream>
#include <string>
#include <string_view>
#include <vector>

#include "spelling.h"

namespace mbsync {
namespace {

std::string see_help(const CLI::App& app) {
  return fmt::format("'{} --help' lists what there is", app.get_name());
}

/// Without what may be a value: "--key=...", "-k..." and whatever does not look like a name.
std::string name_of_option(std::string_view argument) {
  constexpr std::string_view kCharacters = "abcdefghijklmnopqrstuvwxyz-";
  constexpr std::size_t kLetterBytes = 2;
  if (argument.substr(0, kLetterBytes) != "--") {
    return std::string(argument.substr(0, kLetterBytes));
  }
  const auto name = argument.substr(0, argument.find('='));
  return name.find_first_not_of(kCharacters) == std::string_view::npos ? std::string(name) : "one beginning with --";
}

/// CLI11 would repeat whole arguments, and one may be a database's address with its password. Names are safe.
Error unknown_argument(const CLI::App& app) {
  const auto arguments = app.remaining(true);
  std::vector<std::string> options;
  for (const std::string& argument : arguments) {
    if (argument.size() > 1 && argument.front() == '-') {
      options.push_back(name_of_option(argument));
    }
  }
  if (!options.empty()) {
    return Error{ErrorKind::kConfig, fmt::format("unknown option: {}", fmt::join(options, ", ")), see_help(app)};
  }
  constexpr std::string_view kCommandCharacters = "abcdefghijklmnopqrstuvwxyz-";
  const CLI::App* innermost = &app;
  while (!innermost->get_subcommands().empty()) {
    innermost = innermost->get_subcommands().front();
  }
  const bool no_command = !innermost->get_subcommands(nullptr).empty();
  if (no_command && arguments.front().find_first_not_of(kCommandCharacters) == std::string::npos) {
    std::vector<std::string> names;
    for (const auto* command : innermost->get_subcommands(nullptr)) {
      names.push_back(command->get_name());
    }
    const auto nearest = did_you_mean(arguments.front(), {names.begin(), names.end()});
    return Error{ErrorKind::kConfig, fmt::format("there is no command '{}'", arguments.front()),
                 fmt::format("{}{}{}", nearest, nearest.empty() ? "" : " ", see_help(app))};
  }
  return Error{ErrorKind::kConfig, "there is an argument too many", see_help(app)};
}

/// `error` is what CLI11 found wrong first; what it did not understand at all explains more.
Error usage_error(const CLI::App& app, const CLI::ParseError& error) {
  if (dynamic_cast<const CLI::ValidationError*>(&error) != nullptr) {
    return Error{ErrorKind::kConfig, error.what(), {}};
  }
  if (!app.remaining(true).empty()) {
    return unknown_argument(app);
  }
  return Error{ErrorKind::kConfig, error.what(), see_help(app)};
}

}  // namespace

Result<void> refused_is_failed(const Result<void>& result, Output& output, Invocation& invocation) {
  if (!result && result.error().area == ErrorArea::kOther &&
      (result.error().kind == ErrorKind::kConflict || result.error().kind == ErrorKind::kRejected)) {
    output.error(result.error());
    invocation.exit_code = ExitCode::kFailure;
    return {};
  }
  return result;
}

int invoke(CLI::App& app, int argc, const char* const* argv, Invocation& invocation) {
  app.footer(exit_code_help() + app.get_footer());
  Result<void> result;
  try {
    app.parse(argc, argv);
    Output output{invocation.json, std::cout, std::cerr};
    result = invocation.action(output);
  } catch (const CLI::Success& done) {
    const int code = app.exit(done);  // has printed the help
    result = check_written(std::cout);
    if (result) {
      return code;
    }
  } catch (const CLI::ParseError& error) {
    result = usage_error(app, error);
  }
  if (result) {
    return static_cast<int>(invocation.exit_code);
  }
  Output{invocation.json, std::cout, std::cerr}.error(result.error());
  return static_cast<int>(exit_code_for(result.error()));
}

}  // namespace mbsync
