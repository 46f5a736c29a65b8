#include "process_tag.h"

#include <fmt/format.h>
#include <openssl/rand.h>

#include <array>

namespace mbsync {

std::string make_process_tag() {
  std::array<unsigned char, 16> bytes{};
  if (RAND_bytes(bytes.data(), static_cast<int>(bytes.size())) != 1) {
    return "";
  }
  std::string tag;
  for (const unsigned char byte : bytes) {
    tag += fmt::format("{:02x}", byte);
  }
  return tag;
}

}  // namespace mbsync
