#include "reference_check.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "change_sql.h"
#include "reference_sql.h"
#include "table_sql.h"

namespace mbsync {
namespace {

std::string violation_text(const Table& table, const ForeignKey& reference, std::string_view key) {
  return fmt::format("row {} of table {} refers to a row of {}.{} that is gone on the other side (constraint \"{}\")",
                     key, table.display(), reference.schema, reference.table, reference.name);
}

Error violation(const Table& table, const ForeignKey& reference, std::string_view key) {
  return Error{ErrorKind::kConflict, violation_text(table, reference, key),
               "nothing was changed; restore the referenced row or remove the reference on either machine"};
}

}  // namespace

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
    held.push_back(Held{staged.table->id, row[0].c_str(), ""});
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
  const auto all = edges_of(schema_);
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

Result<ReferenceCheck::Keys> ReferenceCheck::check_deletions(bool skip_held) {
  Keys held;
  for (const auto& [child, reference, parent] : edges_of(schema_)) {
    const auto* parent_stage = stage_of(parent);
    if (parent_stage == nullptr) {
      continue;
    }
    // What is not part of the key may get another value, and then it is gone as well. If a row is deleted, another one
    // that comes may take its place for those that refer to it; if it only gets another value, they are to follow it.
    // Unless somebody who knew says that they stay.
    std::string moves;
    if (are_staged(*parent, reference->referenced)) {
      for (const auto& name : reference->referenced) {
        const auto place = parent->index_of(name);
        if (std::find(parent->key.begin(), parent->key.end(), place) == parent->key.end()) {
          moves += fmt::format("{}p.{} IS DISTINCT FROM {}", moves.empty() ? "" : " OR ",
                               PgConnection::quote_name(name), staged_of("s", *parent)(name));
        }
      }
    }
    const auto any = db_.exec(
        fmt::format("SELECT EXISTS (SELECT FROM {}{})", parent_stage->name, moves.empty() ? " WHERE m_deleted" : ""));
    MBSYNC_TRY(any);
    if (!(*any)[0][0].as<bool>()) {
      continue;
    }
    const auto* child_stage = stage_of(child);
    const TableSql child_sql(*child);
    const auto others = child_stage == nullptr ? std::string()
                                               : fmt::format(" AND NOT EXISTS (SELECT FROM {} cs WHERE {})",
                                                             child_stage->name, child_sql.key_match("t", "cs.m_key"));
    auto goes = std::string("s.m_deleted");
    if (are_staged(*parent, reference->referenced)) {
      goes += fmt::format(" AND NOT EXISTS (SELECT FROM {} ps WHERE ps.m_deleted IS NOT TRUE AND NOT ps.m_held AND {})",
                          parent_stage->name, equal_columns(*reference, parent, of("t"), staged_of("ps", *parent)));
    }
    moves = moves.empty() ? "false" : fmt::format("({}) AND NOT {}", moves, has_news_of(*child, *reference, known_));
    const auto found = db_.exec(fmt::format(
        "SELECT DISTINCT ON (s.m_key) {}, s.m_key FROM {} s JOIN {} p ON {} JOIN {} t ON {} WHERE (({}) OR s.m_deleted "
        "IS "
        "NOT TRUE AND ({})) AND NOT s.m_held{} ORDER BY s.m_key",
        child_sql.key_text("t"), parent_stage->name, parent->quoted(), TableSql(*parent).key_match("p", "s.m_key"),
        child->quoted(), equal_columns(*reference, parent, of("t"), of("p")), goes, moves, others));
    MBSYNC_TRY(found);
    for (const auto& row : *found) {
      if (!skip_held) {
        return violation(*child, *reference, row[0].c_str());
      }
      held.push_back(Held{parent->id, row[1].c_str(), violation_text(*child, *reference, row[0].c_str()), true});
    }
  }
  return held;
}

Result<ReferenceCheck::Keys> ReferenceCheck::check_outsiders(bool skip_held) {
  Keys held;
  for (const auto& child : schema_.refused) {
    for (const auto& reference : child.foreign_keys) {
      const auto* parent = schema_.find(reference.schema, reference.table);
      const auto* stage = stage_of(parent);
      if (stage == nullptr || !stage->may_delete) {
        continue;
      }
      if (reference.on_delete != 'a' && reference.on_delete != 'r') {
        if (auto done = follow_deletions(child, reference, *parent); !done) {
          return done.error().in(fmt::format("table {}, which does not take part", child.display()));
        }
        continue;
      }
      const auto found = db_.exec(fmt::format(
          "SELECT DISTINCT s.m_key FROM {} s JOIN {} p ON {} JOIN {} t ON {} WHERE s.m_deleted AND NOT s.m_held",
          stage->name, parent->quoted(), TableSql(*parent).key_match("p", "s.m_key"), child.quoted(),
          equal_columns(reference, parent, of("t"), of("p"))));
      MBSYNC_TRY(found);
      for (const auto& row : *found) {
        const auto reason = fmt::format(
            "row {} of table {} is to be deleted, and table {}, which does not take part, refers to it here "
            "(constraint \"{}\"); remove what refers to it",
            row[0].c_str(), parent->display(), child.display(), reference.name);
        if (!skip_held) {
          return Error{ErrorKind::kConflict, reason, "nothing was changed"};
        }
        held.push_back(Held{parent->id, row[0].c_str(), reason});
      }
    }
  }
  return held;
}

// As the constraint would, with all that hangs on the rows of that table: it is the application's own, and its triggers
// know nothing of mbsync.
Result<void> ReferenceCheck::follow_deletions(const RefusedTable& child, const ForeignKey& reference,
                                              const Table& parent) {
  const auto from = fmt::format("{} s, {} p WHERE s.m_deleted AND NOT s.m_held AND {} AND {}", stage_of(&parent)->name,
                                parent.quoted(), TableSql(parent).key_match("p", "s.m_key"),
                                equal_columns(reference, &parent, of("t"), of("p")));
  std::string statement;
  if (reference.on_delete == 'c') {
    statement = fmt::format("DELETE FROM {} t USING {}", child.quoted(), from);
  } else {
    std::string assignments;
    for (const auto& name : reference.on_delete_columns.empty() ? reference.columns : reference.on_delete_columns) {
      assignments += fmt::format("{}{} = {}", assignments.empty() ? "" : ", ", PgConnection::quote_name(name),
                                 reference.on_delete == 'd' ? "DEFAULT" : "NULL");
    }
    statement = fmt::format("UPDATE {} t SET {} FROM {}", child.quoted(), assignments, from);
  }
  return db_.run(fmt::format(
      "SET LOCAL session_replication_role = origin; {}; SET LOCAL session_replication_role = replica", statement));
}

Result<ReferenceCheck::Keys> ReferenceCheck::lock_referenced(bool skip_held) {
  Keys held;
  for (const auto& [child, reference, parent] : edges_of(schema_)) {
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
                                   staged ? may_have_written(*stage, reference->columns) : "true");
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
        db_.exec(fmt::format("SELECT s.m_key FROM {} WHERE {} AND NOT EXISTS (SELECT FROM {} p WHERE {})", rows, which,
                             quoted_parent(*reference), equal_columns(*reference, parent, own, of("p"))));
    MBSYNC_TRY(missing);
    if (!missing->empty()) {
      if (!reference->validated) {
        continue;  // NOT VALID: rows without what they refer to are known here
      }
      for (const auto& row : *missing) {
        if (!skip_held) {
          return violation(*child, *reference, row[0].c_str());
        }
        held.push_back(Held{child->id, row[0].c_str(), violation_text(*child, *reference, row[0].c_str()), true});
      }
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
      held.push_back(Held{child->id, row[0].c_str(), ""});
    }
  }
  return held;
}

}  // namespace mbsync
