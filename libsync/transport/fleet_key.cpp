#include "fleet_key.h"

#include <fmt/format.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <set>
#include <string>

namespace mbsync {
namespace {

using Secret = std::array<std::uint8_t, FleetKey::kBytes>;

constexpr std::size_t kKeyCharactersMin = 16;
/// A longer key gains nothing, and scrypt hashes all of it.
constexpr std::size_t kKeyCharactersMax = 1024;
/// Estimated bits. Of two million keys of 16 random hexadecimal digits (64 bits) none came out below 32.2, since some
/// repeat themselves by chance; of the habits in the tests none comes out above 26.
constexpr double kEntropyBitsMin = 32;

// scrypt: 64 MiB and about a quarter of a second a guess. Changing any of these changes every fleet's secret, so they
// go with the identity in psk_tls.cpp.
constexpr std::uint64_t kScryptN = 1 << 16;
constexpr std::uint64_t kScryptR = 8;
constexpr std::uint64_t kScryptP = 1;
constexpr std::uint64_t kScryptBytesMax = 128 << 20;
constexpr std::string_view kSalt = "mbsync/psk/v1";

constexpr std::string_view kHowToMakeOne = "make one with 'mbsync keygen' and set it on every node of the fleet";

/// Keys that stand in public guides and repositories; everybody who tries has them.
constexpr std::array<std::string_view, 5> kPublishedKeys = {
    "default-registration-key-change-in-production",
    "your-secure-unique-key-here",
    "your-shared-secret-key",
    "your-secure-key-here",
    "b3f1c9d7a5e4f2c3819d6b7a2e4f0c1d2a3b4c5d6e7f8a9b0c1d2e3f4a5b6c7",
};

/// Fragments that people build keys from; whoever guesses tries them first, so they add next to nothing.
constexpr std::array<std::string_view, 24> kCommonWords = {
    "password", "passwort", "secret", "geheim", "mbsync",  "database", "postgres", "registration",
    "default",  "change",   "admin",  "server", "welcome", "letmein",  "qwertz",   "qwerty",
    "asdfgh",   "zxcvbn",   "yxcvbn", "master", "shared",  "secure",   "example",  "testing",
};

bool is_space(char c) {
  return c == ' ' || (c >= '\t' && c <= '\r');
}

/// Keys come out of files and forms; a newline at the end must not make another fleet.
std::string_view trimmed(std::string_view text) {
  while (!text.empty() && is_space(text.front())) {
    text.remove_prefix(1);
  }
  while (!text.empty() && is_space(text.back())) {
    text.remove_suffix(1);
  }
  return text;
}

std::string lower(std::string_view text) {
  std::string out(text);
  std::transform(out.begin(), out.end(), out.begin(),
                 [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; });
  return out;
}

/// Removes common words, so that what is left is what a guesser would have to find out.
std::string without_common_words(std::string text) {
  for (const std::string_view word : kCommonWords) {
    for (std::size_t at = text.find(word); at != std::string::npos; at = text.find(word)) {
      text.erase(at, word.size());
    }
  }
  return text;
}

/// Continues with the same small step as the two characters before it: 3 in 123, d in fed, a in aaa, 6 in 246.
bool continues_run(std::string_view text, std::size_t at) {
  const auto step = [&](std::size_t i) { return text[i] - text[i - 1]; };
  return at >= 2 && step(at) == step(at - 1) && std::abs(step(at)) <= 2;
}

/// Length of the longest piece that begins at `at` and has begun before as well.
std::size_t repeated_length(std::string_view text, std::size_t at) {
  std::size_t longest = 0;
  for (std::size_t before = 0; before < at; ++before) {
    std::size_t length = 0;
    while (at + length < text.size() && text[before + length] == text[at + length]) {
      ++length;
    }
    longest = std::max(longest, length);
  }
  return longest;
}

/// How many choices went into a text: one a character, but none for those that continue a run, and one for a whole
/// piece that was there before.
std::size_t choices(std::string_view text) {
  constexpr std::size_t kPieceMin = 3;
  std::size_t count = 0;
  for (std::size_t at = 0; at < text.size();) {
    if (continues_run(text, at)) {
      ++at;
      continue;
    }
    const std::size_t repeated = repeated_length(text, at);
    at += repeated >= kPieceMin ? repeated : 1U;
    ++count;
  }
  return count;
}

/// Bits in one choice: as many as the kinds of characters allow, but not much more than the variety that is seen.
double bits_per_choice(std::string_view text) {
  const auto any = [&](auto predicate) { return std::any_of(text.begin(), text.end(), predicate); };
  const auto is_digit = [](char c) { return c >= '0' && c <= '9'; };
  const auto is_hex_letter = [](char c) { return c >= 'a' && c <= 'f'; };
  const auto is_letter = [](char c) { return c >= 'a' && c <= 'z'; };
  double kinds = any(is_digit) ? 10 : 0;
  kinds += any([&](char c) { return is_letter(c) && !is_hex_letter(c); }) ? 26 : any(is_hex_letter) ? 6 : 0;
  kinds += any([&](char c) { return !is_letter(c) && !is_digit(c); }) ? 33 : 0;
  const auto distinct = static_cast<double>(std::set<char>(text.begin(), text.end()).size());
  return text.empty() ? 0 : std::min(std::log2(kinds), std::log2(distinct) + 1);
}

/// A cautious guess at how many bits somebody who knows the usual habits has to try. It is right for random keys, and
/// too high for words that it has never heard of.
double estimated_bits(std::string_view key) {
  const std::string core = without_common_words(lower(key));
  return static_cast<double>(choices(core)) * bits_per_choice(core);
}

Error weak(std::string reason) {
  return Error{ErrorKind::kConfig, fmt::format("SYNC_REGISTRATION_KEY {}", reason), std::string(kHowToMakeOne)};
}

}  // namespace

Result<void> check_registration_key(std::string_view key) {
  key = trimmed(key);
  if (key.empty()) {
    return weak("is not set");
  }
  if (key.size() < kKeyCharactersMin) {
    return weak(fmt::format("is too short: it needs at least {} characters", kKeyCharactersMin));
  }
  if (key.size() > kKeyCharactersMax) {
    return weak(fmt::format("is too long: more than {} characters", kKeyCharactersMax));
  }
  const std::string lowered = lower(key);
  if (std::find(kPublishedKeys.begin(), kPublishedKeys.end(), lowered) != kPublishedKeys.end()) {
    return weak("is one that has been published as a default, so that anybody could join");
  }
  if (estimated_bits(key) < kEntropyBitsMin) {
    return weak("is too easy to guess: it repeats itself, counts up, or is made of common words");
  }
  return {};
}

Result<FleetKey> FleetKey::derive(std::string_view registration_key) {
  MBSYNC_TRY(check_registration_key(registration_key));
  const std::string_view key = trimmed(registration_key);
  std::shared_ptr<Secret> secret(new Secret{}, [](Secret* bytes) {
    OPENSSL_cleanse(bytes->data(), bytes->size());
    delete bytes;
  });
  const auto* salt = reinterpret_cast<const unsigned char*>(kSalt.data());
  if (EVP_PBE_scrypt(key.data(), key.size(), salt, kSalt.size(), kScryptN, kScryptR, kScryptP, kScryptBytesMax,
                     secret->data(), secret->size()) != 1) {
    return Error{ErrorKind::kTransient, "cannot derive the fleet's secret from SYNC_REGISTRATION_KEY",
                 "it takes 64 MiB of memory for a moment; is that much free?"};
  }
  return FleetKey(std::move(secret));
}

}  // namespace mbsync
