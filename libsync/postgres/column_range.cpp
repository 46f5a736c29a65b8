#include "column_range.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <optional>

#include "decimal.h"

namespace mbsync {
namespace {

// The numbers in "numeric(10,2)" or "character varying(20)"; without the first, -1.
struct Modifiers {
  int first = -1;
  int second = 0;
};

Modifiers modifiers_of(const std::string& type) {
  Modifiers found;
  const auto open = type.find('(');
  if (open == std::string::npos) {
    return found;
  }
  const auto* end = type.data() + type.size();
  auto [rest, error] = std::from_chars(type.data() + open + 1, end, found.first);
  if (error == std::errc() && rest != end && *rest == ',') {
    std::from_chars(rest + 1, end, found.second);
  }
  return found;
}

// The least magnitude that does not fit any more.
std::optional<std::string> bound_of(const Column& column, bool negative) {
  if (column.type == "smallint") {
    return negative ? "32769" : "32768";
  }
  if (column.type == "integer") {
    return negative ? "2147483649" : "2147483648";
  }
  if (column.type == "bigint") {
    return negative ? "9223372036854775809" : "9223372036854775808";
  }
  const auto modifiers = modifiers_of(column.type);
  if (column.type.starts_with("numeric(") && modifiers.first > 0) {
    // numeric(3,-2) goes up to 99900, numeric(3,5) up to 0.00999.
    const auto digits = modifiers.first - modifiers.second;
    return digits > 0 ? "1" + std::string(static_cast<std::size_t>(digits), '0')
                      : (digits == 0 ? "1" : "0." + std::string(static_cast<std::size_t>(-digits - 1), '0') + "1");
  }
  return std::nullopt;
}

}  // namespace

std::string misfit(const Column& column, const std::string& value) {
  if (column.user_type || column.type.ends_with(']')) {  // of an array, the numbers are those of its elements
    return "";
  }
  if (column.type.starts_with("character")) {
    const auto room = modifiers_of(column.type).first;
    const auto characters = std::count_if(value.begin(), value.end(),
                                          [](char c) { return (static_cast<unsigned char>(c) & 0xC0U) != 0x80U; });
    return room > 0 && characters > room ? fmt::format("value too long for type {}", column.type) : "";
  }
  const auto number = Decimal::parse(value);
  const auto bound = bound_of(column, value.starts_with('-'));
  if (!number || !bound) {
    return "";
  }
  const auto magnitude = value.starts_with('-') ? -*number : *number;
  return std::is_lt(magnitude.compare(*Decimal::parse(*bound)))
             ? ""
             : fmt::format("value {} out of range for type {}", value, column.type);
}

}  // namespace mbsync
