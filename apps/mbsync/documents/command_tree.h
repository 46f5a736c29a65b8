// The commands of a program with all they take, read from its CLI11 tree: what --help shows, as data. The man page and
// the completion of shells are made from it, so that they cannot say anything else than --help.
#pragma once

#include <CLI/CLI.hpp>
#include <string>
#include <vector>

namespace mbsync {

/// What a shell can offer for a value.
enum class Offers { kNothing, kFiles, kDirectories, kChoices };

/// An option, or an argument that is given by its place.
struct Parameter {
  std::vector<std::string> names;  ///< "-h", "--help"; of an argument by place: none
  std::string value;               ///< what --help calls its value; empty: it takes none
  std::string text;
  Offers offers = Offers::kNothing;
  std::vector<std::string> choices{};
  bool required = false;
  bool repeated = false;  ///< takes any number of values, one behind the other
};

struct Command {
  std::vector<std::string> path;  ///< the words before its own arguments: "mbsync", "rules", "check"
  std::string text;
  std::string footer;                  ///< exit codes and examples, as --help prints them
  std::vector<Parameter> options{};    ///< without those that --help does not show
  std::vector<Parameter> arguments{};  ///< by place
  std::vector<Command> commands{};     ///< below it, in the order of --help
  bool command_required = false;       ///< one of these has to follow
};

Command command_tree(const CLI::App& app);

/// "mbsync rules check".
std::string path_text(const Command& command);

/// Calls `visit(command)` for it and for all below it, a command before those below it.
template <typename Visit>
void for_each_command(const Command& command, const Visit& visit) {
  visit(command);
  for (const Command& below : command.commands) {
    for_each_command(below, visit);
  }
}

}  // namespace mbsync
