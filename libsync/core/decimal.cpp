#include "decimal.h"

#include <algorithm>

namespace mbsync {

namespace {

// Both texts are digits; the result may be one digit longer than the longer one.
std::string add_digits(std::string_view a, std::string_view b) {
  std::string sum(std::max(a.size(), b.size()) + 1, '0');
  int carry = 0;
  for (std::size_t place = 0; place < sum.size(); ++place) {
    int digit = carry;
    digit += place < a.size() ? a[a.size() - 1 - place] - '0' : 0;
    digit += place < b.size() ? b[b.size() - 1 - place] - '0' : 0;
    sum[sum.size() - 1 - place] = static_cast<char>('0' + digit % 10);
    carry = digit / 10;
  }
  return sum;
}

// Both texts are digits, and the number `a` is not less than `b`.
std::string subtract_digits(std::string_view a, std::string_view b) {
  std::string difference(a);
  int borrow = 0;
  for (std::size_t place = 0; place < a.size(); ++place) {
    int digit = a[a.size() - 1 - place] - '0' - borrow;
    digit -= place < b.size() ? b[b.size() - 1 - place] - '0' : 0;
    borrow = digit < 0 ? 1 : 0;
    difference[a.size() - 1 - place] = static_cast<char>('0' + (digit < 0 ? digit + 10 : digit));
  }
  return difference;
}

void drop_leading_zeros(std::string& digits) {
  digits.erase(0, std::min(digits.find_first_not_of('0'), digits.size()));
}

// Where a number stands among -Infinity, the finite ones, Infinity and NaN.
struct Number {
  int rank = 0;
  Decimal finite;
};

std::optional<Number> parse_number(std::string_view text) {
  if (text == "NaN") {
    return Number{2, {}};
  }
  if (text == "Infinity") {
    return Number{1, {}};
  }
  if (text == "-Infinity") {
    return Number{-1, {}};
  }
  auto finite = Decimal::parse(text);
  return finite ? std::optional(Number{0, *std::move(finite)}) : std::nullopt;
}

}  // namespace

std::optional<Decimal> Decimal::parse(std::string_view text) {
  Decimal number;
  if (text.starts_with('-') || text.starts_with('+')) {
    number.negative_ = text.front() == '-';
    text.remove_prefix(1);
  }
  bool behind_point = false;
  number.digits_.reserve(text.size());
  for (const char letter : text) {
    if (letter >= '0' && letter <= '9') {
      number.digits_ += letter;
      number.scale_ += behind_point ? 1 : 0;
    } else if (letter == '.' && !behind_point) {
      behind_point = true;
    } else {
      return std::nullopt;
    }
  }
  if (number.digits_.empty()) {
    return std::nullopt;
  }
  drop_leading_zeros(number.digits_);
  number.negative_ = number.negative_ && !number.digits_.empty();
  return number;
}

std::string Decimal::to_string() const {
  std::string text = digits_;
  if (text.size() <= scale_) {
    text.insert(0, scale_ + 1 - text.size(), '0');
  }
  if (scale_ > 0) {
    text.insert(text.size() - scale_, 1, '.');
  }
  if (negative_) {
    text.insert(0, 1, '-');
  }
  return text;
}

Decimal Decimal::operator+(const Decimal& other) const {
  Decimal sum;
  sum.scale_ = std::max(scale_, other.scale_);
  const std::string mine = digits_at(sum.scale_);
  const std::string theirs = other.digits_at(sum.scale_);
  if (negative_ == other.negative_) {
    sum.digits_ = add_digits(mine, theirs);
    sum.negative_ = negative_;
  } else if (std::is_gteq(compare_magnitude(other))) {
    sum.digits_ = subtract_digits(mine, theirs);
    sum.negative_ = negative_;
  } else {
    sum.digits_ = subtract_digits(theirs, mine);
    sum.negative_ = other.negative_;
  }
  drop_leading_zeros(sum.digits_);
  sum.negative_ = sum.negative_ && !sum.digits_.empty();
  return sum;
}

Decimal Decimal::operator-(const Decimal& other) const {
  return *this + -other;
}

Decimal Decimal::operator-() const {
  Decimal result = *this;
  result.negative_ = !negative_ && !digits_.empty();
  return result;
}

std::strong_ordering Decimal::compare(const Decimal& other) const {
  if (negative_ != other.negative_) {
    return negative_ ? std::strong_ordering::less : std::strong_ordering::greater;
  }
  return negative_ ? other.compare_magnitude(*this) : compare_magnitude(other);
}

// The digits as a whole number of units of 10^-scale, where `scale` is not less than scale_.
std::string Decimal::digits_at(std::size_t scale) const {
  return digits_.empty() ? digits_ : digits_ + std::string(scale - scale_, '0');
}

// Without writing out the longer scale: a number of 16000 decimals is compared with 1 as quickly as any.
std::strong_ordering Decimal::compare_magnitude(const Decimal& other) const {
  if (digits_.empty() || other.digits_.empty()) {
    return digits_.size() <=> other.digits_.size();
  }
  // Without leading zeros, the number with its first digit further to the left is the greater one.
  const std::size_t mine = digits_.size() + other.scale_;
  const std::size_t theirs = other.digits_.size() + scale_;
  if (mine != theirs) {
    return mine <=> theirs;
  }
  const std::size_t common = std::min(digits_.size(), other.digits_.size());
  const int first = digits_.compare(0, common, other.digits_, 0, common);
  if (first != 0) {
    return first <=> 0;
  }
  const bool mine_goes_on = digits_.find_first_not_of('0', common) != std::string::npos;
  const bool theirs_goes_on = other.digits_.find_first_not_of('0', common) != std::string::npos;
  return mine_goes_on <=> theirs_goes_on;
}

std::optional<std::strong_ordering> compare_numbers(std::string_view a, std::string_view b) {
  const auto first = parse_number(a);
  const auto second = parse_number(b);
  if (!first || !second) {
    return std::nullopt;
  }
  return first->rank != second->rank ? first->rank <=> second->rank : first->finite.compare(second->finite);
}

}  // namespace mbsync
