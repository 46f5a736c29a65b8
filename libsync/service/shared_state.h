// What the threads of a running node tell each other.
#pragma once

#include <atomic>

#include "node_activity.h"
#include "pg_store.h"

namespace mbsync {

struct SharedState {
  SharedState(PgStore& database, NodeActivity& told) : store(database), activity(told) {}
  PgStore& store;
  NodeActivity& activity;
  std::atomic<bool> reports_changed{true};
  std::atomic<bool> schema_suspect{false};  ///< a statement failed in a way that a changed table explains
  std::atomic<bool> rows_set_aside{true};   ///< some may be, so look soon
  std::atomic<bool> is_another{false};      ///< this node has come back to the fleet as another, and has to start anew
};

}  // namespace mbsync
