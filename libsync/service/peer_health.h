// Who of the fleet has been heard of lately, by either way: it has answered, or it has asked. Any thread.
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <mutex>
#include <optional>

#include "ids.h"
#include "result.h"

namespace mbsync {

class PeerHealth {
 public:
  using Time = std::chrono::steady_clock::time_point;

  struct State {
    std::optional<Time> answered;  ///< the last time that it has answered, and all was well
    std::optional<Time> asked;     ///< the last time that it has asked this node
    std::optional<Time> failed;    ///< the last time that it could not be asked, since it has last answered
    std::optional<Error> failure;  ///< why
    /// Worth listening to: nothing has gone wrong with it, or it has asked since.
    [[nodiscard]] bool up() const { return !failed || (asked && *asked > *failed); }
  };

  void answered(NodeId node, Time now) {
    change(node, [&](State& state) {
      state.answered = now;
      state.failed.reset();
      state.failure.reset();
    });
  }
  void asked(NodeId node, Time now) {
    change(node, [&](State& state) { state.asked = now; });
  }
  void failed(NodeId node, Time now, const Error& why) {
    change(node, [&](State& state) {
      state.failed = now;
      state.failure = why;
    });
  }

  /// Of a node that nobody has told of, nothing bad is known.
  [[nodiscard]] State of(NodeId node) const {
    const std::lock_guard lock(mutex_);
    const auto place = states_.find(node);
    return place == states_.end() ? State{} : place->second;
  }
  /// Another number whenever a node has gone up or down.
  [[nodiscard]] std::uint64_t version() const {
    const std::lock_guard lock(mutex_);
    return version_;
  }

 private:
  template <typename Change>
  void change(NodeId node, Change how) {
    const std::lock_guard lock(mutex_);
    auto& state = states_[node];
    const bool before = state.up();
    how(state);
    version_ += before == state.up() ? 0 : 1;
  }

  mutable std::mutex mutex_;
  std::map<NodeId, State> states_;
  std::uint64_t version_ = 0;
};

}  // namespace mbsync
