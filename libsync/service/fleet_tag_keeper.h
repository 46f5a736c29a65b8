// The fleet's tags over the life of a node: from the database, or made; stored and announced when they change.
//
// The database must tell whether the key is still the one that a tag belongs to, and not what the key is. Any such sign
// lets keys be tried by whoever reads the database. The one that is used here has 16 bits and is made from what scrypt
// gives: the tag by which the key is called in a handshake, in clear, anyway (PROTOCOL.md "Transport"). A guess costs a
// quarter of a second and 64 MiB as it does everywhere, and of all keys that are wrong one in 65,536 looks right, so
// that the last word is a server's, which lets ten a minute fail. A new key that looks like the old one, by that
// chance, goes on with its tag: then machines with the old key are asked a little more often, in vain.
#pragma once

#include <chrono>
#include <functional>
#include <map>
#include <string>

#include "fleet_key.h"
#include "fleet_tags.h"
#include "pace.h"
#include "peer_note.h"

namespace mbsync {

class FleetTagKeeper {
 public:
  using Time = std::chrono::steady_clock::time_point;
  struct Store {
    std::function<Result<TagsByKey>()> read;
    std::function<Result<void>(const TagsByKey&)> write;
  };

  /// Reads. Where that fails the node makes new ones for now.
  FleetTagKeeper(const FleetKeys& keys, const Store& store);

  [[nodiscard]] FleetTags& tags() { return tags_; }
  /// What the network is told. With two keys it is the current one's: a node begins its handshakes with that, and those
  /// that have the two the other way round know both tags once they have met with it.
  [[nodiscard]] std::string announced() const { return tags_.of(KeyUse::kCurrent); }

  /// To be called often: stores what has changed, with a pause between two times. True: announce it anew.
  bool look_after(Time now);

 private:
  FleetTagKeeper(const FleetKeys& keys, const TagsByKey& known, Store store);
  [[nodiscard]] TagsByKey by_key() const;

  const std::string current_;  // identities
  const std::string next_;     // empty: no such key
  const Store store_;
  FleetTags tags_;
  std::uint64_t stored_ = 0;  // a version of tags_
  bool is_stored_ = false;
  std::string said_;
  Time not_before_{};
  Announcer failures_;
};

}  // namespace mbsync
