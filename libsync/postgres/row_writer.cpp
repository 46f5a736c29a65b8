#include "row_writer.h"

#include <fmt/format.h>

#include <algorithm>

#include "table_sql.h"

namespace mbsync {
namespace {

// Somebody may insert the same key at this moment; a deferrable key or an INSERT rule cannot be an arbiter, and then
// the key itself reports it. So it does where keys may be equal that look different (citext): then it is another row
// that has the key, for good, and not this one a moment earlier.
std::string arbiter(const Table& table) {
  const bool exact =
      std::all_of(table.key.begin(), table.key.end(), [&](std::size_t index) { return table.columns[index].exact; });
  if (table.key_is_deferrable || table.has_insert_rule || !exact) {
    return "";
  }
  std::vector<std::string> key;
  for (const auto index : table.key) {
    key.push_back(PgConnection::quote_name(table.columns[index].name));
  }
  return fmt::format(" ON CONFLICT ({}) DO NOTHING", fmt::join(key, ", "));
}

}  // namespace

Result<ApplyRole> find_apply_role(PgConnection& db) {
  // Superuser, or PostgreSQL 15's GRANT SET ON PARAMETER: trying is the one question that all versions answer.
  ApplyRole role;
  MBSYNC_TRY(db.begin(PgConnection::Isolation::kReadCommitted));
  role.replica = db.exec("SET LOCAL session_replication_role = replica").has_value();
  db.rollback();
  return role;
}

Result<std::int64_t> RowWriter::count(const StagedTable& staged, const std::string& from, const std::string& only) {
  const auto rows = db_.exec(
      fmt::format("SELECT count(*) FROM {} s {} WHERE s.m_deleted IS NOT TRUE AND {}", staged.name, from, only));
  MBSYNC_TRY(rows);
  return (*rows)[0][0].as<std::int64_t>();
}

// After an UPDATE that was refused, which was undone: whether its rows may be deleted and inserted instead.
Result<bool> RowWriter::may_replace(const Table& table) {
  if (role_.replica) {
    return true;
  }
  if (!last_resort_ || !db_.clashed()) {
    return false;
  }
  const auto referenced = db_.exec(fmt::format(
      "SELECT EXISTS (SELECT FROM pg_catalog.pg_constraint WHERE contype = 'f' AND confrelid = {})", table.oid));
  MBSYNC_TRY(referenced);
  return !(*referenced)[0][0].as<bool>();
}

// Where rows clash that could all stand, the role lacks the right to write them in whatever order they come.
Error RowWriter::refused(Error error) const {
  if (error.kind == ErrorKind::kConflict && !role_.replica && db_.clashed()) {
    error.message += fmt::format(
        "; with PostgreSQL 15 or later, \"GRANT SET ON PARAMETER session_replication_role TO {}\" and a new start let "
        "mbsync write rows that exchange their values",
        PgConnection::quote_name(db_.user()));
  }
  return error;
}

Result<void> RowWriter::remove(const StagedTable& staged, const std::string& only) {
  const TableSql sql(*staged.table);
  MBSYNC_TRY(db_.exec(fmt::format("DELETE FROM {} t USING {} s WHERE s.m_deleted AND {} AND {}", staged.table->quoted(),
                                  staged.name, sql.key_match("t", "s.m_key"), only)));
  return {};
}

Result<void> RowWriter::write(const StagedTable& staged, const std::string& only) {
  const auto& table = *staged.table;
  const TableSql sql(table);
  const auto match = sql.key_match("t", "s.m_key");
  const auto living = fmt::format("s.m_deleted IS NOT TRUE AND {} AND {}", match, only);
  const auto expected = count(staged, "", only);
  MBSYNC_TRY(expected);
  if (*expected == 0) {
    return {};
  }
  // UPDATE cannot set such a column; where it differs, a row was deleted and inserted anew under the same key.
  for (const auto& column : table.columns) {
    const auto place = static_cast<std::size_t>(&column - table.columns.data());
    const bool key = std::find(table.key.begin(), table.key.end(), place) != table.key.end();
    if (column.identity_always && !key && role_.replica) {
      MBSYNC_TRY(db_.exec(fmt::format("DELETE FROM {} t USING {} s WHERE {} AND t.{} <> s.v{}", table.quoted(),
                                      staged.name, living, PgConnection::quote_name(column.name), place + 1)));
    }
  }
  std::int64_t updated = 0;
  const auto assignments = sql.staged_assignments("s");
  if (full_ || assignments.empty()) {
    const auto present = count(staged, fmt::format("JOIN {} t ON {}", table.quoted(), match), only);
    MBSYNC_TRY(present);
    updated = *present;
  }
  if (!assignments.empty()) {
    const auto unequal = full_ ? fmt::format(" AND ROW({})::record OPERATOR(pg_catalog.*<>) ROW({})::record",
                                             sql.columns("t"), sql.staged_values("s"))
                               : std::string();
    MBSYNC_TRY(db_.exec("SAVEPOINT rows"));
    const auto done = db_.exec(fmt::format("UPDATE {} t SET {} FROM {} s WHERE {}{}", table.quoted(), assignments,
                                           staged.name, living, unequal));
    if (!done && done.error().kind == ErrorKind::kConflict) {
      const auto failure = refused(done.error());
      // Values of a unique column moved from row to row; one row at a time they collide, taken out together they do
      // not. Safe only where deleting fires no foreign key's action.
      MBSYNC_TRY(db_.exec("ROLLBACK TO SAVEPOINT rows"));
      const auto replace = may_replace(table);
      MBSYNC_TRY(replace);
      if (!*replace) {
        return failure;
      }
      MBSYNC_TRY(db_.exec(fmt::format("DELETE FROM {} t USING {} s WHERE {}", table.quoted(), staged.name, living)));
      updated = 0;
    } else {
      MBSYNC_TRY(done);
      updated = full_ ? updated : static_cast<std::int64_t>(done->affected_rows());
    }
    MBSYNC_TRY(db_.exec("RELEASE SAVEPOINT rows"));
  }
  if (updated == *expected) {
    return {};
  }
  const auto inserted = db_.exec(fmt::format(
      "INSERT INTO {} ({}) OVERRIDING SYSTEM VALUE SELECT {} FROM {} s WHERE s.m_deleted IS NOT TRUE AND {} "
      "AND NOT EXISTS (SELECT FROM {} t WHERE {}){}",
      table.quoted(), sql.column_names(), sql.staged_values("s"), staged.name, only, table.quoted(), match,
      arbiter(table)));
  if (!inserted) {
    return refused(inserted.error());
  }
  if (updated + static_cast<std::int64_t>(inserted->affected_rows()) != *expected) {
    return Error{ErrorKind::kTransient,
                 fmt::format("a row of table {} was written here at the same moment", table.display()), ""};
  }
  return {};
}

}  // namespace mbsync
