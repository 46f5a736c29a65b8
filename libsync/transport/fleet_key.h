// The one secret of a fleet: SYNC_REGISTRATION_KEY, and the TLS pre-shared key made from it.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <string_view>

#include "result.h"

namespace mbsync {

/// Refuses keys under 16 characters, keys that look as if a person had thought them up, and keys that have been
/// published: `config`, with the reason and how to make a good one. The key itself is in no message.
Result<void> check_registration_key(std::string_view key);

/// The derived secret. Copyable; wiped when the last copy goes. Never printed.
class FleetKey {
 public:
  static constexpr std::size_t kBytes = 32;

  /// Checks, then derives with scrypt (memory-hard; takes some 250 ms and 64 MiB once at start).
  static Result<FleetKey> derive(std::string_view registration_key);

  [[nodiscard]] const std::array<std::uint8_t, kBytes>& secret() const { return *secret_; }

 private:
  explicit FleetKey(std::shared_ptr<const std::array<std::uint8_t, kBytes>> secret) : secret_(std::move(secret)) {}
  std::shared_ptr<const std::array<std::uint8_t, kBytes>> secret_;
};

}  // namespace mbsync
