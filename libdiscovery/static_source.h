// Peers named in the configuration. They are found at start, and lost when the configuration names them no
// more: whether one answers is not known here.
#pragma once

#include <mutex>
#include <vector>

#include "peer_source.h"

namespace mbsync {

class StaticSource : public PeerSource {
 public:
  static constexpr std::string_view kName = "static";

  explicit StaticSource(std::vector<PeerAddress> peers);

  [[nodiscard]] std::string_view name() const override { return kName; }
  /// Calls the listener once per address, in the order of the list, before it returns.
  void start(PeerListener& listener) override;
  void stop() override;
  /// Another list from now on, also before start(). Any thread.
  void replace(std::vector<PeerAddress> peers);

 private:
  std::mutex mutex_;                  // guards the two below
  PeerListener* listener_ = nullptr;  // between start() and stop()
  std::vector<PeerAddress> peers_;
};

}  // namespace mbsync
