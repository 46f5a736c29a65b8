// Small value types that must not be mixed up with plain integers: which node, which write, when.
#pragma once

#include <compare>
#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <string_view>

namespace mbsync {

/// A node of the fleet, for one incarnation of its database. Random, 63 bits, never 0: PostgreSQL stores it as bigint,
/// and two of twenty nodes draw the same one with a chance of about 1 in 10^17.
struct NodeId {
  std::int64_t value = 0;
  auto operator<=>(const NodeId&) const = default;  // NOLINT(modernize-use-nullptr): mistakes the 0 of <=>
  [[nodiscard]] bool valid() const { return value > 0; }
};

/// 16 hexadecimal digits, the form people see: "05f3a1b2c4d5e6f7".
std::string to_string(NodeId id);
/// Reads that form back; nothing for any other text.
std::optional<NodeId> parse_node_id(std::string_view text);

/// A write's name: the origin's counter at the seal that gave it its place. All rows sealed together share one dot,
/// which is enough: dots are compared within one row, and vectors cover whole seals.
struct Dot {
  NodeId origin;
  std::int64_t counter = 0;
  auto operator<=>(const Dot&) const = default;  // NOLINT(modernize-use-nullptr): mistakes the 0 of <=>
};

/// Wall-clock time of a write in microseconds since 1970-01-01 UTC, by the clock of its origin.
struct WriteTime {
  std::int64_t micros = 0;
  auto operator<=>(const WriteTime&) const = default;  // NOLINT(modernize-use-nullptr): mistakes the 0 of <=>
};

/// Rows that were there before mbsync was: nobody knows when they were written, so any write with a time is later.
/// PostgreSQL holds it as '-infinity'.
inline constexpr WriteTime kTimeUnknown{std::numeric_limits<std::int64_t>::min()};

}  // namespace mbsync
