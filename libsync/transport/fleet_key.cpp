#include "fleet_key.h"

#include <fmt/format.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <string>

namespace mbsync {
namespace {

using Secret = std::array<std::uint8_t, FleetKey::kBytes>;

constexpr std::size_t kKeyCharactersMin = 16;
/// A longer key gains nothing, and scrypt hashes all of it.
constexpr std::size_t kKeyCharactersMax = 1024;
/// Estimated bits. A recorded handshake lets keys be tried without anybody noticing (PROTOCOL.md), each at the price of
/// one scrypt, a quarter of a second: 2^45 of these are 280,000 years of one core. Of two million keys of 128 bits in
/// base 64 none came out below 46, in hexadecimal below 66, and of 'mbsync keygen' below 110.
constexpr double kEntropyBitsMin = 45;

// scrypt: 64 MiB and about a quarter of a second a guess. Changing any of these changes every fleet's secret, so they
// go with kIdentityScheme.
constexpr std::uint64_t kScryptN = 1 << 16;
constexpr std::uint64_t kScryptR = 8;
constexpr std::uint64_t kScryptP = 1;
constexpr std::uint64_t kScryptBytesMax = 128 << 20;
constexpr std::string_view kSalt = "mbsync/psk/v1";
constexpr std::string_view kTagLabel = "mbsync/tag/v1";

constexpr std::string_view kHowToMakeOne = "make one with 'mbsync keygen' and set it on every node of the fleet";

/// Keys that stand in public guides and repositories; everybody who tries has them.
constexpr std::array<std::string_view, 6> kPublishedKeys = {
    "default-registration-key-change-in-production",
    "your-secure-unique-key-here",
    "your-shared-secret-key",
    "your-secure-key-here",
    "b3f1c9d7a5e4f2c3819d6b7a2e4f0c1d2a3b4c5d6e7f8a9b0c1d2e3f4a5b6c7",
    "correct horse battery staple",
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

bool is_small(char c) {
  return c >= 'a' && c <= 'z';
}
bool is_capital(char c) {
  return c >= 'A' && c <= 'Z';
}

/// Length of the common word that `lowered` begins with; 0 if there is none.
std::size_t common_word_length(std::string_view lowered) {
  for (const std::string_view word : kCommonWords) {
    if (lowered.starts_with(word)) {
      return word.size();
    }
  }
  return 0;
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

bool is_digit(char c) {
  return c >= '0' && c <= '9';
}
/// Bytes of letters beyond ASCII count as well: words of most languages have some.
bool is_letter(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || static_cast<unsigned char>(c) >= 0x80;
}

bool is_vowel(char c) {
  return std::string_view("aeiouyAEIOUY").find(c) != std::string_view::npos || static_cast<unsigned char>(c) >= 0x80;
}

/// Where letters before `at` and the one there are not of one word: a capital after a small one, or more than one
/// capital before a small one, the last of which begins the next word.
bool splits_words(std::string_view key, std::size_t begin, std::size_t at) {
  const bool after_small = at > begin && is_small(key[at - 1]) && is_capital(key[at]);
  const bool next_small =
      at > begin && is_capital(key[at - 1]) && is_capital(key[at]) && at + 1 < key.size() && is_small(key[at + 1]);
  return after_small || next_small;
}

/// Letters that could be one word: up to the next character of another kind, to the next word by its capital, or to
/// more consonants than anybody can speak. 0 if there is no vowel among them.
std::size_t word_length(std::string_view key, std::size_t begin) {
  constexpr std::size_t kConsonantsMax = 4;
  std::size_t consonants = 0;
  bool spoken = false;
  std::size_t at = begin;
  for (; at < key.size() && is_letter(key[at]) && !splits_words(key, begin, at); ++at) {
    consonants = is_vowel(key[at]) ? 0 : consonants + 1;
    spoken = spoken || is_vowel(key[at]);
    if (consonants > kConsonantsMax) {
      break;
    }
  }
  return spoken ? at - begin : 0;
}

bool is_year(std::string_view key, std::size_t at) {
  const auto digit = [&](std::size_t i) { return i < key.size() && is_digit(key[i]); };
  const bool four = digit(at) && digit(at + 1) && digit(at + 2) && digit(at + 3) && !digit(at + 4);
  return four && (at == 0 || !is_digit(key[at - 1])) && (key.substr(at, 2) == "19" || key.substr(at, 2) == "20");
}

/// A part of a key as somebody who guesses would take it, and how many bits he has to try for it.
struct Part {
  std::size_t length;
  double bits;
};

Part next_part(std::string_view key, std::string_view lowered, std::size_t at, bool in_word, bool hexadecimal) {
  constexpr double kBitsOfHabit = 2;       // a common word, or a piece that was there before
  constexpr double kBitsOfYear = 6;        // the last sixty
  constexpr double kBitsOfWordLetter = 2;  // less than half of what a letter made by chance has
  constexpr std::size_t kPieceMin = 3;

  if (const std::size_t common = common_word_length(lowered.substr(at)); common > 0) {
    return {common, kBitsOfHabit};
  }
  if (continues_run(lowered, at)) {
    return {1, 0};
  }
  if (const std::size_t repeated = repeated_length(lowered, at); repeated >= kPieceMin) {
    return {repeated, kBitsOfHabit};
  }
  if (is_letter(key[at])) {
    return {1, in_word ? kBitsOfWordLetter : std::log2(hexadecimal ? 16 : 26)};
  }
  if (is_year(key, at)) {
    return {4, kBitsOfYear};
  }
  if (is_digit(key[at])) {
    return {1, std::log2(hexadecimal ? 16 : 10)};
  }
  // Whatever stands between the parts is chosen once.
  const bool known = key.substr(0, at).find(key[at]) != std::string_view::npos;
  return {1, known ? 0 : std::log2(33)};
}

/// A cautious guess at how many bits somebody has to try who knows the habits by which people make keys. Letters in a
/// row count like a word, since most often they are one; only what has no such form counts character by character. So
/// it is far too low for keys that were made by chance, and they have bits enough all the same.
double estimated_bits(std::string_view key) {
  const std::string lowered = lower(key);
  const bool hexadecimal = lowered.find_first_not_of("0123456789abcdef-: ") == std::string::npos;
  double bits = 0;
  std::size_t word_end = 0;
  for (std::size_t at = 0; at < key.size();) {
    constexpr std::size_t kWordMin = 3;
    if (at >= word_end) {
      const std::size_t word = word_length(key, at);
      word_end = at + (word >= kWordMin ? word : 0);
    }
    const Part part = next_part(key, lowered, at, at < word_end, hexadecimal);
    bits += part.bits;
    at += part.length;
  }
  return bits;
}

Error weak(KeyUse use, std::string_view reason) {
  return Error{ErrorKind::kConfig, fmt::format("{} {}", variable_of(use), reason), std::string(kHowToMakeOne)};
}

}  // namespace

Result<void> check_registration_key(std::string_view key, KeyUse use) {
  key = trimmed(key);
  if (key.empty()) {
    return weak(use, "is not set");
  }
  if (key.size() < kKeyCharactersMin) {
    return weak(use, fmt::format("is too short: it needs at least {} characters", kKeyCharactersMin));
  }
  if (key.size() > kKeyCharactersMax) {
    return weak(use, fmt::format("is too long: more than {} characters", kKeyCharactersMax));
  }
  const std::string lowered = lower(key);
  if (std::find(kPublishedKeys.begin(), kPublishedKeys.end(), lowered) != kPublishedKeys.end()) {
    return weak(use, "is one that has been published, so that anybody could join");
  }
  if (estimated_bits(key) < kEntropyBitsMin) {
    return weak(use, "is too easy to guess: it is made of words, years or names, repeats itself, or counts up");
  }
  return {};
}

FleetKey::FleetKey(std::shared_ptr<const Secret> secret) : secret_(std::move(secret)) {
  std::array<std::uint8_t, EVP_MAX_MD_SIZE> hash{};
  unsigned bytes = 0;
  const auto* made =
      HMAC(EVP_sha256(), secret_->data(), static_cast<int>(secret_->size()),
           reinterpret_cast<const unsigned char*>(kTagLabel.data()), kTagLabel.size(), hash.data(), &bytes);
  MBSYNC_CHECK(made != nullptr, "this OpenSSL cannot do HMAC with SHA-256");
  identity_ = fmt::format("{}{:02x}{:02x}", kIdentityScheme, hash[0], hash[1]);
}

Result<FleetKey> FleetKey::derive(std::string_view registration_key, KeyUse use) {
  MBSYNC_TRY(check_registration_key(registration_key, use));
  const std::string_view key = trimmed(registration_key);
  std::shared_ptr<Secret> secret(new Secret{}, [](Secret* bytes) {
    OPENSSL_cleanse(bytes->data(), bytes->size());
    delete bytes;
  });
  const auto* salt = reinterpret_cast<const unsigned char*>(kSalt.data());
  if (EVP_PBE_scrypt(key.data(), key.size(), salt, kSalt.size(), kScryptN, kScryptR, kScryptP, kScryptBytesMax,
                     secret->data(), secret->size()) != 1) {
    return Error{ErrorKind::kTransient, fmt::format("cannot derive the fleet's secret from {}", variable_of(use)),
                 "it takes 64 MiB of memory for a moment; is that much free?"};
  }
  return FleetKey(std::move(secret));
}

Result<FleetKeys> FleetKeys::derive(std::string_view key, std::string_view next_key) {
  auto current = FleetKey::derive(key);
  MBSYNC_TRY(current);
  if (trimmed(next_key).empty()) {
    return FleetKeys(std::move(*current));
  }
  if (trimmed(key) == trimmed(next_key)) {
    return Error{ErrorKind::kConfig, "SYNC_REGISTRATION_KEY_NEXT is the same as SYNC_REGISTRATION_KEY",
                 "leave it out, unless the fleet is to change to another key"};
  }
  auto next = FleetKey::derive(next_key, KeyUse::kNext);
  MBSYNC_TRY(next);
  if (next->identity() == current->identity()) {
    // One pair in 65,536.
    return Error{ErrorKind::kConfig, "SYNC_REGISTRATION_KEY_NEXT cannot be told from SYNC_REGISTRATION_KEY by its tag",
                 "make another one with 'mbsync keygen'"};
  }
  return FleetKeys(std::move(*current), std::move(*next));
}

}  // namespace mbsync
