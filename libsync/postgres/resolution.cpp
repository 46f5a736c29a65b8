#include "resolution.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <thread>

#include "conflict_reader.h"
#include "connection.h"
#include "deciding.h"
#include "migrate.h"
#include "schema.h"
#include "table_sql.h"

namespace mbsync {
namespace {

using Json = nlohmann::json;

// A row that an application transaction holds is waited for no longer than this, since a person waits as well.
constexpr const char* kLimits = "SET LOCAL lock_timeout = '5s'";
constexpr int kTries = 5;  // after a deadlock
constexpr std::chrono::milliseconds kTryAgainAfter{20};
// How long the catalog's facts are taken for granted: many conflicts are decided with one look, and a column that comes
// while a person thinks is not missed.
constexpr std::chrono::seconds kSchemaGoodFor{10};

Json json_of(const Value& value) {
  return value ? Json(*value) : Json();
}

}  // namespace

std::vector<const Json*> ConflictSummary::decisions() const {
  std::vector<const Json*> latest_first;
  for (const auto* step = &resolution; step->is_object();) {
    latest_first.push_back(step);
    const auto before = step->find("previous");
    if (before == step->end()) {
      break;
    }
    step = &*before;
  }
  return {latest_first.rbegin(), latest_first.rend()};
}

std::string_view to_string(ConflictState state) {
  switch (state) {
    case ConflictState::kOpen:
      return "open";
    case ConflictState::kDecided:
      return "decided";
    case ConflictState::kResolved:
      return "resolved";
  }
  return "decided";
}

std::string_view to_string(Decision::How how) {
  switch (how) {
    case Decision::How::kAccept:
      return "accept";
    case Decision::How::kKeep:
      return "keep";
    case Decision::How::kSet:
      return "set";
    case Decision::How::kUndo:
      return "undo";
  }
  return "accept";
}

const ConflictVersionSeen* Conflict::find(int version) const {
  const auto place = std::find_if(versions.begin(), versions.end(),
                                  [&](const auto& candidate) { return candidate.version == version; });
  return place == versions.end() ? nullptr : &*place;
}

struct ConflictDesk::Impl {
  explicit Impl(std::unique_ptr<PgConnection> session) : connection(std::move(session)), db(*connection) {}

  std::unique_ptr<PgConnection> connection;
  PgConnection& db;
  std::optional<Schema> schema;
  std::chrono::steady_clock::time_point schema_read;

  // Looks again if the table is not known, for it may have come since.
  Result<const Table*> table_of(const ConflictSummary& summary) {
    for (const bool fresh : {false, true}) {
      const auto now = std::chrono::steady_clock::now();
      if (fresh || !schema || now - schema_read > kSchemaGoodFor) {
        auto read = read_schema(db);
        MBSYNC_TRY(read);
        schema = std::move(*read);
        schema_read = now;
      }
      if (const auto* table = schema->find(summary.schema, summary.table); table != nullptr) {
        return table;
      }
    }
    const auto refused = std::find_if(schema->refused.begin(), schema->refused.end(), [&](const auto& candidate) {
      return candidate.schema == summary.schema && candidate.name == summary.table;
    });
    if (refused != schema->refused.end()) {
      return Error{
          ErrorKind::kRejected,
          fmt::format("table {}.{} is not synchronised: it {}", summary.schema, summary.table, refused->reason),
          "write the row with an ordinary UPDATE, and close the conflict with 'mbsync resolve accept'"};
    }
    return Error{ErrorKind::kRejected, fmt::format("there is no table {}.{} any more", summary.schema, summary.table),
                 "close the conflict with 'mbsync resolve accept'"};
  }

  Result<RowNow> read_row(const Table& table, const std::string& key, bool lock) {
    const TableSql sql(table);
    const auto rows = db.exec(fmt::format("SELECT {} FROM {} t WHERE {}{}", sql.columns("t"), table.quoted(),
                                          sql.key_match("t", db.quote(key)), lock ? " FOR UPDATE OF t" : ""));
    if (!rows) {
      if (lock && rows.error().message.find("lock timeout") != std::string::npos) {
        return Error{ErrorKind::kTransient,
                     fmt::format("the row {} of {} is held by another transaction", key, table.display()),
                     "try again when it has ended"};
      }
      return rows.error().in(fmt::format("the row {} of {}", key, table.display()));
    }
    RowNow now;
    now.exists = !rows->empty();
    if (now.exists) {
      for (std::size_t i = 0; i < table.columns.size(); ++i) {
        const auto field = (*rows)[0][static_cast<pqxx::row::size_type>(i)];
        now.values.emplace_back(table.columns[i].name, field.is_null() ? Value() : Value(field.c_str()));
      }
    }
    return now;
  }

  Result<DecisionReport> attempt(const std::string& id, const Decision& decision);
};

namespace {

std::string described(const Json& resolution) {
  return fmt::format("{} by {} on {} at {}", text_of(resolution, "how"), text_of(resolution, "user"),
                     text_of(resolution, "by"), text_of(resolution, "at"));
}

// Lines of the row that the line $1 makes superfluous.
constexpr const char* kNarrower =
    "r.schema_name = c.schema_name AND r.table_name = c.table_name AND hashtextextended(r.key, 0) = "
    "hashtextextended(c.key, 0) AND r.key = c.key AND r.kind = c.kind AND r.id <> c.id AND r.dots <@ c.dots AND "
    "c.id = $1::uuid";

Result<void> close(PgConnection& db, const Conflict& conflict, const DecisionReport& report,
                   std::optional<int> version) {
  const auto now = db.exec(fmt::format("SELECT (SELECT n.name FROM mbsync.node n WHERE n.is_self), {}, session_user",
                                       iso_sql("clock_timestamp()")));
  MBSYNC_TRY(now);
  const auto& summary = conflict.summary;
  Json changed = Json::object();
  for (const auto& change : report.changed) {
    changed[change.column] = {{"from", json_of(change.from)}, {"to", json_of(change.to)}};
  }
  const auto& row = (*now)[0];
  const Json made{{"by", row[0].is_null() ? Json() : Json(row[0].c_str())},
                  {"at", row[1].c_str()},
                  {"user", row[2].c_str()},
                  {"was_open", summary.state == ConflictState::kOpen}};
  auto main = made;
  main["how"] = report.how;
  main["row"] = report.row;
  main["changed"] = std::move(changed);
  if (version) {
    main["version"] = *version;
  }
  if (summary.state == ConflictState::kResolved) {
    main["previous"] = summary.resolution;
  }
  MBSYNC_TRY(db.exec("UPDATE mbsync.conflict_record SET is_open = false, resolution = $2::jsonb WHERE id = $1::uuid",
                     {summary.id, main.dump()}));
  auto with = made;
  with["how"] = "with";
  with["conflict"] = summary.id;
  MBSYNC_TRY(db.exec(fmt::format("UPDATE mbsync.conflict_record r SET is_open = false, resolution = $2::jsonb || CASE "
                                 "WHEN r.resolution IS NULL THEN '{{}}' ELSE jsonb_build_object('previous', "
                                 "r.resolution) END FROM mbsync.conflict_record c WHERE {} AND r.is_open",
                                 kNarrower),
                     {summary.id, with.dump()}));
  return {};
}

Result<void> reopen(PgConnection& db, const Conflict& conflict) {
  const auto& last = conflict.summary.resolution;
  const auto open = last.find("was_open");
  const auto previous = last.find("previous");
  MBSYNC_TRY(
      db.exec("UPDATE mbsync.conflict_record SET is_open = $2::boolean, resolution = $3::jsonb WHERE id = $1::uuid",
              {conflict.summary.id, std::string(open != last.end() && *open == Json(true) ? "t" : "f"),
               previous == last.end() ? Value() : Value(previous->dump())}));
  MBSYNC_TRY(db.exec(fmt::format("UPDATE mbsync.conflict_record r SET is_open = coalesce((r.resolution ->> "
                                 "'was_open')::boolean, false), resolution = r.resolution -> 'previous' FROM "
                                 "mbsync.conflict_record c WHERE {} AND r.resolution ->> 'how' = 'with' AND "
                                 "r.resolution ->> 'conflict' = $1::uuid::text",
                                 kNarrower),
                     {conflict.summary.id}));
  return {};
}

}  // namespace

Result<DecisionReport> ConflictDesk::Impl::attempt(const std::string& id, const Decision& decision) {
  MBSYNC_TRY(db.begin(PgConnection::Isolation::kReadCommitted));
  MBSYNC_TRY(db.exec(kLimits));
  const auto conflict = read_conflict(db, id, true);
  MBSYNC_TRY(conflict);
  const auto& summary = conflict->summary;
  const bool resolved = summary.state == ConflictState::kResolved;
  const bool undo = decision.how == Decision::How::kUndo;
  if (decision.stamp && *decision.stamp != summary.stamp()) {
    return Error{ErrorKind::kRejected,
                 fmt::format("conflict {} has meanwhile been {}", id,
                             resolved ? "resolved: " + described(summary.resolution) : std::string("opened again")),
                 fmt::format("look at it with 'mbsync resolve show {}'", id)};
  }
  if (undo && !resolved) {
    return Error{ErrorKind::kRejected, fmt::format("nobody has resolved conflict {}, so nothing can be undone", id),
                 fmt::format("'mbsync resolve show {}' shows how it was decided", id)};
  }
  if (resolved && !undo && !decision.force) {
    return Error{ErrorKind::kRejected,
                 fmt::format("conflict {} has been resolved already: {}", id, described(summary.resolution)),
                 fmt::format("undo that first with 'mbsync resolve undo {}'; --force decides anew", id)};
  }

  const Table* table = nullptr;
  RowNow row;
  const bool closes_only = decision.how == Decision::How::kAccept || (undo && changes_of(summary.resolution).empty());
  const auto found = table_of(summary);
  if (!found && !closes_only) {
    return found.error();
  }
  if (found) {
    table = *found;
    auto read = read_row(*table, summary.key, !closes_only);
    MBSYNC_TRY(read);
    row = std::move(*read);
  }
  Deciding deciding(db, *conflict, decision, table, std::move(row));
  MBSYNC_TRY(deciding.write());
  if (deciding.wrote()) {
    const auto after = read_row(*table, summary.key, false);
    MBSYNC_TRY(after);
    deciding.compare(*after);
    if (deciding.report().changed.empty()) {
      return Error{
          ErrorKind::kRejected,
          fmt::format("the row {} of {} is as it was: the write had no effect", summary.key, table->display()),
          "a trigger of the table takes it back; write the row in the way that the application does, and close "
          "the conflict with 'mbsync resolve accept'"};
    }
  }
  MBSYNC_TRY(undo ? reopen(db, *conflict) : close(db, *conflict, deciding.report(), deciding.version()));
  MBSYNC_TRY(db.commit());
  return deciding.report();
}

ConflictDesk::ConflictDesk(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
ConflictDesk::~ConflictDesk() = default;

Result<std::unique_ptr<ConflictDesk>> ConflictDesk::open(const DatabaseUrl& url, const std::function<bool()>& stop) {
  auto session = open_node_database(url, "resolve", stop);
  MBSYNC_TRY(session);
  return std::unique_ptr<ConflictDesk>(new ConflictDesk(std::make_unique<Impl>(std::move(*session))));
}

Result<ConflictList> ConflictDesk::list(const ConflictFilter& filter) {
  return read_conflicts(impl_->db, filter);
}

Result<std::string> ConflictDesk::find(const std::string& beginning) {
  return find_conflict(impl_->db, beginning);
}

Result<ConflictDetails> ConflictDesk::show(const std::string& id) {
  auto& db = impl_->db;
  MBSYNC_TRY(db.begin(PgConnection::Isolation::kRepeatableRead));
  const auto run = [&]() -> Result<ConflictDetails> {
    ConflictDetails details;
    auto conflict = read_conflict(db, id, false);
    MBSYNC_TRY(conflict);
    details.conflict = std::move(*conflict);
    auto writes = read_later_writes(db, details.conflict);
    MBSYNC_TRY(writes);
    details.writes = std::move(*writes);
    auto later = read_later_conflicts(db, details.conflict);
    MBSYNC_TRY(later);
    details.conflicts = std::move(*later);
    // Last, since a key that does not fit the table any more ends the transaction.
    const auto table = impl_->table_of(details.conflict.summary);
    if (!table) {
      if (db.broken()) {
        return table.error();
      }
      details.row.unreadable = table.error().message;
      return details;
    }
    auto row = impl_->read_row(**table, details.conflict.summary.key, false);
    if (!row) {
      if (db.broken()) {
        return row.error();
      }
      details.row.unreadable = row.error().message;
      return details;
    }
    details.row = std::move(*row);
    return details;
  };
  auto details = run();
  db.rollback();
  return details;
}

Result<DecisionReport> ConflictDesk::decide(const std::string& id, const Decision& decision) {
  for (int tries = 1;; ++tries) {
    auto report = impl_->attempt(id, decision);
    if (report) {
      return report;
    }
    impl_->db.rollback();
    const auto& error = report.error();
    // A table that was migrated since it was looked at.
    if (error.kind == ErrorKind::kRejected && error.message.find("[42") != std::string::npos && tries == 1) {
      impl_->schema.reset();
      continue;
    }
    const bool deadlock = error.kind == ErrorKind::kTransient &&
                          error.message.find("lock timeout") == std::string::npos &&
                          error.message.find("is held by") == std::string::npos;
    if (!deadlock || impl_->db.broken() || tries >= kTries) {
      return error;
    }
    std::this_thread::sleep_for(kTryAgainAfter * tries);
  }
}

void ConflictDesk::interrupt(bool cut) {
  const auto stopper = impl_->db.stopper();
  stopper->give_up();
  if (cut) {
    stopper->cut();
  }
}

}  // namespace mbsync
