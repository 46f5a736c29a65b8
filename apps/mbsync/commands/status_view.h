// How a node's status looks as text for people. Pure. As JSON: node_status.h.
#pragma once

#include <string>

#include "node_status.h"

namespace mbsync {

/// `colour`: for a terminal; only what wants a look has one.
std::string status_text(const NodeStatus& status, bool colour);
/// "3 h 12 min", "40 s".
std::string duration_text(double seconds);

}  // namespace mbsync
