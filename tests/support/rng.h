// Chance for tests: the same numbers from the same seed on every machine, which the standard distributions do not
// promise. The generator is splitmix64.
#pragma once

#include <cstdint>
#include <cstdlib>
#include <random>
#include <string>

namespace mbsync::test {

class Rng {
 public:
  explicit Rng(std::uint64_t seed) : state_(seed) {}

  std::uint64_t next() {
    state_ += 0x9E3779B97F4A7C15ULL;
    std::uint64_t mixed = state_;
    mixed = (mixed ^ (mixed >> 30U)) * 0xBF58476D1CE4E5B9ULL;
    mixed = (mixed ^ (mixed >> 27U)) * 0x94D049BB133111EBULL;
    return mixed ^ (mixed >> 31U);
  }
  /// 0 to bound - 1. The slight preference for small numbers does not matter to tests.
  std::uint64_t below(std::uint64_t bound) { return next() % bound; }

 private:
  std::uint64_t state_;
};

/// MBSYNC_SEED, which replays a failure, else a fresh seed. The test prints it.
inline std::uint64_t seed_from_environment() {
  if (const char* given = std::getenv("MBSYNC_SEED"); given != nullptr && *given != '\0') {
    return std::stoull(given);
  }
  return std::random_device{}();
}

}  // namespace mbsync::test
