#include "reference_sql.h"

#include <fmt/format.h>

#include <algorithm>

#include "change_sql.h"
#include "table_sql.h"
#include "version_store.h"

namespace mbsync {

std::vector<ReferenceEdge> edges_of(const Schema& schema) {
  std::vector<ReferenceEdge> all;
  for (const auto& child : schema.tables) {
    for (const auto& reference : child.foreign_keys) {
      all.push_back(ReferenceEdge{&child, &reference, schema.find(reference.schema, reference.table)});
    }
  }
  return all;
}

bool refers(const Table& table, const std::string& column) {
  return std::any_of(table.foreign_keys.begin(), table.foreign_keys.end(), [&](const ForeignKey& reference) {
    return std::find(reference.columns.begin(), reference.columns.end(), column) != reference.columns.end();
  });
}

NameColumn of(std::string_view row) {
  return [row = std::string(row)](const std::string& column) {
    return fmt::format("{}.{}", row, PgConnection::quote_name(column));
  };
}

NameColumn staged_of(std::string_view row, const Table& table) {
  return [row = std::string(row), &table](const std::string& column) {
    return TableSql(table).staged_value(row, static_cast<std::size_t>(table.find(column) - table.columns.data()));
  };
}

bool are_staged(const Table& table, const std::vector<std::string>& columns) {
  return std::all_of(columns.begin(), columns.end(),
                     [&](const std::string& column) { return table.find(column) != nullptr; });
}

std::string equal_columns(const ForeignKey& reference, const Table* parent_table, const NameColumn& child,
                          const NameColumn& parent) {
  std::string condition;
  for (std::size_t i = 0; i < reference.columns.size(); ++i) {
    const auto* column = parent_table == nullptr ? nullptr : parent_table->find(reference.referenced[i]);
    const auto collate =
        column == nullptr || column->collation.empty() ? std::string() : fmt::format(" COLLATE {}", column->collation);
    condition += fmt::format("{}{}{} {} {}", i == 0 ? "" : " AND ", parent(reference.referenced[i]), collate,
                             reference.operators[i], child(reference.columns[i]));
  }
  return condition;
}

std::string all_present(const ForeignKey& reference, const NameColumn& child) {
  std::string condition;
  for (const auto& column : reference.columns) {
    condition += fmt::format("{}{} IS NOT NULL", condition.empty() ? "" : " AND ", child(column));
  }
  return condition;
}

std::string may_have_written(const StagedTable& staged, const std::vector<std::string>& columns) {
  if (staged.full) {
    return "true";
  }
  std::string condition = "s.m_cols IS NULL";
  for (const auto& column : columns) {
    condition += fmt::format(" OR substring(s.m_cols FROM {} FOR 1) = B'1'", staged.table->find(column)->number + 1);
  }
  return fmt::format("({})", condition);
}

std::string has_news_of(const Table& child, const ForeignKey& reference, const VersionVector& known) {
  ColumnSet columns;
  for (const auto& name : reference.columns) {
    if (const auto* column = child.find(name); column != nullptr) {  // PostgreSQL computes what is not there
      columns.insert(column->number);
    }
  }
  return fmt::format(
      "EXISTS (SELECT FROM mbsync.change c WHERE c.tab = {} AND {} AND NOT c.deleted AND position(B'1' IN c.cols & "
      "B'{}') > 0 AND NOT {})",
      child.id, has_key("c", fmt::format("{} COLLATE \"C\"", TableSql(child).key_text("t"))),
      columns.to_bits(child.width), covered_by(known, "c", ""));
}

std::string quoted_parent(const ForeignKey& reference) {
  return fmt::format("{}.{}", PgConnection::quote_name(reference.schema), PgConnection::quote_name(reference.table));
}

}  // namespace mbsync
