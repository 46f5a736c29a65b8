// Rows that the database refuses, or that only a person can part from others (CONFLICTS.md C19, C21): why, since when,
// and when they are tried again.
#include <fmt/format.h>

#include <algorithm>

#include "applier.h"
#include "change_sql.h"
#include "copy_text.h"

namespace mbsync {
namespace {

// How many parked rows a report names.
constexpr int kParkedNamed = 5;
// A row that the database refuses is tried again after a second, then after twice as long each time, up to this.
constexpr int kParkedRetrySeconds = 300;
// How many of them are tried at once because there is news of their table: more would hold up the pull that comes next.
constexpr int kTriedOnNewsMax = 100;

}  // namespace

// Keeps in mind why rows are refused, and when to try them again.
Result<void> Applier::note_parked(ApplyReport& report) {
  const auto any = db_.exec("SELECT EXISTS (SELECT FROM pg_temp.held WHERE reason IS NOT NULL)");
  MBSYNC_TRY(any);
  if (!(*any)[0][0].as<bool>()) {
    return {};
  }
  const auto parked = db_.exec(fmt::format(
      "WITH gone AS (DELETE FROM mbsync.parked p USING pg_temp.held h WHERE h.reason IS NOT NULL AND p.tab = "
      "h.tab AND {0} RETURNING p.tab, p.key, p.since, p.tries, p.reason) "
      "INSERT INTO mbsync.parked (tab, key, reason, since, tries, next_try) "
      "SELECT DISTINCT ON (h.tab, h.key) h.tab, h.key, h.reason, coalesce(g.since, now()), coalesce(g.tries, "
      "0) + 1, now() + least({1}, 2 ^ least(coalesce(g.tries, 0), 20)) * interval '1 second' "
      "FROM pg_temp.held h LEFT JOIN gone g ON g.tab = h.tab AND g.key = h.key WHERE h.reason IS NOT NULL "
      "RETURNING tab, key, reason, tries",
      has_key("p", "h.key"), kParkedRetrySeconds));
  MBSYNC_TRY(parked);
  for (const auto& row : *parked) {
    const auto* table = schema_.find(row[0].as<int>());
    if (static_cast<int>(report.parked.size()) < kParkedNamed && row[3].as<int>() == 1 && table != nullptr) {
      report.parked.push_back({table->display(), row[1].c_str(), row[2].c_str()});
    }
  }
  return {};
}

// What a person has to decide (CONFLICTS.md C19).
Result<void> Applier::note_clashes(const Task& task) {
  if (task.clashes.empty()) {
    return {};
  }
  std::string lines;
  std::vector<std::string> signatures;
  for (const auto& entry : task.clashes) {
    append_copy_line(lines, entry.line());
    signatures.push_back(db_.quote(entry.signature()));
  }
  MBSYNC_TRY(db_.copy_in_begin("COPY pg_temp.new_conflict FROM STDIN"));
  MBSYNC_TRY(db_.copy_in(lines));
  MBSYNC_TRY(db_.copy_in_end());
  // A later write of one of the two would make another conflict of what a person has to decide once; nor does it matter
  // which of them comes second by now.
  const std::string winner = "n.versions::jsonb -> 0 ->> 'key'";
  return db_.run(fmt::format(
      "DELETE FROM pg_temp.new_conflict n USING mbsync.conflict_record r WHERE n.signature IN ({0}) AND r.is_open AND "
      "r.kind = n.kind AND r.schema_name = n.schema_name AND r.table_name = n.table_name AND r.columns = n.columns AND "
      "hashtextextended(r.key, 0) IN (hashtextextended(n.key, 0), hashtextextended({1}, 0)) AND (r.key, r.versions -> "
      "0 ->> 'key') IN ((n.key, {1}), ({1}, n.key))",
      fmt::join(signatures, ", "), winner));
}

// Those that have been written are parked no more. The others are tried again as soon as there is news of their table,
// or of one that it refers to.
Result<void> Applier::look_after_parked(const Task& task, ApplyReport& report) {
  const auto any = db_.exec_cached("SELECT EXISTS (SELECT FROM mbsync.parked)");
  MBSYNC_TRY(any);
  if (!(*any)[0][0].as<bool>()) {
    return {};
  }
  MBSYNC_TRY(
      db_.exec("DELETE FROM mbsync.parked p WHERE NOT EXISTS (SELECT FROM mbsync.change c WHERE c.unseen AND c.tab "
               "= p.tab AND " +
               has_key("c", "p.key") + ")"));
  if (task.settling) {
    return {};
  }
  const auto has_news = [&](const Table& table) {
    const auto place = task.staged.find(table.id);
    return place != task.staged.end() && place->second.rows > 0;
  };
  std::string tabs;
  for (const auto& table : schema_.tables) {
    const bool concerned =
        has_news(table) ||
        std::any_of(table.foreign_keys.begin(), table.foreign_keys.end(), [&](const ForeignKey& reference) {
          const auto* parent = schema_.find(reference.schema, reference.table);
          return parent != nullptr && has_news(*parent);
        });
    tabs += concerned && !table.internal ? fmt::format("{}{}", tabs.empty() ? "" : ", ", table.id) : "";
  }
  if (tabs.empty()) {
    return {};
  }
  const auto due = db_.exec(fmt::format(
      "UPDATE mbsync.parked SET next_try = now() WHERE ctid = ANY (ARRAY (SELECT p.ctid FROM mbsync.parked p WHERE "
      "p.tab IN ({}){} ORDER BY p.tries LIMIT {}))",
      tabs,
      task.skip_held ? fmt::format(" AND NOT EXISTS (SELECT FROM pg_temp.held h WHERE h.tab = p.tab AND {})",
                                   has_key("p", "h.key"))
                     : "",
      kTriedOnNewsMax));
  MBSYNC_TRY(due);
  report.may_settle = due->affected_rows() > 0;
  return {};
}

}  // namespace mbsync
