#include "commands/version.h"

namespace mbsync {

void add_version(CLI::App& app, Invocation& invocation) {
  CLI::App& command = *app.add_subcommand("version", "Print the version");
  command.add_flag("--json", invocation.json, "as JSON: {\"version\": \"...\"}");
  command.footer("\nExample:\n  mbsync version\n");
  command.callback([&invocation] { invocation.action = run_version; });
}

std::string program_version() {
  return MBSYNC_VERSION;
}

Result<void> run_version(Output& output) {
  return output.result("mbsync " MBSYNC_VERSION, {{"version", MBSYNC_VERSION}});
}

}  // namespace mbsync
