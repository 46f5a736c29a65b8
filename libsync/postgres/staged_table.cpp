#include "staged_table.h"

#include <fmt/format.h>

#include "table_sql.h"

namespace mbsync {

Result<StagedTable> make_stage(PgConnection& db, const Table& table) {
  const auto name = fmt::format("stage_{}", table.id);
  const auto definition = fmt::format(
      "m_key text COLLATE \"C\", m_origin bigint, m_counter bigint, m_at timestamptz, m_cols varbit, m_deleted "
      "boolean, m_policy bigint, m_kept text, m_writes text, m_slow boolean NOT NULL DEFAULT false, m_held boolean NOT "
      "NULL DEFAULT "
      "false, {}",
      TableSql(table).staged_definitions());
  MBSYNC_TRY(db.ensure_temporary_table(name, definition, {"m_kept", "m_writes"}));
  return StagedTable{&table, "pg_temp." + name, 0, true, false, {}};
}

}  // namespace mbsync
