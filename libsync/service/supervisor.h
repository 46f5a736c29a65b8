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

  /// One line about what it does now, for people. Holds no secrets.
  virtual void doing(std::string_view line) = 0;
  /// The database is prepared and peers are served.
  virtual void ready() = 0;
  /// Called several times a second while all is well, but not while the database makes it wait.
  virtual void alive() = 0;
  virtual void stopping() = 0;
};

/// For a node that nobody looks after.
Supervisor& no_supervisor();

}  // namespace mbsync
