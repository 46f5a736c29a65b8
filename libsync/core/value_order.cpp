#include "value_order.h"

#include <algorithm>
#include <charconv>
#include <compare>
#include <cstddef>
#include <string_view>
#include <system_error>

#include "decimal.h"

namespace mbsync {

namespace {

int sign_of(std::weak_ordering order) {
  return std::is_lt(order) ? -1 : (std::is_gt(order) ? 1 : 0);
}

int compare_bytes(std::string_view a, std::string_view b) {
  return sign_of(a <=> b);
}

// Where at least one of both texts is not of the kind's form.
int compare_malformed(std::string_view a, bool a_is_formed, std::string_view b, bool b_is_formed) {
  if (a_is_formed != b_is_formed) {
    return a_is_formed ? -1 : 1;
  }
  return compare_bytes(a, b);
}

// By what `parse` makes of the texts; its result has an order of its own.
template <typename Parse>
int compare_parsed(std::string_view a, std::string_view b, Parse parse) {
  const auto first = parse(a);
  const auto second = parse(b);
  return first && second ? sign_of(*first <=> *second) : compare_malformed(a, first.has_value(), b, second.has_value());
}

int compare_as_numbers(std::string_view a, std::string_view b) {
  if (const auto order = compare_numbers(a, b)) {
    return sign_of(*order);
  }
  const auto is_number = [](std::string_view text) { return compare_numbers(text, "0").has_value(); };
  return compare_malformed(a, is_number(a), b, is_number(b));
}

struct Float {
  bool is_nan = false;
  double number = 0;

  std::weak_ordering operator<=>(const Float& other) const {
    if (is_nan != other.is_nan) {
      return is_nan <=> other.is_nan;
    }
    if (number < other.number) {
      return std::weak_ordering::less;
    }
    return number > other.number ? std::weak_ordering::greater : std::weak_ordering::equivalent;
  }
};

std::optional<Float> parse_float(std::string_view text) {
  if (text == "NaN") {
    return Float{true, 0};
  }
  Float result;
  // from_chars would also take "nan(1)" and "INF", which PostgreSQL never writes.
  const bool is_infinite = text == "Infinity" || text == "-Infinity";
  if (!is_infinite && text.find_first_not_of("0123456789+-.eE") != std::string_view::npos) {
    return std::nullopt;
  }
  const char* const end = text.data() + text.size();
  const auto [stopped, error] = std::from_chars(text.data(), end, result.number);
  return error == std::errc{} && stopped == end ? std::optional(result) : std::nullopt;
}

struct Timestamp {
  int infinity = 0;  ///< -1, 0 or 1
  Decimal year;      ///< below 0 for years BC
  std::string rest;  ///< "-02-29 10:00:00.5", always with a time and without idle zeros, so its bytes are in order

  std::strong_ordering operator<=>(const Timestamp& other) const {
    if (infinity != other.infinity) {
      return infinity <=> other.infinity;
    }
    const auto years = year.compare(other.year);
    return std::is_neq(years) ? years : rest <=> other.rest;
  }
};

bool is_digit(char letter) {
  return letter >= '0' && letter <= '9';
}

std::size_t leading_digits(std::string_view text) {
  return static_cast<std::size_t>(std::find_if_not(text.begin(), text.end(), is_digit) - text.begin());
}

// Moves `mark` and two digits from the front of `text` to the end of `to`, if they are there and within the bounds.
bool move_field(std::string_view& text, char mark, int least, int greatest, std::string& to) {
  if (text.size() < 3 || text[0] != mark || !is_digit(text[1]) || !is_digit(text[2])) {
    return false;
  }
  const int number = (text[1] - '0') * 10 + (text[2] - '0');
  if (number < least || number > greatest) {
    return false;
  }
  to += text.substr(0, 3);
  text.remove_prefix(3);
  return true;
}

bool move_fraction(std::string_view& text, std::string& to) {
  if (!text.starts_with('.')) {
    return true;
  }
  const std::size_t size = 1 + leading_digits(text.substr(1));
  const std::string_view fraction = text.substr(0, size);
  const std::size_t last = fraction.find_last_not_of('0');
  to += last == 0 ? std::string_view() : fraction.substr(0, last + 1);
  text.remove_prefix(size);
  return size > 1;
}

std::optional<Timestamp> parse_timestamp(std::string_view text) {
  constexpr std::string_view kBeforeChrist = " BC";
  constexpr std::string_view kUtc = "+00";
  constexpr std::size_t kYearDigitsMin = 4;
  if (text == "infinity" || text == "-infinity") {
    return Timestamp{text.starts_with('-') ? -1 : 1, {}, ""};
  }
  const bool is_bc = text.ends_with(kBeforeChrist);
  if (is_bc) {
    text.remove_suffix(kBeforeChrist.size());
  }
  const std::size_t year_digits = leading_digits(text);
  const auto year = Decimal::parse(text.substr(0, year_digits));
  // There is no year 0.
  if (year_digits < kYearDigitsMin || !year || std::is_eq(year->compare({}))) {
    return std::nullopt;
  }
  text.remove_prefix(year_digits);
  Timestamp result{0, is_bc ? -*year : *year, ""};
  if (!move_field(text, '-', 1, 12, result.rest) || !move_field(text, '-', 1, 31, result.rest)) {
    return std::nullopt;
  }
  if (text.empty()) {
    result.rest += " 00:00:00";
    return result;
  }
  if (!move_field(text, ' ', 0, 23, result.rest) || !move_field(text, ':', 0, 59, result.rest) ||
      !move_field(text, ':', 0, 59, result.rest) || !move_fraction(text, result.rest)) {
    return std::nullopt;
  }
  return text.empty() || text == kUtc ? std::optional(std::move(result)) : std::nullopt;
}

std::optional<bool> parse_boolean(std::string_view text) {
  return text == "t" || text == "f" ? std::optional(text == "t") : std::nullopt;
}

int compare_labels(std::string_view a, std::string_view b, const std::vector<std::string>& labels) {
  const auto place_of = [&labels](std::string_view label) {
    const auto place = std::find(labels.begin(), labels.end(), label);
    return place == labels.end() ? -1 : place - labels.begin();
  };
  const auto first = place_of(a);
  const auto second = place_of(b);
  return first != second ? sign_of(first <=> second) : compare_bytes(a, b);
}

}  // namespace

int compare_values(const Value& a, const Value& b, const ColumnType& type) {
  if (!a || !b) {
    return sign_of(a.has_value() <=> b.has_value());
  }
  switch (type.kind) {
    case ValueKind::kBoolean:
      return compare_parsed(*a, *b, parse_boolean);
    case ValueKind::kNumber:
      return compare_as_numbers(*a, *b);
    case ValueKind::kFloat:
      return compare_parsed(*a, *b, parse_float);
    case ValueKind::kTimestamp:
      return compare_parsed(*a, *b, parse_timestamp);
    case ValueKind::kEnum:
      return compare_labels(*a, *b, type.labels);
    case ValueKind::kOther:
    case ValueKind::kText:
    case ValueKind::kTime:
    case ValueKind::kArray:
    case ValueKind::kJson:
      break;
  }
  return compare_bytes(*a, *b);
}

}  // namespace mbsync
