// The secret of a fleet: SYNC_REGISTRATION_KEY, and the TLS pre-shared key made from it. While the fleet changes to
// another one, there are two.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "key_use.h"
#include "result.h"

namespace mbsync {

/// The variable that holds it, for messages.
constexpr std::string_view variable_of(KeyUse use) {
  return use == KeyUse::kNext ? "SYNC_REGISTRATION_KEY_NEXT" : "SYNC_REGISTRATION_KEY";
}

/// Refuses keys under 16 characters, keys that look as if a person had thought them up, and keys that have been
/// published: `config`, with the reason and how to make a good one. The key itself is in no message.
Result<void> check_registration_key(std::string_view key, KeyUse use = KeyUse::kCurrent);

/// The derived secret. Copyable; wiped when the last copy goes. Never printed.
class FleetKey {
 public:
  static constexpr std::size_t kBytes = 32;

  /// Checks, then derives with scrypt (memory-hard; takes some 250 ms and 64 MiB once at start).
  static Result<FleetKey> derive(std::string_view registration_key, KeyUse use = KeyUse::kCurrent);

  [[nodiscard]] const std::array<std::uint8_t, kBytes>& secret() const { return *secret_; }
  /// What the key is called in a handshake, in clear: the scheme by which it is made, and 16 bits of a hash of the
  /// secret, so that who has two keys knows which is meant. (PROTOCOL.md "Transport")
  [[nodiscard]] const std::string& identity() const { return identity_; }

 private:
  explicit FleetKey(std::shared_ptr<const std::array<std::uint8_t, kBytes>> secret);
  std::shared_ptr<const std::array<std::uint8_t, kBytes>> secret_;
  std::string identity_;
};

/// What every identity begins with.
inline constexpr std::string_view kIdentityScheme = "mbsync-v1:";

/// The keys that a node takes.
struct FleetKeys {
  FleetKeys(FleetKey only) : current(std::move(only)) {}  ///< implicit: most of the time a fleet has one
  FleetKeys(FleetKey first, FleetKey second) : current(std::move(first)), next(std::move(second)) {}

  /// `next_key` is empty if there is none. `config` as well if the two are the same, or cannot be told apart.
  static Result<FleetKeys> derive(std::string_view key, std::string_view next_key);

  [[nodiscard]] const FleetKey& of(KeyUse use) const { return use == KeyUse::kNext && next ? *next : current; }

  FleetKey current;
  std::optional<FleetKey> next;
};

}  // namespace mbsync
