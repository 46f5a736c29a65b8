#include "column_set.h"

#include <algorithm>
#include <bit>

namespace mbsync {

namespace {

constexpr std::size_t kWordBits = 64;

std::size_t word_of(ColumnNumber number) {
  return number / kWordBits;
}
std::uint64_t bit_of(ColumnNumber number) {
  return std::uint64_t{1} << (number % kWordBits);
}

}  // namespace

ColumnSet::ColumnSet(std::initializer_list<ColumnNumber> numbers) {
  for (const ColumnNumber number : numbers) {
    insert(number);
  }
}

Result<ColumnSet> ColumnSet::parse(std::string_view bits) {
  ColumnSet set;
  set.words_.resize((bits.size() + kWordBits - 1) / kWordBits);
  for (std::size_t i = 0; i < bits.size(); ++i) {
    if (bits[i] == '1') {
      set.words_[i / kWordBits] |= std::uint64_t{1} << (i % kWordBits);
    } else if (bits[i] != '0') {
      return Error{ErrorKind::kCorrupt,
                   "a set of columns holds something other than 0 and 1 at position " + std::to_string(i), ""};
    }
  }
  set.trim();
  return set;
}

std::string ColumnSet::to_bits(std::size_t width) const {
  std::size_t needed = 0;
  if (!words_.empty()) {
    const auto leading = static_cast<std::size_t>(std::countl_zero(words_.back()));
    needed = words_.size() * kWordBits - leading;
  }
  std::string bits(std::max(width, needed), '0');
  for (const ColumnNumber number : numbers()) {
    bits[number] = '1';
  }
  return bits;
}

void ColumnSet::insert(ColumnNumber number) {
  if (word_of(number) >= words_.size()) {
    words_.resize(word_of(number) + 1);
  }
  words_[word_of(number)] |= bit_of(number);
}

void ColumnSet::erase(ColumnNumber number) {
  if (word_of(number) < words_.size()) {
    words_[word_of(number)] &= ~bit_of(number);
    trim();
  }
}

bool ColumnSet::contains(ColumnNumber number) const {
  return word_of(number) < words_.size() && (words_[word_of(number)] & bit_of(number)) != 0;
}

bool ColumnSet::empty() const {
  return words_.empty();
}

std::size_t ColumnSet::size() const {
  std::size_t count = 0;
  for (const std::uint64_t word : words_) {
    count += static_cast<std::size_t>(std::popcount(word));
  }
  return count;
}

std::vector<ColumnNumber> ColumnSet::numbers() const {
  std::vector<ColumnNumber> result;
  result.reserve(size());
  for (std::size_t i = 0; i < words_.size(); ++i) {
    for (std::uint64_t rest = words_[i]; rest != 0; rest &= rest - 1) {
      result.push_back(static_cast<ColumnNumber>(i * kWordBits + static_cast<std::size_t>(std::countr_zero(rest))));
    }
  }
  return result;
}

ColumnSet ColumnSet::intersect(const ColumnSet& other) const {
  ColumnSet result;
  result.words_.resize(std::min(words_.size(), other.words_.size()));
  for (std::size_t i = 0; i < result.words_.size(); ++i) {
    result.words_[i] = words_[i] & other.words_[i];
  }
  result.trim();
  return result;
}

ColumnSet ColumnSet::unite(const ColumnSet& other) const {
  ColumnSet result = words_.size() >= other.words_.size() ? *this : other;
  const ColumnSet& shorter = words_.size() >= other.words_.size() ? other : *this;
  for (std::size_t i = 0; i < shorter.words_.size(); ++i) {
    result.words_[i] |= shorter.words_[i];
  }
  return result;
}

ColumnSet ColumnSet::minus(const ColumnSet& other) const {
  ColumnSet result = *this;
  for (std::size_t i = 0; i < std::min(words_.size(), other.words_.size()); ++i) {
    result.words_[i] &= ~other.words_[i];
  }
  result.trim();
  return result;
}

bool ColumnSet::operator==(const ColumnSet& other) const {
  return words_ == other.words_;
}

void ColumnSet::trim() {
  while (!words_.empty() && words_.back() == 0) {
    words_.pop_back();
  }
}

}  // namespace mbsync
