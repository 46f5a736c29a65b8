// Random schemas for the checker: a few tables of a few rows each, so that everything happens to the same rows all the
// time. With them come the statements an application may send, and the questions whether all constraints hold.
//
// Values are texts as PostgreSQL gives them. All follows from the seed.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "model.h"
#include "rng.h"

namespace mbsync::checker {

struct Column {
  std::string name;
  std::string type;
  std::vector<std::string> values;  ///< what may be written, as SQL literals
  bool not_null = false;
  std::string default_value;
};

struct ForeignKey {
  std::vector<std::size_t> columns;
  std::size_t parent = 0;
  std::vector<std::size_t> referenced{};  ///< columns of the parent: its key, or those of a unique key
  std::string on_delete;
  std::string on_update;
  bool deferred = false;
};

struct UniqueKey {
  std::vector<std::size_t> columns;
  std::string expression;  ///< in place of the first column
  std::string predicate;
  bool deferred = false;
  bool nulls_equal = false;  ///< NULLS NOT DISTINCT
  bool exclusion = false;    ///< no two ranges overlap

  /// Whether a foreign key may refer to it.
  [[nodiscard]] bool can_be_referred_to() const {
    return expression.empty() && predicate.empty() && !deferred && !exclusion;
  }
};

struct Table {
  std::string name;
  std::vector<Column> columns;  ///< the first `keys` are the key, the next one names the transaction that wrote last
  std::size_t keys = 1;
  std::vector<ForeignKey> foreign_keys{};
  std::vector<UniqueKey> unique_keys{};
  bool refuses = false;  ///< what lab.accepts() says; see Lab::refuse()

  [[nodiscard]] std::size_t marker() const { return keys; }
  [[nodiscard]] Shape shape() const;
};

class Schema {
 public:
  explicit Schema(std::uint64_t seed);

  [[nodiscard]] const std::vector<Table>& tables() const { return tables_; }
  [[nodiscard]] bool has_counters() const;
  /// Whether mbsync may have to make writes of its own (CONFLICTS.md C18), which the model knows nothing of.
  [[nodiscard]] bool has_constraints() const;
  [[nodiscard]] bool is_referred_to(std::size_t number) const;

  [[nodiscard]] std::string create() const;
  [[nodiscard]] std::string drop() const;
  /// Removes all rows; where constraints and triggers are switched off.
  [[nodiscard]] std::string clear() const;
  /// Rows that are there from the beginning, as statements.
  [[nodiscard]] std::vector<std::string> first_rows(mbsync::test::Rng& rng) const;
  /// One statement of an application; some come with another before them that makes it more likely to be taken.
  /// `marker` is written into the rows.
  [[nodiscard]] std::vector<std::string> statements(mbsync::test::Rng& rng, const std::string& marker) const;
  /// The same, but none that locks a table.
  [[nodiscard]] std::vector<std::string> row_statements(mbsync::test::Rng& rng, const std::string& marker) const;

  /// What a person would do who finds that two rows of a table cannot stand together: one after the other, until one is
  /// taken by the database. `fresh` is a number that was never used.
  [[nodiscard]] std::vector<std::string> ways_out(const RowId& standing, const Values& values,
                                                  std::int64_t fresh) const;

  /// All rows: number of the table, key as mbsync writes it, values; kNull is NULL.
  [[nodiscard]] std::string read() const;
  /// One line for each constraint that does not hold.
  [[nodiscard]] std::string broken_constraints() const;

  static constexpr const char* kNull = "\xE2\x88\x85";

 private:
  void add_reference(mbsync::test::Rng& rng, Table& table, std::size_t parent, bool in_circle);
  static void add_unique_key(mbsync::test::Rng& rng, Table& table, const std::string& prefix);
  [[nodiscard]] std::vector<std::string> statements(mbsync::test::Rng& rng, const std::string& marker,
                                                    std::uint64_t kinds) const;
  [[nodiscard]] std::string value(mbsync::test::Rng& rng, const Table& table, std::size_t column,
                                  const std::string& marker) const;
  [[nodiscard]] std::string key_condition(mbsync::test::Rng& rng, const Table& table) const;
  [[nodiscard]] std::string insert(mbsync::test::Rng& rng, const Table& table, const std::string& marker) const;
  [[nodiscard]] static std::string names(const Table& table, const std::vector<std::size_t>& columns);

  std::vector<Table> tables_;
};

}  // namespace mbsync::checker
