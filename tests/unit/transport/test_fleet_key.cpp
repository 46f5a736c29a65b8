#include <catch2/catch.hpp>
#include <random>

#include "fakes.h"
#include "fleet_key.h"

using namespace mbsync;
using namespace mbsync::test;

namespace {

std::string reason(std::string_view key) {
  const auto checked = check_registration_key(key);
  if (checked) {
    return "fine";
  }
  CHECK(checked.error().kind == ErrorKind::kConfig);
  CHECK_FALSE(checked.error().hint.empty());
  // Longer than any word of ours, so a part of it in the message would be the key itself.
  if (key.size() >= 16) {
    CHECK(checked.error().text().find(key.substr(0, 12)) == std::string::npos);
  }
  return checked.error().message;
}

std::string random_key(std::mt19937_64& random, std::string_view letters, std::size_t size) {
  std::string key;
  while (key.size() < size) {
    key.push_back(letters[random() % letters.size()]);
  }
  return key;
}

}  // namespace

TEST_CASE("fleet key: good keys pass") {
  for (const char* key : {"b7e2f90c4d1a8365", "0f9c1e7b52d84a63", "Wm4-xT9q_Kd2Lr7v", "8kQ!zr#4Lp@wX2vN",
                          "3b241101-e2bb-4255-8caf-4136c566a962", "vogel lampe zucker fenster igel pappel",
                          "QX7T-2MKD-9VLC-4HWB-6ZRN-8PYJ", "MK2W-7PDX-T4QZ-H9CB-3VNR-L6FJ",
                          "9f86d081884c7d659a2feaa0c55ad015", "n4bQgYhMfWWaL+qgxVrQFQ=="}) {
    INFO(key);
    CHECK(reason(key) == "fine");
  }
}

TEST_CASE("fleet key: 128 random bits always pass, however they are written") {
  constexpr std::string_view kHex = "0123456789abcdef";
  constexpr std::string_view kBase32 = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
  constexpr std::string_view kBase64 = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::mt19937_64 random(20240229);
  for (int i = 0; i < 50'000; ++i) {
    std::string grouped;  // as 'mbsync keygen' writes it
    for (int group = 0; group < 13; ++group) {
      grouped += (group == 0 ? "" : "-") + random_key(random, kBase32, 4);
    }
    for (const std::string& key : {random_key(random, kHex, 32), random_key(random, kBase64, 22) + "==", grouped}) {
      if (!check_registration_key(key)) {
        FAIL(key);
      }
    }
  }
}

TEST_CASE("fleet key: words, names and years are refused, with the way to a better one") {
  for (const char* key :
       {"ich liebe meine oma", "Sommer2024!Kasse", "Pizzeria-Napoli-2019", "correct horse battery",
        "MuellerBackwaren2023!!", "Zum Goldenen Hirschen", "Backstube Lehmann 7", "B\u00e4ckerei-M\u00fcller-1987",
        "Donaudampfschifffahrt", "IchLiebeMeineOma2024", "dead beef cafe babe", "kasse1 kasse2 kasse3"}) {
    INFO(key);
    CHECK_THAT(reason(key), Catch::Contains("easy to guess"));
    CHECK_THAT(check_registration_key(key).error().hint, Catch::Contains("mbsync keygen"));
  }
}

TEST_CASE("fleet key: short ones are refused") {
  CHECK_THAT(reason(""), Catch::Contains("not set"));
  CHECK_THAT(reason("   \n"), Catch::Contains("not set"));
  CHECK_THAT(reason("b7e2f90c4d1a836"), Catch::Contains("too short"));
  CHECK_THAT(reason("  b7e2f90c4d1a836  "), Catch::Contains("too short"));
  CHECK_THAT(reason(std::string(5000, 'x')), Catch::Contains("too long"));
}

TEST_CASE("fleet key: what is easy to guess is refused") {
  for (const char* key : {"aaaaaaaaaaaaaaaa",     "1234567890123456",   "passwordpassword",     "abcdefghijklmnop",
                          "zyxwvutsrqponmlk",     "abababababababab",   "0123456789abcdef",     "1111111122222222",
                          "password12345678",     "PASSWORDpassword1",  "mbsync-mbsync-mbsync", "abcabcabcabcabcabc",
                          "qwertyqwertyqwerty",   "2024-01-01-2024-01", "Qwertzuiop-Asdfgh",    "mypassword12345!",
                          "hellohellohellohello", "aaaaaaaabbbbbbbb",   "changechangechange",   "secret secret secret",
                          "mbsync-secret-2024",   "0000000000000001",   "default-password-123"}) {
    INFO(key);
    CHECK_THAT(reason(key), Catch::Contains("easy to guess"));
  }
}

TEST_CASE("fleet key: nothing gains by being repeated") {
  for (const char* piece :
       {"a", "x", "7", "-", "ab", "a1", "A-", "xyz", "a1!", "Kasse", "hello", "Sommer24", "1a2b3c4d"}) {
    std::string key;
    while (key.size() < 16) {
      key += piece;
    }
    for (; key.size() <= 1024; key += piece) {
      if (check_registration_key(key)) {
        FAIL(key);
      }
    }
  }
}

TEST_CASE("fleet key: published defaults are refused, however they are written") {
  for (const char* key :
       {"default-registration-key-change-in-production", "your-secure-unique-key-here", "your-shared-secret-key",
        "your-secure-key-here", "Correct Horse Battery Staple",
        "b3f1c9d7a5e4f2c3819d6b7a2e4f0c1d2a3b4c5d6e7f8a9b0c1d2e3f4a5b6c7", "Your-Shared-SECRET-Key",
        "  your-secure-key-here\n", "B3F1C9D7A5E4F2C3819D6B7A2E4F0C1D2A3B4C5D6E7F8A9B0C1D2E3F4A5B6C7"}) {
    INFO(key);
    CHECK_THAT(reason(key), Catch::Contains("published"));
  }
}

TEST_CASE("fleet key: the same words give the same secret, others another") {
  CHECK(FleetKey::derive(" 0f9c1e7b52d84a63\n").value().secret() == our_key().secret());
  CHECK(other_key().secret() != our_key().secret());
  CHECK(FleetKey::derive("aaaaaaaaaaaaaaaa").error().kind == ErrorKind::kConfig);
}

TEST_CASE("fleet key: the next one has to be as good, another one, and is named as what it is") {
  const auto reason_of = [](std::string_view next) {
    const auto keys = FleetKeys::derive("0f9c1e7b52d84a63", next);
    return keys ? "fine" : keys.error().message;
  };
  CHECK_THAT(reason_of("password12345678"), Catch::StartsWith("SYNC_REGISTRATION_KEY_NEXT is too easy to guess"));
  CHECK_THAT(reason_of("short"), Catch::StartsWith("SYNC_REGISTRATION_KEY_NEXT is too short"));
  CHECK_THAT(reason_of("your-secure-unique-key-here"), Catch::StartsWith("SYNC_REGISTRATION_KEY_NEXT is one that"));
  CHECK_THAT(reason_of(" 0f9c1e7b52d84a63\n"), Catch::StartsWith("SYNC_REGISTRATION_KEY_NEXT is the same as"));
  CHECK(reason_of("7d1b60fae3c58492") == "fine");
  CHECK_FALSE(FleetKeys::derive("0f9c1e7b52d84a63", " \n").value().next);
  CHECK(FleetKeys::derive("password12345678", "7d1b60fae3c58492")
            .error()
            .message.starts_with("SYNC_REGISTRATION_KEY is too easy"));
}

TEST_CASE("fleet key: the derivation does not change, or fleets fall apart") {
  // scrypt("0f9c1e7b52d84a63", "mbsync/psk/v1", N = 65536, r = 8, p = 1), as Python's hashlib.scrypt gives it.
  const auto& secret = our_key().secret();
  std::string hex;
  for (const std::uint8_t byte : secret) {
    constexpr const char* kDigits = "0123456789abcdef";
    hex.push_back(kDigits[byte >> 4U]);
    hex.push_back(kDigits[byte & 0xFU]);
  }
  CHECK(hex == "df23ee36ba282865bdaa21c97cad8050d5a99ff31db6856703bf3acc266951ac");
  // The first two bytes of HMAC-SHA256 with that as the key, of "mbsync/tag/v1".
  CHECK(our_key().identity() == "mbsync-v1:eb14");
}
