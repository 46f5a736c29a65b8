// A fuzz target: one parser of outside bytes and what has to hold for whatever it is given. Every target defines run();
// libFuzzer calls it in the build of the preset `fuzz`, replay.cpp in all others. (README.md)
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "check.h"

namespace mbsync::fuzz {

/// Returns if all is well; stops the process where a property does not hold.
void run(std::string_view input);

/// `input` cut at each `separator`; at most `parts_max` parts, the last one with all the rest.
inline std::vector<std::string_view> split(std::string_view input, char separator, std::size_t parts_max) {
  std::vector<std::string_view> parts;
  while (parts.size() + 1 < parts_max && input.find(separator) != std::string_view::npos) {
    parts.push_back(input.substr(0, input.find(separator)));
    input.remove_prefix(parts.back().size() + 1);
  }
  parts.push_back(input);
  return parts;
}

/// Hands out `input` in pieces whose sizes depend on nothing but its length: 1, 2, 4 ... bytes and over again.
template <typename Take>
bool in_pieces(std::string_view input, Take take) {
  constexpr std::size_t kPieceMax = 4096;
  for (std::size_t size = 1; !input.empty(); size = size < kPieceMax ? 2 * size : 1) {
    const auto piece = input.substr(0, size);
    input.remove_prefix(piece.size());
    if (!take(piece)) {
      return false;
    }
  }
  return true;
}

}  // namespace mbsync::fuzz

/// What has to hold. On in every build.
#define FUZZ_EXPECT(condition, what) MBSYNC_CHECK(condition, what)
