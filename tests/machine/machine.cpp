#include "machine.h"

#include <fmt/format.h>
#include <stdlib.h>  // NOLINT(modernize-deprecated-headers): mkdtemp

#include <chrono>
#include <cstdlib>
#include <fstream>
#include <iostream>
#include <stdexcept>

#include "temp_cluster.h"
#include "wait_until.h"

namespace mbsync::test {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

const std::filesystem::path kBox = MBSYNC_BOX;
constexpr milliseconds kRunsAtMost{120'000};
constexpr milliseconds kBootsWithin{60'000};
constexpr milliseconds kEndsWithin{15'000};

std::string without_line_break(std::string text) {
  while (!text.empty() && text.back() == '\n') {
    text.pop_back();
  }
  return text;
}

}  // namespace

std::optional<std::string> Machine::missing() {
  const auto finished = run_program(kBox, {.arguments = {"missing"}});
  const auto why = without_line_break(finished.out);
  if (finished.exit_code != 0) {
    return "a machine cannot be made: " + without_line_break(finished.err);
  }
  return why.empty() ? std::nullopt : std::optional(why);
}

Machine::Machine() {
  std::string name = (std::filesystem::temp_directory_path() / "mbsync-box-XXXXXX").string();
  if (::mkdtemp(name.data()) == nullptr) {
    throw std::runtime_error("no directory for the machine");
  }
  directory_ = name;
  box_.emplace(kBox, ChildOptions{.arguments = {"run", directory_.string()}});
  const auto pid_file = directory_ / "pid";
  const bool there = wait_until(
      kBootsWithin, [&] { return std::filesystem::exists(pid_file) || !box_->running(); }, milliseconds{20});
  // systemd takes a moment until it listens; until then the call fails, and is made again.
  std::string state;
  const bool booted = there && wait_until(
                                   kBootsWithin,
                                   [&] {
                                     state = without_line_break(run({"systemctl", "is-system-running", "--wait"}).out);
                                     return state == "running" || state == "degraded" || !box_->running();
                                   },
                                   milliseconds{100});
  if (!booted || !box_->running()) {
    throw std::runtime_error("the machine has not booted: " + state + box_->err());
  }
#ifdef __SANITIZE_ADDRESS__
  // What the unit keeps a service from doing is what a search for leaks at its end needs (ptrace); the other tests
  // make one.
  sh("systemctl set-environment ASAN_OPTIONS=detect_leaks=0");
#endif
}

Machine::~Machine() {
  static_cast<void>(run_program(kBox, {.arguments = {"stop", directory_.string()}}));
  if (!box_->wait(kEndsWithin)) {
    box_->kill();
  }
  std::error_code error;
  std::filesystem::remove_all(directory_, error);
}

Machine::Finished Machine::run(const std::vector<std::string>& program_and_arguments) {
  std::vector<std::string> arguments{"enter", directory_.string()};
  arguments.insert(arguments.end(), program_and_arguments.begin(), program_and_arguments.end());
  ChildProcess child(kBox, {.arguments = std::move(arguments)});
  const auto code = child.wait(kRunsAtMost);
  if (!code) {
    throw std::runtime_error(fmt::format("{} does not end", program_and_arguments.front()));
  }
  return {*code, child.out(), child.err()};
}

std::string Machine::sh(const std::string& script) {
  const auto finished = run({"bash", "-euo", "pipefail", "-c", script});
  if (finished.exit_code != 0) {
    throw std::runtime_error(
        fmt::format("on the machine, exit code {}: {}\n{}{}", finished.exit_code, script, finished.out, finished.err));
  }
  return without_line_break(finished.out);
}

void Machine::write(const std::filesystem::path& path, const std::string& text, const std::string& mode) {
  const auto passed = directory_ / "shared" / "file";
  std::ofstream(passed, std::ios::binary) << text;
  sh(fmt::format("install -D -m {} /run/shared/file '{}'", mode, path.string()));
}

void Machine::install_program(const std::filesystem::path& program) {
  std::filesystem::copy_file(program, directory_ / "shared" / "program",
                             std::filesystem::copy_options::overwrite_existing);
  sh(fmt::format("install -m 0755 /run/shared/program '/usr/local/bin/{}'", program.filename().string()));
}

void Machine::start_postgres() {
  const auto bin = find_postgres_bin().string();
  sh(fmt::format(R"(
    install -d -o postgres -g postgres /run/postgresql /var/lib/box
    [ -d /var/lib/box/data ] ||
      runuser -u postgres -- '{0}/initdb' -D /var/lib/box/data -A trust -U postgres --no-sync >/dev/null
    cd /
    runuser -u postgres -- '{0}/pg_ctl' -D /var/lib/box/data -l /var/lib/box/log -w \
      -o '-k /run/postgresql -c fsync=off' start >/dev/null)",
                 bin));
}

void Machine::stop_postgres() {
  sh(fmt::format("cd /; runuser -u postgres -- '{}/pg_ctl' -D /var/lib/box/data -m fast -w stop >/dev/null",
                 find_postgres_bin().string()));
}

std::string Machine::scalar(const std::string& database, const std::string& sql) {
  const auto finished =
      run({"psql", "-h", "127.0.0.1", "-U", "postgres", "-d", database, "-X", "-A", "-t", "-q", "-c", sql});
  if (finished.exit_code != 0) {
    throw std::runtime_error(finished.err);
  }
  return without_line_break(finished.out.substr(0, finished.out.find('\n')));
}

void skip_without_machine() {
  if (const auto why = Machine::missing()) {
    std::cout << "skipped: " << *why << '\n';
    std::exit(77);
  }
}

}  // namespace mbsync::test
