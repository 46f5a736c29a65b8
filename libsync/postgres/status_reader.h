// What status shows, read beside a running node or without one: nothing is claimed, and the engine's lock is not taken.
#pragma once

#include <memory>

#include "pg_store.h"

namespace mbsync {

/// Keeps its session from one read to the next. read() and interrupt() from any thread; one read at a time, others
/// wait.
class StatusReader {
 public:
  explicit StatusReader(DatabaseUrl url);
  ~StatusReader();
  StatusReader(const StatusReader&) = delete;
  StatusReader& operator=(const StatusReader&) = delete;

  /// As PgStore::read_status(). Connects anew where the database went away.
  Result<StoreStatus> read();
  /// Gives up what is under way; from then on read() fails. Returns at once; the second time, the connection is cut.
  void interrupt();

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace mbsync
