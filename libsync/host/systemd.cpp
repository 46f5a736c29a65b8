// systemd, spoken to through systemctl: its D-Bus interface would need a library, and its command is stable.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <chrono>
#include <ctime>
#include <filesystem>
#include <map>
#include <string_view>
#include <utility>

#include "account.h"
#include "command.h"
#include "files.h"
#include "service_manager.h"

namespace mbsync {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

// What mbsyncd ends with when the database or the port was the reason (apps/mbsync/exit_code.h).
constexpr int kExitDatabase = 3;
constexpr int kExitPort = 4;
constexpr const char* kUnitName = "mbsync.service";
constexpr const char* kUnitFile = "/etc/systemd/system/mbsync.service";
constexpr const char* kUnitOfPackage = "/lib/systemd/system/mbsync.service";
constexpr seconds kAnswersWithin{30};
/// Making a node out of a large database takes its time, and a database that is starting is waited for.
constexpr seconds kStartsWithin{300};
constexpr seconds kStopsWithin{60};
constexpr milliseconds kLookEvery{100};

std::map<std::string, std::string> properties_of(std::string_view text) {
  std::map<std::string, std::string> properties;
  while (!text.empty()) {
    const auto line = text.substr(0, text.find('\n'));
    text.remove_prefix(std::min(text.size(), line.size() + 1));
    if (const auto sign = line.find('='); sign != std::string_view::npos) {
      properties.emplace(line.substr(0, sign), line.substr(sign + 1));
    }
  }
  return properties;
}

template <typename Number>
Number number_in(const std::string& text) {
  Number number{};
  std::from_chars(text.data(), text.data() + text.size(), number);
  return number;
}

ServiceRuns runs_of(const std::string& active, const std::string& sub) {
  if (active == "active" || active == "reloading") {
    return ServiceRuns::kRunning;
  }
  if (active == "activating") {
    // Between a failure and the next try.
    return sub == "auto-restart" ? ServiceRuns::kFailed : ServiceRuns::kStarting;
  }
  if (active == "deactivating") {
    return ServiceRuns::kStopping;
  }
  return active == "failed" ? ServiceRuns::kFailed : ServiceRuns::kStopped;
}

/// "@1700000000.123456" as ISO.
std::string iso_of(const std::string& stamp) {
  if (stamp.size() < 2 || stamp.front() != '@') {
    return "";
  }
  const auto at = number_in<std::time_t>(stamp.substr(1));
  std::tm parts{};
  if (at == 0 || ::gmtime_r(&at, &parts) == nullptr) {
    return "";
  }
  std::array<char, 32> text{};
  const auto length = std::strftime(text.data(), text.size(), "%Y-%m-%dT%H:%M:%SZ", &parts);
  return {text.data(), length};
}

class Systemd : public ServiceManager {
 public:
  Result<ServiceState> state() override {
    const std::string wanted =
        "LoadState,UnitFileState,ActiveState,SubState,StateChangeTimestamp,MainPID,NRestarts,StatusText,ExecMainCode,"
        "ExecMainStatus";
    const auto said =
        run_or_fail({"systemctl", "show", kUnitName, "--timestamp=unix", "--property=" + wanted}, kAnswersWithin);
    MBSYNC_TRY(said);
    auto properties = properties_of(*said);
    ServiceState state;
    state.installed = properties["LoadState"] == "loaded";
    state.enabled = properties["UnitFileState"] == "enabled";
    state.runs = runs_of(properties["ActiveState"], properties["SubState"]);
    state.since = iso_of(properties["StateChangeTimestamp"]);
    state.pid = number_in<std::int64_t>(properties["MainPID"]);
    state.restarts = number_in<int>(properties["NRestarts"]);
    state.says = properties["StatusText"];
    constexpr const char* kExited = "1";  // CLD_EXITED
    if (properties["ExecMainCode"] == kExited) {
      state.exit_code = number_in<int>(properties["ExecMainStatus"]);
    }
    return state;
  }

  Definition definition(const ServiceSpec& service) const override {
    auto spec = service;
    const auto packaged = read_file(kUnitOfPackage);
    // The package was made for one release of the system; its pauses are well with any.
    for (const bool growing : {false, true}) {
      spec.growing_pauses = growing;
      if (packaged && *packaged && **packaged == systemd_unit(spec)) {
        return {kUnitOfPackage, **packaged, true};
      }
    }
    const auto version = run_or_fail({"systemctl", "--version"}, kAnswersWithin);
    spec.growing_pauses = version && knows_growing_pauses(*version);
    return {kUnitFile, systemd_unit(spec)};
  }
  std::filesystem::path definition_place() const override { return kUnitFile; }

  Result<void> install(const ServiceSpec& spec) override {
    const auto wanted = definition(spec);
    MBSYNC_TRY(wanted.of_package ? remove_all_of(kUnitFile) : write_file(wanted.path, wanted.text, {.mode = 0644}));
    MBSYNC_TRY(systemctl({"daemon-reload"}, kAnswersWithin));
    return systemctl({"enable", kUnitName}, kAnswersWithin);
  }

  Result<void> uninstall() override {
    const auto now = state();
    MBSYNC_TRY(now);
    if (now->installed) {
      MBSYNC_TRY(systemctl({"disable", "--now", kUnitName}, kStopsWithin));
    }
    MBSYNC_TRY(remove_all_of(kUnitFile));
    MBSYNC_TRY(systemctl({"daemon-reload"}, kAnswersWithin));
    // A unit that is gone and had failed would still be listed.
    static_cast<void>(run_command({"systemctl", "reset-failed", kUnitName}, kAnswersWithin));
    return {};
  }

  Result<void> start() override {
    // What systemd has started again by itself may be at work on what has just been mended, and is to begin anew.
    const auto now = state();
    MBSYNC_TRY(now);
    const bool is_retry = now->runs == ServiceRuns::kStarting && now->restarts > 0;
    return come_up(is_retry ? "restart" : "start");
  }
  Result<void> restart() override { return come_up("restart"); }
  Result<void> stop() override {
    MBSYNC_TRY(is_installed());
    return systemctl({"stop", kUnitName}, kStopsWithin);
  }

  std::string last_words(int lines) override {
    const auto said = run_command({"journalctl", "--unit", kUnitName, "--no-pager", "--quiet", "--output", "cat",
                                   "--lines", std::to_string(lines)},
                                  kAnswersWithin);
    return said && said->exit_code == 0 ? said->output : "";
  }

 private:
  Result<void> is_installed() {
    const auto now = state();
    MBSYNC_TRY(now);
    if (!now->installed) {
      return Error{ErrorKind::kConfig, "the service is not installed",
                   "'sudo mbsync install' installs it; 'mbsync run' runs a node without a service"};
    }
    return {};
  }

  static Result<void> systemctl(std::vector<std::string> arguments, milliseconds patience) {
    arguments.insert(arguments.begin(), "systemctl");
    const auto done = run_or_fail(arguments, patience);
    if (!done && !is_root()) {
      auto error = done.error();
      error.hint = "run it as root: 'sudo mbsync ...'";
      return error;
    }
    MBSYNC_TRY(done);
    return {};
  }

  // systemctl itself would wait without end, and say of a failure only that there was one.
  Result<void> come_up(const std::string& verb) {
    MBSYNC_TRY(is_installed());
    static_cast<void>(run_command({"systemctl", "reset-failed", kUnitName}, kAnswersWithin));
    MBSYNC_TRY(systemctl({verb, "--no-block", kUnitName}, kAnswersWithin));
    const auto deadline = std::chrono::steady_clock::now() + kStartsWithin;
    for (;;) {
      // Asked first: what the state says is only news once the job is through. Between two tries of its own systemd has
      // none.
      const bool queued = is_queued();
      const auto now = state();
      MBSYNC_TRY(now);
      if (now->runs == ServiceRuns::kRunning && !queued) {
        return {};
      }
      if ((now->runs == ServiceRuns::kFailed || now->runs == ServiceRuns::kStopped) && !queued) {
        return failed(*now);
      }
      if (std::chrono::steady_clock::now() >= deadline) {
        return Error{
            ErrorKind::kTransient,
            fmt::format("the service is still {}{}", to_string(now->runs), now->says.empty() ? "" : ": " + now->says),
            "it goes on by itself; 'mbsync status' shows how far it is"};
      }
      wait_a_little();
    }
  }

  // A restart that has not begun yet looks like a service that runs.
  static bool is_queued() {
    const auto jobs = run_command({"systemctl", "show", kUnitName, "--property=Job", "--value"}, kAnswersWithin);
    return jobs && jobs->exit_code == 0 && !jobs->output.empty() && jobs->output != "\n" && jobs->output != "0\n";
  }

  Error failed(const ServiceState& now) {
    constexpr int kLinesShown = 5;
    std::string words = last_words(kLinesShown);
    while (!words.empty() && words.back() == '\n') {
      words.pop_back();
    }
    Error error{ErrorKind::kConfig,
                fmt::format("the service has not started{}{}",
                            now.exit_code ? fmt::format(" (exit code {})", *now.exit_code) : "",
                            words.empty() ? "" : ". The last that it wrote:\n" + words),
                "mend what it names, then say 'mbsync start'; 'mbsync smoke-check' looks at each thing it needs"};
    if (now.exit_code == kExitDatabase || now.exit_code == kExitPort) {
      error.area = now.exit_code == kExitPort ? ErrorArea::kPort : ErrorArea::kDatabase;
    }
    return error;
  }

  static void wait_a_little() {
    // Nothing to wait on: systemd tells of changes by D-Bus alone.
    const timespec pause{0, std::chrono::nanoseconds(kLookEvery).count()};
    ::nanosleep(&pause, nullptr);
  }
};

}  // namespace

std::string_view to_string(ServiceRuns runs) {
  switch (runs) {
    case ServiceRuns::kStopped:
      return "stopped";
    case ServiceRuns::kStarting:
      return "starting";
    case ServiceRuns::kRunning:
      return "running";
    case ServiceRuns::kStopping:
      return "stopping";
    case ServiceRuns::kFailed:
      return "failed";
  }
  return "stopped";
}

Result<std::unique_ptr<ServiceManager>> make_service_manager() {
  std::error_code error;
  // As sd_booted(3) tells it.
  if (!std::filesystem::is_directory("/run/systemd/system", error)) {
    return Error{ErrorKind::kConfig, "this system is not run by systemd, so there is no service to speak of",
                 "let whatever starts programs here run 'mbsyncd --config FILE', or use 'mbsync run' by hand"};
  }
  return std::unique_ptr<ServiceManager>(std::make_unique<Systemd>());
}

}  // namespace mbsync
