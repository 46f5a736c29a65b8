// When an answer cannot be applied and nothing tells which row it is: a trigger that raises when all is written, an
// index expression that cannot take a value, rules that go round in a circle. Whatever it is, it must not hold up the
// other rows (CONFLICTS.md C21).
#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <utility>
#include <vector>

#include "applier.h"

namespace mbsync {
namespace {

// How long it is looked for such rows. What has not been looked at by then waits, and is looked at when rows are
// settled.
constexpr std::chrono::seconds kIsolateFor{20};

}  // namespace

Result<void> Applier::list_suspects(const Task& task, std::int64_t& count) {
  MBSYNC_TRY(db_.clear_temporary_table("suspect"));
  for (const auto* staged : parents_first(task.staged)) {
    const auto listed = db_.exec(fmt::format(
        "INSERT INTO pg_temp.suspect (place, tab, key, waits) SELECT {} + row_number() OVER (ORDER BY m_key) - 1, {}, "
        "m_key, true FROM {} s WHERE NOT EXISTS (SELECT FROM pg_temp.held h WHERE h.tab = {} AND h.key = s.m_key)",
        count, staged->table->id, staged->name, staged->table->id));
    MBSYNC_TRY(listed);
    count += static_cast<std::int64_t>(listed->affected_rows());
  }
  return {};
}

// One attempt, and another as long as each shows rows that have to wait.
Result<ApplyReport> Applier::attempt_to_the_end(Task& task) {
  for (;;) {
    Blocked blocked;
    auto done = attempt(task, blocked);
    if (done || blocked.empty()) {
      return done;
    }
    const auto more = hold(task, blocked);
    MBSYNC_TRY(more);
    if (!*more) {
      return Error{ErrorKind::kConflict, done.error().message, done.error().hint};
    }
  }
}

// All rows wait at first, then they are admitted: half of them, if that fails a quarter, and so on, beside those that
// have been admitted before. A single one with which it fails is refused for that reason.
Result<ApplyReport> Applier::isolate(Task task, const Error& failure) {
  const auto deadline = std::chrono::steady_clock::now() + kIsolateFor;
  std::int64_t count = 0;
  MBSYNC_TRY(list_suspects(task, count));
  task.trial = true;
  if (const auto none = attempt_to_the_end(task); !none) {
    return failure;  // no row is to blame
  }
  const auto let_wait = [&](std::int64_t from, std::int64_t rows, bool waits) -> Result<void> {
    return db_.run(fmt::format("UPDATE pg_temp.suspect SET waits = {} WHERE place >= {} AND place < {}", waits, from,
                               from + rows));
  };
  bool any = false;  // something has come of it
  std::vector<std::pair<std::int64_t, std::int64_t>> ranges{{0, count}};
  while (!ranges.empty() && (!any || std::chrono::steady_clock::now() < deadline)) {
    const auto [from, rows] = ranges.back();
    ranges.pop_back();
    if (rows == 0) {
      continue;
    }
    MBSYNC_TRY(let_wait(from, rows, false));
    auto tried = attempt_to_the_end(task);
    if (tried) {
      any = true;
      continue;
    }
    if (!is_refused(db_, tried.error())) {
      return tried;
    }
    MBSYNC_TRY(let_wait(from, rows, true));
    if (rows > 1) {
      ranges.emplace_back(from + rows / 2, rows - rows / 2);
      ranges.emplace_back(from, rows / 2);
      continue;
    }
    any = true;
    MBSYNC_TRY(
        db_.exec(fmt::format("INSERT INTO pg_temp.held (tab, key, reason) SELECT tab, key, {} FROM "
                             "pg_temp.suspect WHERE place = {}",
                             db_.quote(tried.error().message), from)));
  }
  task.trial = false;
  return attempt_to_the_end(task);
}

}  // namespace mbsync
