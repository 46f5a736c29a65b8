// Conditions over foreign keys, between rows of the application's tables and staged rows. Pure.
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "schema.h"
#include "staged_table.h"

namespace mbsync {

/// A foreign key of a table that takes part.
struct ReferenceEdge {
  const Table* child;
  const ForeignKey* reference;
  const Table* parent;  ///< nullptr if that one does not take part
};
std::vector<ReferenceEdge> edges_of(const Schema& schema);

/// Whether a foreign key of the table has this column.
bool refers(const Table& table, const std::string& column);

/// From a column's name to an expression for its value.
using NameColumn = std::function<std::string(const std::string&)>;

NameColumn of(std::string_view row);                             ///< of a row of the table itself
NameColumn staged_of(std::string_view row, const Table& table);  ///< of a staged row

/// Whether all of these columns are staged: a generated column is not.
bool are_staged(const Table& table, const std::vector<std::string>& columns);

/// "p.x = t.a AND ...". As PostgreSQL does it, the parent's collation decides where the two differ.
std::string equal_columns(const ForeignKey& reference, const Table* parent_table, const NameColumn& child,
                          const NameColumn& parent);
std::string all_present(const ForeignKey& reference, const NameColumn& child);

/// Whether the staged row `s` may have a new value in one of the columns. A column that it is not the latest write of
/// was checked when its value came, unless the row itself is new here.
std::string may_have_written(const StagedTable& staged, const std::vector<std::string>& columns);

/// Whether somebody has given the row `t` of `child` this reference, or confirmed it, whose writes are not among
/// `known`.
std::string has_news_of(const Table& child, const ForeignKey& reference, const VersionVector& known);

std::string quoted_parent(const ForeignKey& reference);

}  // namespace mbsync
