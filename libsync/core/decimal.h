// Exact decimal numbers of any length, as PostgreSQL's numeric has them. Counters are added up and greatest values are
// found without the database, and binary floating point would lose cents on the way. Pure.
#pragma once

#include <compare>
#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

namespace mbsync {

/// A finite number and its scale: the number of digits behind the point, which a sum keeps as PostgreSQL does.
class Decimal {
 public:
  Decimal() = default;  ///< 0

  /// Reads a sign, digits and a point: "-12.50", "7", "+.5". Nothing for any other text, which includes exponents,
  /// white space, "NaN" and the infinities.
  static std::optional<Decimal> parse(std::string_view text);
  /// As numeric_out writes it: all digits of the scale, a digit before the point, no sign for zero.
  [[nodiscard]] std::string to_string() const;

  /// The scale of the result is the greater one of both: 1.50 + 1 = 2.50.
  Decimal operator+(const Decimal& other) const;
  Decimal operator-(const Decimal& other) const;
  Decimal operator-() const;

  /// By value alone: 1.0 and 1.00 are equal.
  [[nodiscard]] std::strong_ordering compare(const Decimal& other) const;

 private:
  [[nodiscard]] std::string digits_at(std::size_t scale) const;
  [[nodiscard]] std::strong_ordering compare_magnitude(const Decimal& other) const;

  std::string digits_;     ///< most significant first, no leading zeros; empty is zero
  std::size_t scale_ = 0;  ///< so many of the digits are behind the point; may be more than there are
  bool negative_ = false;  ///< never set for zero
};

/// Orders two texts of numeric, integer or the like: -Infinity < finite numbers < Infinity < NaN, and NaN equals NaN,
/// as in PostgreSQL. Nothing if one of them is no number.
std::optional<std::strong_ordering> compare_numbers(std::string_view a, std::string_view b);

}  // namespace mbsync
