#include "repair.h"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <set>
#include <utility>

#include "change_sql.h"
#include "copy_text.h"
#include "record_text.h"
#include "table_sql.h"

namespace mbsync {
namespace {

using Json = nlohmann::json;

// A chain of cascades takes a round for each link. Rows that refer to rows of their own table make long ones; what goes
// beyond this is taken apart, and the rest of the chain comes later.
constexpr int kRoundsMax = 1000;

}  // namespace

WriteTime time_of(const pqxx::field& micros) {
  return micros.is_null() ? kTimeUnknown : WriteTime{micros.as<std::int64_t>()};
}

ConflictRecord new_record(std::string kind, const Table& table, std::string key) {
  ConflictRecord entry;
  entry.kind = std::move(kind);
  entry.schema = table.schema;
  entry.table = table.name;
  entry.key = std::move(key);
  return entry;
}

std::string changed_flags(const Table& table, const std::vector<std::string>& columns) {
  std::string flags(table.width - 1, 'f');
  for (const auto& column : columns) {
    flags[table.find(column)->number - 1] = 't';
  }
  return flags;
}

Result<void> prepare_repair(PgConnection& db) {
  return db.ensure_temporary_table(
      "repaired",
      "tab int, op \"char\", key text COLLATE \"C\", cols text COLLATE \"C\", at_us bigint, node text, counter bigint");
}

Result<void> add_stages(PgConnection& db, const Schema& schema, Repair::Staged& staged) {
  std::set<int> wanted;
  for (auto& [id, entry] : staged) {
    wanted.insert(id);
    entry.may_delete = true;  // for what is mended
  }
  for (bool grown = true; grown;) {
    grown = false;
    for (const auto& child : schema.tables) {
      for (const auto& reference : child.foreign_keys) {
        const auto* parent = schema.find(reference.schema, reference.table);
        if (parent == nullptr || wanted.contains(child.id) == wanted.contains(parent->id)) {
          continue;
        }
        wanted.insert({child.id, parent->id});
        grown = true;
      }
    }
  }
  for (const auto id : wanted) {
    if (!staged.contains(id)) {
      auto entry = make_stage(db, *schema.find(id));
      MBSYNC_TRY(entry);
      staged.emplace(id, std::move(*entry));
    }
  }
  return {};
}

std::vector<Repair::Edge> Repair::edges() const {
  auto all = edges_of(schema_);
  std::erase_if(all, [&](const Edge& edge) {
    return edge.parent == nullptr || !staged_.contains(edge.child->id) || !staged_.contains(edge.parent->id) ||
           !are_staged(*edge.child, edge.reference->columns) || !are_staged(*edge.parent, edge.reference->referenced);
  });
  return all;
}

Result<ReferenceCheck::Keys> Repair::run() {
  for (int number = 0; number < kRoundsMax; ++number) {
    const auto changed = round();
    MBSYNC_TRY(changed);
    if (!*changed || !unsolved_.empty()) {
      MBSYNC_TRY(store_records());
      return std::move(unsolved_);
    }
  }
  return Error{ErrorKind::kConflict, "rows that refer to each other cannot be brought to stand together",
               "nothing was changed; look at the foreign keys of the tables concerned"};
}

Result<bool> Repair::round() {
  bool changed = false;
  const auto mend_all = [&](const std::vector<Edge>& some) -> Result<void> {
    for (const auto& edge : some) {
      const auto mended = mend(edge);
      if (!mended) {
        return mended.error().in(
            fmt::format("foreign key \"{}\" of table {}", edge.reference->name, edge.child->display()));
      }
      changed = changed || *mended;
    }
    return {};
  };
  // What must stay for one reference stays for all, as a deletion that is refused sets nothing to NULL either. So first
  // goes what goes with a deletion; a row that is there no more refuses none. Then come those that refuse: what they
  // bring back brings back what went with it. And what is set is set when it is known what goes.
  const auto all = edges();
  const auto those = [&](const auto& wanted) {
    std::vector<Edge> some;
    std::copy_if(all.begin(), all.end(), std::back_inserter(some), wanted);
    return some;
  };
  const auto with = [](char action) {
    return [=](const Edge& edge) { return !refuses_deletion(edge) && edge.reference->on_delete == action; };
  };
  MBSYNC_TRY(mend_all(those(with('c'))));
  if (changed) {
    return true;
  }
  MBSYNC_TRY(mend_all(those(refuses_deletion)));
  if (changed) {
    return true;
  }
  MBSYNC_TRY(mend_all(those(with('d'))));
  MBSYNC_TRY(mend_all(those(with('n'))));
  for (const auto& [id, entry] : staged_) {
    for (const auto& unique : entry.table->unique_keys) {
      const auto separated = separate(*entry.table, unique);
      if (!separated) {
        return separated.error().in(fmt::format("unique key \"{}\" of table {}", unique.name, entry.table->display()));
      }
      changed = changed || *separated;
    }
  }
  return changed;
}

// Rows `t` that stand here, so that they can be changed together with the staged ones. `which` is what follows the list
// of columns, and leaves out rows that are staged. `because`: SQL for the key of the staged row, of table
// `because_tab`, that makes it necessary.
Result<void> Repair::bring_in(const Table& table, const std::string& which, int because_tab,
                              const std::string& because) {
  std::string columns;
  std::string values;
  for (std::size_t i = 0; i < table.columns.size(); ++i) {
    const auto value = "t." + PgConnection::quote_name(table.columns[i].name);
    columns += fmt::format(", v{}", i + 1);
    values += fmt::format(
        ", {} AS v{}",
        table.columns[i].user_type ? fmt::format("CASE WHEN num_nulls({0}) = 0 THEN concat({0}) END", value) : value,
        i + 1);
  }
  const auto added =
      db_.exec(fmt::format("WITH found AS MATERIALIZED (SELECT {0} AS m_key, {1} AS because{2} {3} FOR UPDATE OF "
                           "t{4}), made AS (INSERT INTO "
                           "{5} (m_key, m_deleted{6}) SELECT DISTINCT ON (f.m_key) f.m_key, false{6} FROM found f) "
                           "SELECT m_key, because FROM "
                           "found",
                           TableSql(table).key_text("t"), because, values, which, skip_held_ ? " SKIP LOCKED" : "",
                           stage(table).name, columns));
  MBSYNC_TRY(added);
  for (const auto& row : *added) {
    brought_in_[{table.id, row[0].c_str()}].emplace(because_tab, row[1].c_str());
  }
  return {};
}

// False if the application holds the row.
Result<bool> Repair::stage_row(const Table& table, const std::string& key, const RowKey& because) {
  const auto staged =
      db_.exec(fmt::format("SELECT EXISTS (SELECT FROM {} s WHERE s.m_key = {})", stage(table).name, db_.quote(key)));
  MBSYNC_TRY(staged);
  if ((*staged)[0][0].as<bool>()) {
    return true;
  }
  MBSYNC_TRY(bring_in(table,
                      fmt::format("FROM {} t WHERE {}", table.quoted(), TableSql(table).key_match("t", db_.quote(key))),
                      because.first, db_.quote(because.second)));
  return brought_in_.contains({table.id, key});
}

// Only what is staged without us can be left out of the next attempt: where a row was brought in, those are the ones
// that made it necessary.
void Repair::set_aside(const RowKey& row, const std::string& reason) {
  const auto causes = causes_of(ReferenceCheck::Held{row.first, row.second, reason});
  unsolved_.insert(unsolved_.end(), causes.begin(), causes.end());
}

void Repair::made(const Table& table, const std::string& key, const std::string& of) {
  brought_in_[{table.id, key}] = {{table.id, of}};
}

ReferenceCheck::Keys Repair::causes_of(const ReferenceCheck::Held& row) const {
  const RowKey own{row.tab, row.key};
  ReferenceCheck::Keys causes;
  std::set<RowKey> seen{own};
  std::vector<RowKey> open{own};
  while (!open.empty()) {
    const auto key = open.back();
    open.pop_back();
    if (const auto place = brought_in_.find(key); place != brought_in_.end()) {
      std::copy_if(place->second.begin(), place->second.end(), std::back_inserter(open),
                   [&](const RowKey& because) { return seen.insert(because).second; });
      continue;
    }
    auto cause = row;
    cause.tab = key.first;
    cause.key = key.second;
    if (!row.reason.empty() && key != own) {
      cause.reason = fmt::format("row {} of table {}: {}", row.key, schema_.find(row.tab)->display(), row.reason);
    }
    causes.push_back(std::move(cause));
  }
  return causes;
}

Result<void> Repair::note(const Table& table, const std::string& key, char op, const std::string& cols,
                          const Deletion& cause) {
  // Mended as it stands here, it would be another row than the one that waits; so what calls for it waits as well.
  const auto waits = waits_here(table, key);
  MBSYNC_TRY(waits);
  if (*waits) {
    set_aside({table.id, key}, "");
    return {};
  }
  return db_.run(fmt::format("INSERT INTO pg_temp.repaired VALUES ({}, '{}', {}, {}, {}, {}, {})", table.id, op,
                             db_.quote(key), cols.empty() ? "NULL" : db_.quote(cols),
                             cause.at == kTimeUnknown ? "NULL" : std::to_string(cause.at.micros), db_.quote(cause.node),
                             cause.counter));
}

// One row may be mended several times because of the same writes: it has two references to a row that is gone, or two
// unique values of another row. That is one conflict, with all columns concerned. Values are those before the first
// time.
void Repair::record(ConflictRecord entry) {
  const auto [place, fresh] = records_.try_emplace(entry.signature(), entry);
  if (fresh) {
    return;
  }
  auto& known = place->second;
  for (std::size_t i = 0; i < known.versions.size(); ++i) {
    known.versions[i].values.insert(entry.versions[i].values.begin(), entry.versions[i].values.end());
  }
  for (auto& column : entry.columns) {
    std::erase_if(known.columns, [&](const ConflictColumn& other) { return other.name == column.name; });
    known.columns.push_back(std::move(column));
  }
  if (!entry.existence_rule.empty()) {
    known.exists = entry.exists;
    known.existence_rule = entry.existence_rule;
    known.existence_version = entry.existence_version;
  }
  known.is_open = known.is_open || entry.is_open;
}

Result<void> Repair::store_records() {
  std::string text;
  for (const auto& [signature, entry] : records_) {
    append_copy_line(text, entry.line());
  }
  records_.clear();
  MBSYNC_TRY(db_.copy_in_begin("COPY pg_temp.new_conflict FROM STDIN"));
  MBSYNC_TRY(db_.copy_in(text));
  MBSYNC_TRY(db_.copy_in_end());
  return {};
}

Result<Json> Repair::staged_values(const Table& table, const std::string& key) {
  std::string list;
  for (std::size_t i = 0; i < table.columns.size(); ++i) {
    list += fmt::format("{}CASE WHEN num_nulls(s.v{}) = 0 THEN concat(s.v{}) END", i == 0 ? "" : ", ", i + 1, i + 1);
  }
  const auto row =
      db_.exec(fmt::format("SELECT {} FROM {} s WHERE s.m_key = {}", list, stage(table).name, db_.quote(key)));
  MBSYNC_TRY(row);
  Json values = Json::object();
  for (std::size_t i = 0; i < table.columns.size(); ++i) {
    const auto field = (*row)[0][static_cast<int>(i)];
    values[table.columns[i].name] = field.is_null() ? Json() : Json(field.c_str());
  }
  return values;
}

Result<ConflictVersion> Repair::latest_version(const Table& table, const std::string& key) {
  auto values = staged_values(table, key);
  MBSYNC_TRY(values);
  const auto write = db_.exec(
      fmt::format("SELECT c.origin, c.counter, {} FROM mbsync.change c WHERE c.tab = {} AND {} ORDER BY c.at DESC, "
                  "c.origin DESC, c.counter DESC LIMIT 1",
                  micros_of("c.at"), table.id, has_key("c", db_.quote(key))));
  MBSYNC_TRY(write);
  ConflictVersion version{"fleet", 0, kTimeUnknown, false, {}, std::move(*values)};
  if (!write->empty()) {
    version.node = to_string(NodeId{(*write)[0][0].as<std::int64_t>()});
    version.counter = (*write)[0][1].as<std::int64_t>();
    version.at = time_of((*write)[0][2]);
  }
  return version;
}

Result<std::int64_t> Repair::capture() {
  std::int64_t rows = 0;
  for (const auto& [id, entry] : staged_) {
    const TableSql sql(*entry.table);
    std::vector<std::string> image(entry.table->width - 1, "NULL");
    for (std::size_t i = 0; i < entry.table->columns.size(); ++i) {
      image[entry.table->columns[i].number - 1] = fmt::format("s.v{}", i + 1);
    }
    const auto captured = db_.exec(fmt::format(
        "INSERT INTO mbsync.capture (tab, op, key, cols, at, image) SELECT r.tab, r.op, r.key, r.cols, coalesce("
        "'epoch'::timestamptz + r.at_us * interval '1 microsecond', '-infinity'), CASE WHEN r.op = 'D' THEN "
        "ROW({})::text END FROM pg_temp.repaired r LEFT JOIN {} s ON s.m_key = r.key WHERE r.tab = {} AND (r.op = 'T' "
        "OR s.m_key IS NOT NULL)",
        fmt::join(image, ", "), entry.name, id));
    MBSYNC_TRY(captured);
    rows += static_cast<std::int64_t>(captured->affected_rows());
  }
  return rows;
}

}  // namespace mbsync
