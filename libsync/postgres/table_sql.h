// The SQL that is different for every table, as expressions: a row's key as text and back, which columns differ, a row
// as record text. Pure; everything is quoted here and nowhere else.
#pragma once

#include <string>
#include <string_view>

#include "schema.h"

namespace mbsync {

class TableSql {
 public:
  explicit TableSql(const Table& table) : table_(table) {}  ///< `table` must outlive this

  /// The key of the row called `row`, as text that is the same on every node: "n.\"id\"::text".
  [[nodiscard]] std::string key_text(std::string_view row) const;
  /// Whether the row called `row` has the key that the text expression `key` holds. Can use the key's index.
  [[nodiscard]] std::string key_match(std::string_view row, std::string_view key) const;
  /// Whether a staged row's own values are of the key that `key` holds; NULL without a row. Types of users are not
  /// looked at.
  [[nodiscard]] std::string staged_key_match(std::string_view staged, std::string_view key) const;
  /// Whether two rows have the same key; fit for a hash join.
  [[nodiscard]] std::string key_equal(std::string_view a, std::string_view b) const;
  /// Whether there is a row called `row` at all, on the far side of an outer join.
  [[nodiscard]] std::string present(std::string_view row) const;
  /// "t" or "f" for each column number from 1, as one text: what differs between two rows, byte for byte.
  /// Columns in `sums` are left out where differences() has them.
  [[nodiscard]] std::string changed_columns(std::string_view before, std::string_view after,
                                            const ColumnSet& sums = {}) const;
  /// {"number": "after minus before"} as text, for those of `sums` that differ and are finite numbers on both sides;
  /// NULL if none of them differs.
  [[nodiscard]] std::string differences(std::string_view before, std::string_view after, const ColumnSet& sums) const;
  /// The rows of `relation`, whose columns must be as many as this table had when it was looked at; else the statement
  /// fails with an error of class 42 when it is planned. Costs nothing per row. Domains become their base types.
  [[nodiscard]] std::string rows_of(std::string_view relation) const;
  /// The row as record text, field n - 1 for column number n.
  [[nodiscard]] std::string record(std::string_view row) const;
  /// Settings (bits of Setting) that the text of the key, or of the whole row, depends on.
  [[nodiscard]] std::uint32_t key_settings() const;
  [[nodiscard]] std::uint32_t row_settings() const;

  /// "t.\"a\", t.\"b\"": the columns that travel, in their order.
  [[nodiscard]] std::string columns(std::string_view row) const;
  /// "\"a\", \"b\"" as INSERT names them.
  [[nodiscard]] std::string column_names() const;
  /// A staged row's values, cast to the columns' types where they were staged as text: "s.v1, s.v2::public.\"Role\"".
  [[nodiscard]] std::string staged_values(std::string_view staged) const;
  [[nodiscard]] std::string staged_value(std::string_view staged, std::size_t index) const;  ///< of columns[index]
  /// "\"a\" = s.v1, ..." for UPDATE, without the columns that UPDATE may not set. Empty if nothing is left.
  [[nodiscard]] std::string staged_assignments(std::string_view staged) const;
  /// "v1 text, v2 int4, ...": column definitions of a staging table.
  [[nodiscard]] std::string staged_definitions() const;
  /// The bit string of all columns and the row mark: "111".
  [[nodiscard]] std::string all_bits() const;

 private:
  [[nodiscard]] std::string key_part_match(std::string_view value, std::string_view key, std::size_t i) const;
  [[nodiscard]] std::string key_part(std::string_view row, const Column& column) const;

  const Table& table_;
};

}  // namespace mbsync
