#include "commands/manual.h"

#include <memory>

#include "commands/run.h"
#include "documents/bash_completion.h"
#include "documents/manual_page.h"
#include "documents/powershell_completion.h"

namespace mbsync {
namespace {

constexpr const char* kNode = "mbsync";
constexpr const char* kDaemon = "mbsyncd";

std::string page_of(const CLI::App& app) {
  return manual_page(command_tree(app), {.section = 1,
                                         .summary = "keeps PostgreSQL databases of several machines in step",
                                         .version = MBSYNC_VERSION,
                                         .date = MBSYNC_DATE,
                                         .see_also = "mbsyncd(8), psql(1), systemctl(1), journalctl(1)"});
}

std::string page_of_daemon() {
  Invocation never;
  CLI::App daemon{kDaemonText, kDaemon};
  add_daemon(daemon, never);
  return manual_page(command_tree(daemon), {.section = 8,
                                            .summary = "the mbsync node as a service",
                                            .version = MBSYNC_VERSION,
                                            .date = MBSYNC_DATE,
                                            .see_also = "mbsync(1), systemctl(1), systemd.service(5)",
                                            .service = true});
}

Result<void> print(std::string text, Output& output) {
  text.pop_back();  // the output adds a line break
  return output.result(text, {});
}

}  // namespace

void add_manual(CLI::App& app, Invocation& invocation) {
  auto page = std::make_shared<std::string>(kNode);
  CLI::App& command = *app.add_subcommand("manual", "Print the manual page, for man");
  command.add_option("page", *page, "of which program; without it, of mbsync")
      ->type_name("PROGRAM")
      ->check(CLI::IsMember({kNode, kDaemon}));
  command.footer("\nExample:\n  mbsync manual | man -l -\n");
  command.callback([page, &app, &invocation] {
    invocation.action = [page, &app](Output& output) {
      return print(*page == kDaemon ? page_of_daemon() : page_of(app), output);
    };
  });
}

void add_completion(CLI::App& app, Invocation& invocation) {
  constexpr const char* kPowershell = "powershell";
  auto shell = std::make_shared<std::string>();
  CLI::App& command = *app.add_subcommand("completion", "Print a script with which a shell completes command lines");
  command.add_option("shell", *shell, "for which one")
      ->type_name("SHELL")
      ->check(CLI::IsMember({"bash", kPowershell}))
      ->required();
  command.footer(
      "The Debian package installs the one for bash.\n"
      "\nExamples:\n"
      "  source <(mbsync completion bash)\n"
      "  mbsync completion powershell | Out-String | Invoke-Expression\n");
  command.callback([shell, &app, &invocation] {
    invocation.action = [shell, &app](Output& output) {
      const auto tree = command_tree(app);
      return print(*shell == kPowershell ? powershell_completion(tree) : bash_completion(tree), output);
    };
  });
}

}  // namespace mbsync
