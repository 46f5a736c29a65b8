// Peers on the local network, through the machine's mDNS daemon (Avahi or Bonjour), and this node's own announcement.
//
// The daemon is asked on a thread of its own, and nobody waits for it: a call into a daemon that hangs comes back after
// half a minute. A daemon that is not there, or goes away, is said once and looked for again.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "dns_sd_api.h"
#include "peer_source.h"

namespace mbsync {

class DnsSdSource : public PeerSource {
 public:
  static constexpr std::string_view kName = "mdns";

  struct Options {
    std::string name;        ///< for people; the daemon makes it unique on the network
    std::uint16_t port = 0;  ///< where this node's server listens; 0: nothing is announced, and others are listened to
    Announcement announcement;
    std::function<Result<DnsSdApi>()> load = DnsSdApi::load;
  };

  explicit DnsSdSource(Options options);
  ~DnsSdSource() override;
  DnsSdSource(const DnsSdSource&) = delete;
  DnsSdSource& operator=(const DnsSdSource&) = delete;

  [[nodiscard]] std::string_view name() const override { return kName; }
  /// Handles are the service's name and the interface it was heard on. This process's own announcement is left out.
  void start(PeerListener& listener) override;
  void look_again(const std::string& handle) override;
  void stop() override;

  /// What this node says from now on. Any thread.
  void announce(const Announcement& announcement);

 private:
  struct Shared;
  class Session;
  std::shared_ptr<Shared> shared_;
};

}  // namespace mbsync
