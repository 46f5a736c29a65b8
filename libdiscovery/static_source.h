// Peers named in the configuration. They are found at start and never lost: whether one answers is not known here.
#pragma once

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
  void stop() override {}

 private:
  std::vector<PeerAddress> peers_;
};

}  // namespace mbsync
