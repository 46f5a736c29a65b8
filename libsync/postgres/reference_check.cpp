#include "reference_check.h"

#include <fmt/format.h>

#include "table_sql.h"

namespace mbsync {
namespace {

// "t.a IS NOT NULL AND ... AND NOT EXISTS (SELECT FROM parent p WHERE p.x = t.a AND ...)"
std::string dangling(const ForeignKey& reference) {
  std::string present;
  std::string equal;
  for (std::size_t i = 0; i < reference.columns.size(); ++i) {
    const auto child = PgConnection::quote_name(reference.columns[i]);
    const auto parent = PgConnection::quote_name(reference.referenced[i]);
    present += fmt::format("t.{} IS NOT NULL AND ", child);
    equal += fmt::format("{}p.{} {} t.{}", i == 0 ? "" : " AND ", parent, reference.operators[i], child);
  }
  return fmt::format("{}NOT EXISTS (SELECT FROM {}.{} p WHERE {})", present, PgConnection::quote_name(reference.schema),
                     PgConnection::quote_name(reference.table), equal);
}

Error violation(const Table& table, const ForeignKey& reference, std::string_view key) {
  return Error{
      ErrorKind::kConflict,
      fmt::format("row {} of table {} refers to a row of {}.{} that was deleted on the other side (constraint \"{}\")",
                  key, table.display(), reference.schema, reference.table, reference.name),
      "nothing was changed; restore the referenced row or remove the reference on either machine"};
}

}  // namespace

Result<void> check_references(PgConnection& db, const Schema& schema, const StagedTable& staged) {
  const auto& table = *staged.table;
  const TableSql sql(table);
  for (const auto& reference : table.foreign_keys) {
    const auto found =
        db.exec(fmt::format("SELECT s.m_key FROM {} s JOIN {} t ON {} WHERE s.m_deleted IS NOT TRUE AND {} LIMIT 1",
                            staged.name, table.quoted(), sql.key_match("t", "s.m_key"), dangling(reference)));
    MBSYNC_TRY(found);
    if (!found->empty()) {
      return violation(table, reference, (*found)[0][0].c_str());
    }
  }
  const auto deleted = db.exec(fmt::format("SELECT EXISTS (SELECT FROM {} WHERE m_deleted)", staged.name));
  MBSYNC_TRY(deleted);
  if (!(*deleted)[0][0].as<bool>()) {
    return {};
  }
  for (const auto& child : schema.tables) {
    for (const auto& reference : child.foreign_keys) {
      if (reference.schema != table.schema || reference.table != table.name) {
        continue;
      }
      const auto found = db.exec(fmt::format("SELECT {} FROM {} t WHERE {} LIMIT 1", TableSql(child).key_text("t"),
                                             child.quoted(), dangling(reference)));
      MBSYNC_TRY(found);
      if (!found->empty()) {
        return violation(child, reference, (*found)[0][0].c_str());
      }
    }
  }
  return {};
}

}  // namespace mbsync
