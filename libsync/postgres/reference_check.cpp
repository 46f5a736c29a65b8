#include "reference_check.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "change_sql.h"
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

const Table* find_table(const Schema& schema, const std::string& name_space, const std::string& name) {
  for (const auto& table : schema.tables) {
    if (table.schema == name_space && table.name == name) {
      return &table;
    }
  }
  return nullptr;
}

// "p.x = t.a AND ...", where the sides name their columns each in its own way.
template <typename ChildColumn, typename ParentColumn>
std::string equal_columns(const ForeignKey& reference, ChildColumn child, ParentColumn parent) {
  std::string condition;
  for (std::size_t i = 0; i < reference.columns.size(); ++i) {
    condition += fmt::format("{}{} {} {}", i == 0 ? "" : " AND ", parent(reference.referenced[i]),
                             reference.operators[i], child(reference.columns[i]));
  }
  return condition;
}

Result<void> collect(PgConnection& db, const std::string& query, int tab,
                     std::vector<std::pair<int, std::string>>& found) {
  const auto rows = db.exec(query);
  MBSYNC_TRY(rows);
  for (const auto& row : *rows) {
    found.emplace_back(tab, row[0].c_str());
  }
  return {};
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

Result<void> find_dependents(PgConnection& db, const Schema& schema, const std::map<int, StagedTable>& staged,
                             std::vector<std::pair<int, std::string>>& dependents) {
  const auto unseen_tables = db.exec("SELECT DISTINCT tab FROM mbsync.change WHERE unseen");
  MBSYNC_TRY(unseen_tables);
  std::set<int> unseen;
  for (const auto& row : *unseen_tables) {
    unseen.insert(row[0].as<int>());
  }
  const auto of = [](std::string_view row) {
    return [row](const std::string& column) { return fmt::format("{}.{}", row, PgConnection::quote_name(column)); };
  };
  const auto staged_of = [](std::string_view row, const Table& table) {
    return [row, &table](const std::string& column) {
      return TableSql(table).staged_value(row, static_cast<std::size_t>(table.find(column) - table.columns.data()));
    };
  };
  for (const auto& child : schema.tables) {
    for (const auto& reference : child.foreign_keys) {
      const auto* parent = find_table(schema, reference.schema, reference.table);
      if (parent == nullptr) {
        continue;
      }
      const auto child_stage = staged.find(child.id);
      const auto parent_stage = staged.find(parent->id);
      // A generated column is not staged; what refers through one is left to the check after writing.
      const auto staged_columns = [](const Table& table, const std::vector<std::string>& columns) {
        return std::all_of(columns.begin(), columns.end(),
                           [&](const std::string& column) { return table.find(column) != nullptr; });
      };
      if (!staged_columns(child, reference.columns) || !staged_columns(*parent, reference.referenced)) {
        continue;
      }
      if (child_stage != staged.end() && unseen.contains(parent->id)) {
        const auto own = staged_of("s", child);
        std::string present;
        for (const auto& column : reference.columns) {
          present += fmt::format(" AND {} IS NOT NULL", own(column));
        }
        auto here = fmt::format("NOT EXISTS (SELECT FROM {} p WHERE {})", parent->quoted(),
                                equal_columns(reference, own, of("p")));
        if (parent_stage != staged.end()) {
          here += fmt::format(" AND NOT EXISTS (SELECT FROM {} p WHERE p.m_deleted IS NOT TRUE AND {})",
                              parent_stage->second.name, equal_columns(reference, own, staged_of("p", *parent)));
        }
        MBSYNC_TRY(collect(db,
                           fmt::format("SELECT s.m_key FROM {} s WHERE s.m_deleted IS NOT TRUE{} AND {}",
                                       child_stage->second.name, present, here),
                           child.id, dependents));
      }
      if (parent_stage != staged.end() && unseen.contains(child.id)) {
        const TableSql child_sql(child);
        MBSYNC_TRY(collect(
            db,
            fmt::format("SELECT s.m_key FROM {} s JOIN {} p ON {} WHERE s.m_deleted AND EXISTS (SELECT FROM {} t WHERE "
                        "{} AND EXISTS (SELECT FROM mbsync.change c WHERE c.unseen AND c.tab = {} AND {}))",
                        parent_stage->second.name, parent->quoted(), TableSql(*parent).key_match("p", "s.m_key"),
                        child.quoted(), equal_columns(reference, of("t"), of("p")), child.id,
                        has_key("c", fmt::format("{} COLLATE \"C\"", child_sql.key_text("t")))),
            parent->id, dependents));
      }
    }
  }
  return {};
}

}  // namespace mbsync
