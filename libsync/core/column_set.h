// Which columns of a row a write holds. Column numbers are a table's own, given once and never used again (they are
// not PostgreSQL's attribute numbers, which change with dump and restore). Number 0 is the row mark: it stands for
// "the row exists", and every write carries it until a later write takes it over.
#pragma once

#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <string>
#include <string_view>
#include <vector>

#include "result.h"

namespace mbsync {

using ColumnNumber = std::uint32_t;
inline constexpr ColumnNumber kRowMark = 0;

class ColumnSet {
 public:
  ColumnSet() = default;
  ColumnSet(std::initializer_list<ColumnNumber> numbers);

  /// Reads PostgreSQL's text form of a bit string, "1010": character i is column number i. Any other character is
  /// `corrupt`.
  static Result<ColumnSet> parse(std::string_view bits);
  /// The text form, padded with zeros to `width` characters or, if a higher number is in the set, as long as needed.
  [[nodiscard]] std::string to_bits(std::size_t width) const;

  void insert(ColumnNumber number);
  void erase(ColumnNumber number);
  [[nodiscard]] bool contains(ColumnNumber number) const;
  [[nodiscard]] bool empty() const;
  [[nodiscard]] std::size_t size() const;
  /// The numbers in rising order.
  [[nodiscard]] std::vector<ColumnNumber> numbers() const;

  [[nodiscard]] ColumnSet intersect(const ColumnSet& other) const;
  [[nodiscard]] ColumnSet unite(const ColumnSet& other) const;
  [[nodiscard]] ColumnSet minus(const ColumnSet& other) const;

  /// Equal when they hold the same numbers, however they were made.
  bool operator==(const ColumnSet& other) const;

 private:
  void trim();

  std::vector<std::uint64_t> words_;  ///< bit n is number n; the last word is never 0
};

}  // namespace mbsync
