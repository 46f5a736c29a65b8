// A configuration that is read again while the node runs: what it takes at once, and what has to wait for a restart.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "config.h"

namespace mbsync {

/// Reads the configuration again, the same way as at the start.
using LoadAgain = std::function<Result<Config>()>;

struct Reloaded {
  std::vector<ConfigKey> taken;          ///< `now` has them
  std::vector<ConfigKey> needs_restart;  ///< they stay as they were
  [[nodiscard]] bool has(ConfigKey key) const;
};

/// Takes from `wanted` what a running node can go by (Reload::kLive), with its sources.
Reloaded take_live(Config& now, const Config& wanted);

/// Reads again, takes what can be taken, sets up the log anew, and says all of it there. A configuration that is wrong
/// changes nothing.
Reloaded read_again(Config& now, const LoadAgain& load_again);

/// For a node that starts anew in its process: all of the configuration as it is now, with its directory made and its
/// log begun; nothing if it is wrong, which the log says, or the same as `now`.
std::optional<Config> read_for_restart(const Config& now, const LoadAgain& load_again);

/// "log_level (debug), peers (a:8765, b:8765)"; secrets by name alone.
std::string names_and_values(const std::vector<ConfigKey>& keys, const Config& config);

}  // namespace mbsync
