// A program started by a test: its output is kept, it can be waited for with a deadline, and it does not outlive the
// object. One thread at a time may use an object.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <cstddef>
#include <filesystem>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace mbsync::test {

/// Whom a child runs as; only root can choose.
struct Account {
  uid_t user = 0;
  gid_t group = 0;
};

struct ChildOptions {
  std::vector<std::string> arguments{};                            ///< without the program's name
  std::vector<std::pair<std::string, std::string>> environment{};  ///< added to, or in place of, the test's own
  std::vector<std::string> unset{};                                ///< taken out of the test's own environment
  std::filesystem::path working_directory{};                       ///< empty: the test's own
  std::filesystem::path output_file{};  ///< stdout and stderr appended here; empty: kept in memory
  std::string input{};                  ///< what the child reads on stdin, then end of file
  std::optional<Account> run_as{};
};

class ChildProcess {
 public:
  /// Starts the program (looked up in PATH if it has no slash). Throws std::runtime_error if it cannot be started.
  explicit ChildProcess(const std::filesystem::path& program, ChildOptions options = {});
  ChildProcess(ChildProcess&& other) noexcept;
  ChildProcess& operator=(ChildProcess&& other) noexcept;
  ChildProcess(const ChildProcess&) = delete;
  ChildProcess& operator=(const ChildProcess&) = delete;
  /// Kills what still runs.
  ~ChildProcess();

  [[nodiscard]] pid_t pid() const { return pid_; }
  [[nodiscard]] bool running();

  /// The exit code, or 128 + the signal's number; nothing if the child still runs when the time is up.
  [[nodiscard]] std::optional<int> wait(std::chrono::milliseconds timeout);

  /// Does nothing once the child has ended.
  void signal(int number);
  /// SIGKILL, and waits for the end.
  void kill();

  /// What it has written so far. Empty when `output_file` was given.
  [[nodiscard]] std::string out() const;
  [[nodiscard]] std::string err() const;

  /// Peak resident memory (VmHWM). Once the child has ended: as last seen by running() or wait(), which look every few
  /// milliseconds.
  [[nodiscard]] std::size_t peak_resident_kib();
  /// From now on the peak is that of the time that follows (as far as /proc/PID/clear_refs may be written).
  void forget_peak();

 private:
  void reap(int status);
  void look_at_memory();
  void close_files();

  pid_t pid_ = -1;
  std::optional<int> exit_code_;
  std::size_t peak_kib_ = 0;
  int out_ = -1;
  int err_ = -1;
};

struct Finished {
  int exit_code = -1;
  std::string out;
  std::string err;
};

/// Starts a program and waits for its end. Throws std::runtime_error, with what it printed, if that takes too long.
Finished run_program(const std::filesystem::path& program, ChildOptions options = {},
                     std::chrono::milliseconds timeout = std::chrono::seconds{60});

}  // namespace mbsync::test
