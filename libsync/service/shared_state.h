// What the threads of a running node tell each other.
#pragma once

#include <atomic>

#include "pg_store.h"

namespace mbsync {

struct SharedState {
  explicit SharedState(PgStore& database) : store(database) {}
  PgStore& store;
  std::atomic<bool> reports_changed{true};
  std::atomic<bool> schema_suspect{false};  ///< a statement failed in a way that a changed table explains
  std::atomic<bool> rows_set_aside{true};   ///< some may be, so look soon
  std::atomic<bool> is_another{false};      ///< this node has come back to the fleet as another, and has to start anew
};

}  // namespace mbsync
