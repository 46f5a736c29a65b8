// Random schemas with what real ones contain, and random writes to them: awkward names and types, keys of one to four
// columns, references, uniques, generated and identity columns, partitions, dropped columns, another physical order on
// the other node. Everything follows from the seed.
//
// What is left out on purpose: two nodes giving one unique value to different rows. A unique value is never used twice.
#pragma once

#include <string>
#include <vector>

#include "rng.h"

namespace mbsync::test {

class RandomSchema {
 public:
  explicit RandomSchema(std::uint64_t seed);

  /// The statements that create it. `other` is the same schema as another machine may have come to it.
  [[nodiscard]] std::string ddl(bool other) const;
  /// Quoted and qualified.
  [[nodiscard]] std::vector<std::string> tables() const;
  /// One statement, or one transaction of several. It may fail, which changes nothing.
  [[nodiscard]] std::string write(Rng& rng, int node);

 private:
  struct Column {
    std::string name;
    std::string type;
    bool not_null = false;
    bool unique = false;    ///< text, always a fresh value
    bool identity = false;  ///< BY DEFAULT, from a space of each node's own
    int refers_to = -1;     ///< a table with a key of one column
    std::string on_delete{};
  };
  struct Table {
    std::string schema;
    std::string name;
    std::vector<Column> columns;  ///< the first `keys` are the key
    std::size_t keys = 1;
    bool unique_index = false;  ///< over NOT NULL columns, instead of a primary key
    bool deferrable = false;
    bool partitioned = false;
    bool computed = false;
    bool leftover = false;  ///< had a column that is gone on one of the nodes
    bool referenced = false;
  };

  [[nodiscard]] std::string qualified(const Table& table) const;
  [[nodiscard]] std::string key_list(const Table& table) const;
  [[nodiscard]] std::string some_rows(Rng& rng, const Table& table) const;
  [[nodiscard]] std::string value(Rng& rng, const Table& table, std::size_t column, int node);
  [[nodiscard]] std::string statement(Rng& rng, const Table& table, int node);

  std::vector<Table> tables_;
  std::uint64_t fresh_ = 0;
};

}  // namespace mbsync::test
