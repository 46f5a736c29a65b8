#include "commands/keygen.h"

#include <openssl/crypto.h>
#include <openssl/rand.h>

#include <array>
#include <cstdint>
#include <span>
#include <string_view>

namespace mbsync {
namespace {

constexpr std::size_t kKeyBytes = 32;
constexpr std::size_t kGroup = 4;

/// Base 32 of RFC 4648: no 0, 1 or 8 that could be taken for a letter.
std::string grouped_base32(std::span<const std::uint8_t> bytes) {
  constexpr std::string_view kDigits = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
  constexpr unsigned kDigitBits = 5;
  constexpr unsigned kDigitMask = 31;
  std::string text;
  unsigned buffer = 0;
  unsigned bits = 0;
  std::size_t digits = 0;
  const auto append = [&](unsigned digit) {
    if (digits != 0 && digits % kGroup == 0) {
      text += '-';
    }
    text += kDigits[digit & kDigitMask];
    ++digits;
  };
  for (const std::uint8_t byte : bytes) {
    buffer = (buffer << 8U) | byte;
    bits += 8;
    while (bits >= kDigitBits) {
      bits -= kDigitBits;
      append(buffer >> bits);
    }
  }
  if (bits > 0) {
    append(buffer << (kDigitBits - bits));
  }
  return text;
}

}  // namespace

Result<std::string> generate_registration_key() {
  std::array<std::uint8_t, kKeyBytes> bytes{};
  if (RAND_bytes(bytes.data(), static_cast<int>(bytes.size())) != 1) {
    return Error{ErrorKind::kInternal, "the system gives no random numbers", "try again later"};
  }
  std::string key = grouped_base32(bytes);
  OPENSSL_cleanse(bytes.data(), bytes.size());
  return key;
}

void add_keygen(CLI::App& app, Invocation& invocation) {
  CLI::App& command = *app.add_subcommand("keygen", "Make a registration key for a new fleet");
  command.add_flag("--json", invocation.json, "as JSON: {\"registration_key\": \"...\"}");
  command.footer("\nExample:\n  mbsync keygen > fleet.key\n");
  command.callback([&invocation] { invocation.action = run_keygen; });
}

Result<void> run_keygen(Output& output) {
  const auto key = generate_registration_key();
  MBSYNC_TRY(key);
  MBSYNC_TRY(output.result(*key, {{"registration_key", *key}}));
  output.hint(
      "Set it as SYNC_REGISTRATION_KEY on every machine of the fleet. Whoever has it can read and change the data: "
      "keep "
      "it where passwords are kept.");
  return {};
}

}  // namespace mbsync
