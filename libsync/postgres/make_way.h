// Values of unique keys that go from row to row while constraints stay on: swapped rows, renumbered ones, and rows that
// become one with others (CONFLICTS.md C19). PostgreSQL checks a unique key row by row, so whoever has a value that
// another row is about to take has to leave it first.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "reference_sql.h"
#include "schema.h"
#include "staged_table.h"

namespace mbsync {

class MakeWay {
 public:
  /// `order`: all staged tables, parents first.
  MakeWay(PgConnection& db, const Schema& schema, const std::vector<StagedTable*>& order)
      : db_(db), schema_(schema), order_(order) {}

  /// In the apply transaction, after the rows to be deleted that nobody can refer to are gone and before the others are
  /// written. The staged rows can all stand together. Rows that are in the way are brought to where they are to be, or
  /// to a value that nobody wants, or are deleted and inserted in one statement with all that depends on it. Where
  /// nothing works they stay as they are, and writing reports it. Returned is whether anything was written.
  Result<bool> run();

 private:
  struct Tight {
    const StagedTable* staged;
    const UniqueKey* unique;
  };
  using Edge = ReferenceEdge;
  struct Place {
    int tab;
    std::string key;
  };
  Result<bool> is_tight(const Tight& tight);
  Result<void> step_aside(const Tight& tight);
  Result<std::int64_t> attempt(const std::string& sql);
  Result<std::vector<Place>> places();
  Result<void> together(const std::vector<Place>& seeds, bool& done);
  Result<void> gather();
  Result<std::int64_t> add(const Table& table, const std::string& key, const std::string& from);
  Result<std::int64_t> add_partners();
  Result<std::int64_t> add_children(const Edge& edge);
  Result<std::int64_t> add_parents(const Edge& edge);
  Result<void> mark_anew();
  Result<bool> takes_others_along();
  Result<bool> takes_strangers_along(const Table& table);
  Result<std::string> statement();
  [[nodiscard]] std::string will_refer(const Edge& edge) const;
  [[nodiscard]] std::string pairs(const Tight& tight) const;
  [[nodiscard]] const StagedTable* stage_of(const Table& table) const;
  [[nodiscard]] std::vector<Edge> edges() const;

  PgConnection& db_;
  const Schema& schema_;
  const std::vector<StagedTable*>& order_;
  std::vector<Tight> tight_;  ///< keys in which rows are still in the way
  bool wrote_ = false;
};

/// Makes the session's temporary table of it, or empties it. Before run(), outside a transaction.
Result<void> prepare_make_way(PgConnection& db);

}  // namespace mbsync
