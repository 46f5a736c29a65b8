#include "unique_sql.h"

#include <fmt/format.h>

#include "table_sql.h"

namespace mbsync {
namespace {

std::string expressions_of(const UniqueKey& unique) {
  std::string list;
  for (std::size_t i = 0; i < unique.expressions.size(); ++i) {
    list += fmt::format(", ({}) AS e{}", unique.expressions[i], i);
  }
  return list;
}

std::string predicate_of(const UniqueKey& unique) {
  return unique.predicate.empty() ? "true" : unique.predicate;
}

}  // namespace

std::string staged_entries(const StagedTable& staged, const UniqueKey& unique) {
  const auto& table = *staged.table;
  const TableSql sql(table);
  std::string own_columns;
  for (std::size_t i = 0; i < table.columns.size(); ++i) {
    own_columns += fmt::format(", {} AS {}", sql.staged_value("s", i), PgConnection::quote_name(table.columns[i].name));
  }
  return fmt::format(
      "(SELECT \"mbsync key\" AS k{} FROM (SELECT s.m_key AS \"mbsync key\"{} FROM {} s WHERE s.m_deleted IS "
      "NOT TRUE AND NOT s.m_held) x WHERE {})",
      expressions_of(unique), own_columns, staged.name, predicate_of(unique));
}

std::string standing_entries(const Table& table, const UniqueKey& unique, std::string_view which) {
  return fmt::format("(SELECT {} COLLATE \"C\" AS k{} FROM {} t WHERE {} AND {})", TableSql(table).key_text("t"),
                     expressions_of(unique), table.quoted(), predicate_of(unique), which);
}

std::string equal_entries(const UniqueKey& unique) {
  std::string equal;
  for (std::size_t i = 0; i < unique.expressions.size(); ++i) {
    const auto collate = unique.collations[i].empty() ? std::string() : " COLLATE " + unique.collations[i];
    equal += fmt::format(" AND (a.e{0}{1} {2} b.e{0}{3})", i, collate, unique.operators[i],
                         unique.nulls_not_distinct ? fmt::format(" OR (a.e{0} IS NULL AND b.e{0} IS NULL)", i) : "");
  }
  return equal;
}

}  // namespace mbsync
