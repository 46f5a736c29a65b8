#include "reference_check.h"

#include <fmt/format.h>

#include <algorithm>
#include <functional>
#include <set>

#include "change_sql.h"
#include "table_sql.h"

namespace mbsync {
namespace {

using NameColumn = std::function<std::string(const std::string&)>;

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

// A generated column is not staged.
bool are_staged(const Table& table, const std::vector<std::string>& columns) {
  return std::all_of(columns.begin(), columns.end(),
                     [&](const std::string& column) { return table.find(column) != nullptr; });
}

// "p.x = t.a AND ...". As PostgreSQL does it, the parent's collation decides where the two differ.
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

// Whether the staged row `s` may have a new value in one of the columns. A column that it is not the latest write of
// was checked when its value came.
std::string may_have_written(const Table& table, const std::vector<std::string>& columns) {
  std::string condition = "s.m_cols IS NULL";
  for (const auto& column : columns) {
    condition += fmt::format(" OR substring(s.m_cols FROM {} FOR 1) = B'1'", table.find(column)->number + 1);
  }
  return fmt::format("({})", condition);
}

std::string quoted_parent(const ForeignKey& reference) {
  return fmt::format("{}.{}", PgConnection::quote_name(reference.schema), PgConnection::quote_name(reference.table));
}

Error violation(const Table& table, const ForeignKey& reference, std::string_view key) {
  return Error{
      ErrorKind::kConflict,
      fmt::format("row {} of table {} refers to a row of {}.{} that was deleted on the other side (constraint \"{}\")",
                  key, table.display(), reference.schema, reference.table, reference.name),
      "nothing was changed; restore the referenced row or remove the reference on either machine"};
}

}  // namespace

std::vector<ReferenceCheck::Edge> ReferenceCheck::edges() const {
  std::vector<Edge> all;
  for (const auto& child : schema_.tables) {
    for (const auto& reference : child.foreign_keys) {
      const auto parent = std::find_if(schema_.tables.begin(), schema_.tables.end(), [&](const Table& table) {
        return table.schema == reference.schema && table.name == reference.table;
      });
      all.push_back(Edge{&child, &reference, parent == schema_.tables.end() ? nullptr : &*parent});
    }
  }
  return all;
}

const StagedTable* ReferenceCheck::stage_of(const Table* table) const {
  const auto place = table == nullptr ? staged_.end() : staged_.find(table->id);
  return place == staged_.end() ? nullptr : &place->second;
}

// Marks the staged rows `s` that fulfil the condition, and says whether there were any.
Result<bool> ReferenceCheck::hold(const StagedTable& staged, const std::string& condition, Keys& held) {
  const auto rows = db_.exec(
      fmt::format("UPDATE {} s SET m_held = true WHERE NOT s.m_held AND {} RETURNING s.m_key", staged.name, condition));
  MBSYNC_TRY(rows);
  for (const auto& row : *rows) {
    held.emplace_back(staged.table->id, row[0].c_str());
  }
  return !rows->empty();
}

Result<ReferenceCheck::Keys> ReferenceCheck::find_dependents() {
  const auto tables = db_.exec("SELECT DISTINCT tab FROM mbsync.change WHERE unseen");
  MBSYNC_TRY(tables);
  std::set<int> unseen;
  for (const auto& row : *tables) {
    unseen.insert(row[0].as<int>());
  }
  Keys held;
  const auto all = edges();
  for (bool again = true; again;) {
    again = false;
    for (const auto& [child, reference, parent] : all) {
      const auto* child_stage = stage_of(child);
      const auto* parent_stage = stage_of(parent);
      if (parent == nullptr || !are_staged(*child, reference->columns) || !are_staged(*parent, reference->referenced)) {
        continue;
      }
      if (child_stage != nullptr && unseen.contains(parent->id)) {
        const auto own = staged_of("s", *child);
        auto condition = fmt::format("s.m_deleted IS NOT TRUE AND {} AND NOT EXISTS (SELECT FROM {} p WHERE {})",
                                     all_present(*reference, own), parent->quoted(),
                                     equal_columns(*reference, parent, own, of("p")));
        if (parent_stage != nullptr) {
          condition +=
              fmt::format(" AND NOT EXISTS (SELECT FROM {} p WHERE p.m_deleted IS NOT TRUE AND NOT p.m_held AND {})",
                          parent_stage->name, equal_columns(*reference, parent, own, staged_of("p", *parent)));
        }
        const auto found = hold(*child_stage, condition, held);
        MBSYNC_TRY(found);
        if (*found) {
          unseen.insert(child->id);
          again = true;
        }
      }
      if (parent_stage != nullptr && unseen.contains(child->id)) {
        auto waits = fmt::format("EXISTS (SELECT FROM mbsync.change c WHERE c.unseen AND c.tab = {} AND {})", child->id,
                                 has_key("c", fmt::format("{} COLLATE \"C\"", TableSql(*child).key_text("t"))));
        if (child_stage != nullptr) {
          waits += fmt::format(" OR EXISTS (SELECT FROM {} cs WHERE cs.m_held AND {})", child_stage->name,
                               TableSql(*child).key_match("t", "cs.m_key"));
        }
        const auto found =
            hold(*parent_stage,
                 fmt::format("s.m_deleted AND EXISTS (SELECT FROM {} p JOIN {} t ON {} WHERE {} AND ({}))",
                             parent->quoted(), child->quoted(), equal_columns(*reference, parent, of("t"), of("p")),
                             TableSql(*parent).key_match("p", "s.m_key"), waits),
                 held);
        MBSYNC_TRY(found);
        if (*found) {
          unseen.insert(parent->id);
          again = true;
        }
      }
    }
  }
  return held;
}

Result<void> ReferenceCheck::check_deletions() {
  for (const auto& [child, reference, parent] : edges()) {
    const auto* parent_stage = stage_of(parent);
    if (parent_stage == nullptr) {
      continue;
    }
    const auto any = db_.exec(fmt::format("SELECT EXISTS (SELECT FROM {} WHERE m_deleted)", parent_stage->name));
    MBSYNC_TRY(any);
    if (!(*any)[0][0].as<bool>()) {
      continue;
    }
    const auto* child_stage = stage_of(child);
    const TableSql child_sql(*child);
    const auto staged = child_stage == nullptr ? std::string()
                                               : fmt::format(" AND NOT EXISTS (SELECT FROM {} cs WHERE {})",
                                                             child_stage->name, child_sql.key_match("t", "cs.m_key"));
    const auto found = db_.exec(fmt::format(
        "SELECT {} FROM {} s JOIN {} p ON {} JOIN {} t ON {} WHERE s.m_deleted{} "
        "LIMIT 1",
        child_sql.key_text("t"), parent_stage->name, parent->quoted(), TableSql(*parent).key_match("p", "s.m_key"),
        child->quoted(), equal_columns(*reference, parent, of("t"), of("p")), staged));
    MBSYNC_TRY(found);
    if (!found->empty()) {
      return violation(*child, *reference, (*found)[0][0].c_str());
    }
  }
  return {};
}

Result<ReferenceCheck::Keys> ReferenceCheck::lock_referenced(bool skip_held) {
  Keys held;
  for (const auto& [child, reference, parent] : edges()) {
    const auto* stage = stage_of(child);
    if (stage == nullptr) {
      continue;
    }
    const bool staged = are_staged(*child, reference->columns);
    const auto own = staged ? staged_of("s", *child) : of("t");
    const auto rows = staged ? fmt::format("{} s", stage->name)
                             : fmt::format("{} s JOIN {} t ON {}", stage->name, child->quoted(),
                                           TableSql(*child).key_match("t", "s.m_key"));
    const auto which = fmt::format("s.m_deleted IS NOT TRUE AND {} AND {}", all_present(*reference, own),
                                   staged ? may_have_written(*child, reference->columns) : "true");
    const auto expected = db_.exec(fmt::format("SELECT count(*) FROM {} WHERE {}", rows, which));
    MBSYNC_TRY(expected);
    if ((*expected)[0][0].as<std::int64_t>() == 0) {
      continue;
    }
    const auto lock = fmt::format("SELECT s.m_key FROM {} JOIN {} p ON {} WHERE {} FOR KEY SHARE OF p{}", rows,
                                  quoted_parent(*reference), equal_columns(*reference, parent, own, of("p")), which,
                                  skip_held ? " SKIP LOCKED" : "");
    const auto locked = db_.exec(fmt::format("SELECT count(*) FROM ({}) locked", lock));
    if (!locked) {
      return locked.error().in(fmt::format("locking what table {} refers to", child->display()));
    }
    if ((*locked)[0][0].as<std::int64_t>() == (*expected)[0][0].as<std::int64_t>()) {
      continue;
    }
    const auto missing =
        db_.exec(fmt::format("SELECT s.m_key FROM {} WHERE {} AND NOT EXISTS (SELECT FROM {} p WHERE {}) LIMIT 1", rows,
                             which, quoted_parent(*reference), equal_columns(*reference, parent, own, of("p"))));
    MBSYNC_TRY(missing);
    if (!missing->empty()) {
      if (reference->validated) {
        return violation(*child, *reference, (*missing)[0][0].c_str());
      }
      continue;  // NOT VALID: rows without what they refer to are known here
    }
    if (!skip_held) {
      return Error{ErrorKind::kTransient,
                   fmt::format("a row that table {} refers to changed at the same moment", child->display()), ""};
    }
    const auto waiting =
        db_.exec(fmt::format("WITH locked AS MATERIALIZED ({}) SELECT s.m_key FROM {} WHERE {} AND NOT EXISTS (SELECT "
                             "FROM locked l WHERE l.m_key = s.m_key)",
                             lock, rows, which));
    MBSYNC_TRY(waiting);
    for (const auto& row : *waiting) {
      held.emplace_back(child->id, row[0].c_str());
    }
  }
  return held;
}

}  // namespace mbsync
