// One table's part of an answer, in a temporary table of the session: what comes from a peer, and what becomes of it.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "schema.h"

namespace mbsync {

/// Columns of the temporary table: m_key, m_origin, m_counter, m_at, m_cols, m_deleted, m_kept, m_writes as on the
/// wire; m_slow: needs a decision; m_held: an application transaction holds the row, so it cannot be written now; and
/// v1 ... vN for the table's columns.
struct StagedTable {
  const Table* table = nullptr;
  std::string name;  ///< "pg_temp.stage_17"
  std::int64_t rows = 0;
  bool may_delete = true;  ///< false: surely no row here goes; spares the statements that deal with rows that do
  bool full = false;       ///< of a full answer: a row may be new here although its writes hold but some of its columns
  /// Sender's column number to ours, where the two number differently; empty where they agree.
  std::map<ColumnNumber, ColumnNumber> renumber;
  std::vector<PolicyVersion> policies{};  ///< under which its writes were made, but for the built-in one
};

/// Makes or empties the temporary table, outside a transaction. It stays for the session: making and dropping it for
/// every pull would bloat the catalog.
Result<StagedTable> make_stage(PgConnection& db, const Table& table);

}  // namespace mbsync
