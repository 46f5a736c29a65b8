// The node's local port at work: what it tells, what it can be told, and the thread that reads the database for it. It
// lives as long as the process and longer than any run of the node, so that /health answers while the node waits for
// its database, and while it starts anew. A port that cannot be had is said and tried again; the node goes on without.
#pragma once

#include <memory>
#include <string>

#include "config.h"
#include "node_activity.h"
#include "node_control.h"
#include "verify_board.h"

namespace mbsync {

class LocalPort {
 public:
  /// `version`: of the program. All must outlive the object.
  LocalPort(const Config& config, std::string version, NodeActivity& activity, NodeControl& control,
            VerifyBoard& board);
  ~LocalPort();  ///< ends what is under way
  /// What it says of the configuration from now on.
  void adopt(const Config& config);
  LocalPort(const LocalPort&) = delete;
  LocalPort& operator=(const LocalPort&) = delete;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

/// Who answers at the local port of a node on this machine, as "node till (05f3...)"; empty: nobody, or no node. For
/// messages about a port that is taken.
std::string node_at_local_port(std::uint16_t port);
/// Whether it is this node, at work with this configuration's ports; false as well if it asks for a token, which is
/// told to nobody before it is known who that is.
bool is_at_local_port(NodeId node, const Config& config);

}  // namespace mbsync
