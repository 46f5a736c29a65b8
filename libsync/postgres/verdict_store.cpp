#include "verdict_store.h"

#include <fmt/format.h>

namespace mbsync {
namespace {

// Members that are waited for, but this one.
constexpr const char* kMembers =
    "mbsync.node n WHERE NOT n.is_self AND NOT n.former AND NOT EXISTS (SELECT FROM mbsync.membership m WHERE m.node = "
    "n.id AND (m.away AND n.agreed OR m.banned))";

std::string iso(std::string_view column) {
  return fmt::format("to_char({} AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"')", column);
}

}  // namespace

Result<void> store_verdicts(PgConnection& db, const VerifyNote& note) {
  MBSYNC_TRY(db.begin(PgConnection::Isolation::kReadCommitted));
  if (note.complete) {
    MBSYNC_TRY(db.exec(fmt::format("DELETE FROM mbsync.verified_table WHERE peer = {}", note.peer.id.value)));
    MBSYNC_TRY(
        db.exec(fmt::format("INSERT INTO mbsync.verification VALUES ({}, now()) ON CONFLICT (peer) DO UPDATE SET "
                            "finished_at = excluded.finished_at",
                            note.peer.id.value)));
  }
  for (const auto& table : note.tables) {
    MBSYNC_TRY(db.exec(
        fmt::format("INSERT INTO mbsync.verified_table (peer, table_name, state, why, rows, changing, waiting, "
                    "differences) VALUES ({}, $1, $2, $3, {}, {}, {}, $4::jsonb) ON CONFLICT (peer, table_name) DO "
                    "UPDATE SET state = excluded.state, why = excluded.why, rows = excluded.rows, changing = "
                    "excluded.changing, waiting = excluded.waiting, differences = excluded.differences, at = "
                    "excluded.at",
                    note.peer.id.value, table.rows, table.changing, table.waiting),
        {table.table, table.state, table.why, table.differences}));
  }
  return db.commit();
}

Result<std::vector<VerifyNote>> read_verdicts(PgConnection& db, bool with_rows) {
  const auto rows = db.exec(fmt::format(
      "SELECT n.id, n.name, {}, greatest(extract(epoch FROM now() - v.finished_at), 0)::float8, t.table_name, t.state, "
      "t.why, t.rows, t.changing, t.waiting, {}, jsonb_array_length(t.differences), {} FROM {} AND (v.peer IS NOT NULL "
      "OR t.peer IS NOT NULL) ORDER BY n.name, n.id, t.table_name",
      iso("v.finished_at"), with_rows ? "t.differences::text" : "'[]'", iso("t.at"),
      "mbsync.node n LEFT JOIN mbsync.verification v ON v.peer = n.id LEFT JOIN mbsync.verified_table t ON t.peer = "
      "n.id WHERE n.id IN (SELECT n.id FROM " +
          std::string(kMembers) + ")"));
  MBSYNC_TRY(rows);
  std::vector<VerifyNote> notes;
  for (const auto& row : *rows) {
    const NodeId id{row[0].as<std::int64_t>()};
    if (notes.empty() || notes.back().peer.id != id) {
      notes.push_back({Member{id, row[1].c_str()}, false, row[2].is_null() ? "" : row[2].c_str(),
                       row[3].is_null() ? 0 : row[3].as<double>()});
    }
    if (!row[4].is_null()) {
      notes.back().tables.push_back({row[4].c_str(), row[5].c_str(), row[6].c_str(), row[7].as<std::int64_t>(),
                                     row[8].as<std::int64_t>(), row[9].as<std::int64_t>(), row[10].c_str(),
                                     row[11].as<std::int64_t>(), row[12].c_str()});
    }
  }
  return notes;
}

Result<std::vector<Member>> read_other_members(PgConnection& db) {
  const auto rows = db.exec(fmt::format("SELECT n.id, n.name FROM {} ORDER BY n.name, n.id", kMembers));
  MBSYNC_TRY(rows);
  std::vector<Member> members;
  for (const auto& row : *rows) {
    members.push_back({NodeId{row[0].as<std::int64_t>()}, row[1].c_str()});
  }
  return members;
}

}  // namespace mbsync
