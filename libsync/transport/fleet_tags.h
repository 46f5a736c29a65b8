// What tells fleets apart on a network, for those who look there: a tag that somebody of the fleet has made by chance.
// Nodes announce it. It is no secret and proves nothing; and as nothing of the key is in it, nobody learns anything of
// the key from it.
//
// Each node begins with one of its own for each of its keys. Whoever exchanges with another over a connection made with
// that key hears the other's, and both keep the smaller one: so a fleet comes to have one tag for a key.
#pragma once

#include <cstdint>
#include <mutex>
#include <string>
#include <string_view>

#include "key_use.h"

namespace mbsync {

/// HTTP's header in which both sides of a pull say theirs. (PROTOCOL.md "The fleet's tag")
inline constexpr const char* kFleetTagHeader = "Mbsync-Fleet";

/// 16 lower-case hexadecimal digits.
bool is_fleet_tag(std::string_view text);

/// 64 random bits; empty if the system has no random numbers, and then the node waits until it hears one.
std::string make_fleet_tag();

/// Of those that two nodes have for one key, the one that both keep; an empty one is none.
std::string agreed_fleet_tag(const std::string& a, const std::string& b);

/// The tags that this node has. Any thread.
class FleetTags {
 public:
  FleetTags() = default;
  /// Empty: none. What is no tag counts as none.
  explicit FleetTags(std::string_view current, std::string_view next = "");

  [[nodiscard]] std::string of(KeyUse key) const;
  /// Whether one who announces this one is known to be of the fleet.
  [[nodiscard]] bool has(std::string_view tag) const;
  /// Somebody who has the key has said so. What is no tag is passed over.
  void heard(KeyUse key, std::string_view tag);
  /// Another number after each change.
  [[nodiscard]] std::uint64_t version() const;

 private:
  mutable std::mutex mutex_;  // guards what follows
  std::string current_;
  std::string next_;
  std::uint64_t version_ = 0;
};

}  // namespace mbsync
