// Who keeps a node running and wants to know how it goes: a service manager. The run loop calls this from one thread.
#pragma once

#include <string_view>

namespace mbsync {

class Supervisor {
 public:
  Supervisor() = default;
  virtual ~Supervisor() = default;
  Supervisor(const Supervisor&) = delete;
  Supervisor& operator=(const Supervisor&) = delete;

  /// What it does now: "starting", "waiting for the database", "running"; `detail` is of one line or empty, and for
  /// people. Neither holds secrets.
  virtual void doing(std::string_view phase, std::string_view detail) = 0;
  void doing(std::string_view phase) { doing(phase, {}); }
  /// The database is prepared and peers are served.
  virtual void ready() = 0;
  /// Called several times a second while all is well; while the database makes it wait, before each try.
  virtual void alive() = 0;
  virtual void stopping() = 0;
};

/// For a node that nobody looks after.
Supervisor& no_supervisor();

}  // namespace mbsync
