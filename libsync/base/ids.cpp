#include "ids.h"

#include <fmt/format.h>

#include <charconv>

namespace mbsync {

std::string to_string(NodeId id) {
  return fmt::format("{:016x}", id.value);
}

std::optional<NodeId> parse_node_id(std::string_view text) {
  constexpr std::size_t kDigits = 16;
  if (text.size() != kDigits) {
    return std::nullopt;
  }
  std::int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value, 16);
  if (error != std::errc{} || end != text.data() + text.size() || value <= 0) {
    return std::nullopt;
  }
  return NodeId{value};
}

}  // namespace mbsync
