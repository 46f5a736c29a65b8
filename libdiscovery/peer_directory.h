// All that is known of peers, from all sources, as one list: a machine that is named in the configuration and announces
// itself on two interfaces is one peer with three addresses. Any thread.
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "peer_source.h"

namespace mbsync {

class PeerDirectory : public PeerListener {
 public:
  using Time = std::chrono::system_clock::time_point;
  using Clock = Time (*)();

  /// How one source has seen a peer.
  struct View {
    std::string source;
    std::string handle;
    std::vector<PeerAddress> addresses;
    std::optional<Announcement> said;
    bool present = true;  ///< the source sees it now
    Time first_seen;
    Time last_seen;  ///< when it was found last, or lost
    /// When it did not take the fleet's key the last time, if it has said what it says since then.
    std::optional<Time> refused{};
  };
  struct Peer {
    int number = 0;              ///< its name within this process; not given twice
    std::optional<NodeId> node;  ///< who answered last there, or else who it says it is
    bool answered = false;       ///< `node` is proved: it has answered with the fleet's key
    /// The one that answered last first. Those that no source sees any more only if it has answered there.
    std::vector<PeerAddress> addresses;
    std::vector<View> views;
  };
  struct SourceState {
    bool works = false;
    std::optional<Error> failure;  ///< why not, if it has said
  };

  /// `start`: as in this node's announcement.
  PeerDirectory(NodeId self, std::string start, Clock clock = std::chrono::system_clock::now);

  void peer_found(std::string_view source, const Sighting& sighting) override;
  void peer_lost(std::string_view source, const std::string& handle) override;
  void source_works(std::string_view source) override;
  void source_fails(std::string_view source, const Error& why) override;

  /// This node has answered there, with the fleet's key. Peers that turn out to be one become one.
  void answered(const PeerAddress& address, NodeId node);
  /// Whoever announces this node does not take the fleet's key.
  void refused(NodeId node);
  /// This very process has answered there. The address is left out for a while: it may be another machine's later.
  void is_own(const PeerAddress& address);

  /// In the order of their numbers, also those that no source sees any more (for a day).
  [[nodiscard]] std::vector<Peer> peers() const;
  /// What announces this node's identity with another start: a copy of its database at work on another machine, or an
  /// announcement that this node has made before it was started anew, and that some daemon still remembers.
  [[nodiscard]] std::vector<View> copies() const;
  [[nodiscard]] std::map<std::string, SourceState> sources() const;
  /// Another number after each change of the above.
  [[nodiscard]] std::uint64_t version() const;

 private:
  using Place = std::pair<std::string, std::string>;  // source and handle
  struct Answer {
    NodeId node;
    std::uint64_t order = 0;  // a later answer has a higher one
  };
  [[nodiscard]] std::optional<NodeId> node_of(const View& view) const;
  [[nodiscard]] bool left_out(const PeerAddress& address, Time now) const;
  int number_of(const std::optional<NodeId>& node, const std::vector<PeerAddress>& addresses) const;
  void drop_old(Time now);

  const NodeId self_;
  const std::string start_;
  const Clock clock_;
  mutable std::mutex mutex_;  // guards what follows
  std::map<Place, View> views_;
  std::map<PeerAddress, Answer> answers_;
  std::map<PeerAddress, Time> own_;
  std::map<std::string, SourceState> sources_;
  std::uint64_t version_ = 0;
  std::uint64_t answers_given_ = 0;
  // Once given, a number stays with its node and its addresses.
  mutable std::map<NodeId, int> node_numbers_;
  mutable std::map<PeerAddress, int> address_numbers_;
  mutable int numbers_given_ = 0;
};

}  // namespace mbsync
