// What starts programs with the machine and keeps them running: systemd here. One service, the node of this machine.
// Each call takes what the manager takes (milliseconds, or as long as a start or a stop lasts); any thread, one at a
// time.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>

#include "result.h"
#include "service_unit.h"

namespace mbsync {

enum class ServiceRuns { kStopped, kStarting, kRunning, kStopping, kFailed };
/// "stopped", "starting", "running", "stopping", "failed".
std::string_view to_string(ServiceRuns runs);

struct ServiceState {
  bool installed = false;  ///< the manager knows it
  bool enabled = false;    ///< it starts with the machine
  ServiceRuns runs = ServiceRuns::kStopped;
  std::string since;               ///< of `runs`, ISO in UTC, to the second; empty: not since the machine was started
  std::int64_t pid = 0;            ///< 0: none
  int restarts = 0;                ///< by the manager, after failures, since somebody started it
  std::string says;                ///< the service's own line about what it does; may be empty
  std::optional<int> exit_code{};  ///< of the last process, if it ended by itself
};

class ServiceManager {
 public:
  ServiceManager() = default;
  virtual ~ServiceManager() = default;
  ServiceManager(const ServiceManager&) = delete;
  ServiceManager& operator=(const ServiceManager&) = delete;

  [[nodiscard]] virtual Result<ServiceState> state() = 0;
  /// What install() would make: where, and the text.
  struct Definition {
    std::filesystem::path path;
    std::string text;
    bool of_package = false;  ///< the package has brought just this, and renews it with the program: nothing to be made
  };
  [[nodiscard]] virtual Definition definition(const ServiceSpec& spec) const = 0;
  /// Makes or replaces the definition, or removes it where the package's says the same, and lets it start with the
  /// machine. Starts nothing. Needs root.
  virtual Result<void> install(const ServiceSpec& spec) = 0;
  /// Stops it, and removes what install() made. Nothing to do is no error. Needs root.
  virtual Result<void> uninstall() = 0;
  /// Where install() makes one, whether it is there or not. It hides the package's.
  [[nodiscard]] virtual std::filesystem::path definition_place() const = 0;
  /// Returns once the service says that it is ready; `config` with what the service said if it ended instead, about the
  /// database or the port where that was the reason.
  virtual Result<void> start() = 0;
  virtual Result<void> stop() = 0;
  virtual Result<void> restart() = 0;
  /// The last lines that the service has written, for people; empty if they cannot be had.
  [[nodiscard]] virtual std::string last_words(int lines) = 0;
};

/// Of this system; `config` if it has none that mbsync knows.
Result<std::unique_ptr<ServiceManager>> make_service_manager();

}  // namespace mbsync
