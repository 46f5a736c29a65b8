#include "stand_ins.h"

#include <fmt/format.h>
#include <openssl/evp.h>

#include <array>
#include <random>

#include "check.h"

namespace mbsync {

StandIns::StandIns() {
  std::random_device chance;
  prefix_ = fmt::format("\x1a{:08x}{:08x}", chance(), chance());
}

std::string StandIns::sql(std::string_view value, std::size_t bytes_max) const {
  return fmt::format(
      "CASE WHEN num_nulls({0}) = 1 THEN NULL WHEN octet_length(concat({0})) > {1} "
      "THEN '{2}' || encode(sha256(convert_to(concat({0}), 'UTF8')), 'hex') ELSE concat({0}) END",
      value, bytes_max, prefix_);
}

std::string StandIns::of(std::string_view text) const {
  constexpr std::size_t kHashBytes = 32;
  std::array<unsigned char, kHashBytes> hash{};
  MBSYNC_CHECK(EVP_Digest(text.data(), text.size(), hash.data(), nullptr, EVP_sha256(), nullptr) == 1,
               "SHA-256 is not available");
  std::string stand_in = prefix_;
  for (const auto byte : hash) {
    stand_in += fmt::format("{:02x}", byte);
  }
  return stand_in;
}

}  // namespace mbsync
