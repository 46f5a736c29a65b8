// A machine of the test's own, with a systemd that runs: namespaces over a copy-on-write view of this system (box
// beside this file says how). Programs are run in it one at a time. One thread.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "child_process.h"

namespace mbsync::test {

class Machine {
 public:
  /// What this system lacks for it, for a test that says why it is skipped; nothing if it can be made.
  static std::optional<std::string> missing();

  /// Boots it, and returns once all of its services have been started.
  Machine();
  ~Machine();
  Machine(const Machine&) = delete;
  Machine& operator=(const Machine&) = delete;

  struct Finished {
    int exit_code = 0;
    std::string out;
    std::string err;
  };
  /// As root, in a clean environment. Throws if it has not ended within two minutes.
  Finished run(const std::vector<std::string>& program_and_arguments);
  /// The same by a shell; throws, with all that was said, unless it ends with 0. Returns stdout without the last line
  /// break.
  std::string sh(const std::string& script);
  /// A file in it.
  void write(const std::filesystem::path& path, const std::string& text, const std::string& mode = "0644");
  /// Copies a program that was built to /usr/local/bin of the machine.
  void install_program(const std::filesystem::path& program);

  /// A PostgreSQL of the machine's own, on its port 5432, with everybody trusted. Returns once it answers.
  void start_postgres();
  void stop_postgres();
  /// First column of the first row.
  std::string scalar(const std::string& database, const std::string& sql);

 private:
  std::filesystem::path directory_;
  std::optional<ChildProcess> box_;
};

/// For tests that are nothing without one: prints "skipped: why" and ends the program with 77 if none can be made.
void skip_without_machine();

}  // namespace mbsync::test
