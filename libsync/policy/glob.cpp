#include "glob.h"

#include <cstddef>

namespace mbsync {
namespace {

// Where the character behind the one at `place` begins.
std::size_t next(std::string_view text, std::size_t place) {
  constexpr unsigned kContinuationMask = 0xC0;
  constexpr unsigned kContinuation = 0x80;
  ++place;
  while (place < text.size() && (static_cast<unsigned char>(text[place]) & kContinuationMask) == kContinuation) {
    ++place;
  }
  return place;
}

}  // namespace

bool glob_matches(std::string_view pattern, std::string_view name) {
  std::size_t p = 0;
  std::size_t n = 0;
  // Where to go on when the part behind the last star does not fit: that star takes one character more.
  std::size_t star = std::string_view::npos;
  std::size_t starred = 0;
  while (n < name.size()) {
    if (p < pattern.size() && pattern[p] == '*') {
      star = p++;
      starred = n;
    } else if (p < pattern.size() && pattern[p] == '?') {
      ++p;
      n = next(name, n);
    } else if (p < pattern.size() && pattern[p] == name[n]) {
      ++p;
      ++n;
    } else if (star != std::string_view::npos) {
      p = star + 1;
      starred = next(name, starred);
      n = starred;
    } else {
      return false;
    }
  }
  while (p < pattern.size() && pattern[p] == '*') {
    ++p;
  }
  return p == pattern.size();
}

bool table_glob_matches(std::string_view pattern, std::string_view schema, std::string_view table) {
  const auto dot = pattern.find('.');
  if (dot == std::string_view::npos) {
    return glob_matches(pattern, table);
  }
  return glob_matches(pattern.substr(0, dot), schema) && glob_matches(pattern.substr(dot + 1), table);
}

}  // namespace mbsync
