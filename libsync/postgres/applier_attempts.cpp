// Which rows have to wait so that the others can be written (CONFLICTS.md C10, C21): an attempt is made, and made again
// without the rows that it has named. Where it names none (a trigger that raises when all is written, an index
// expression that cannot take a value, rules that go round in a circle), it is looked for them part by part.
#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <utility>
#include <vector>

#include "applier.h"
#include "copy_text.h"
#include "make_way.h"
#include "repair.h"

namespace mbsync {
namespace {

// How long rows are set aside as they are named, before it is looked for them part by part.
constexpr std::chrono::seconds kAttemptsFor{20};
// How long that may take. What has not been looked at by then waits, and is looked at when rows are settled.
constexpr std::chrono::seconds kIsolateFor{20};

}  // namespace

Result<ApplyReport> Applier::attempts(Task task) {
  MBSYNC_TRY(db_.clear_temporary_table("held"));
  MBSYNC_TRY(db_.clear_temporary_table("suspect"));
  if (task.repair) {
    MBSYNC_TRY(get_ready_to_repair(task));
  }
  const auto until = std::chrono::steady_clock::now() + kAttemptsFor;
  bool plain = false;  // an attempt without repair has shown which rows are refused by themselves
  for (;;) {
    Blocked blocked;
    auto done = attempt(task, blocked);
    if (done || (blocked.empty() && !is_refused(db_, done.error()))) {
      return done;
    }
    if (!task.repair && (blocked.empty() || blocked.refused()) && !plain) {
      // Before a row is parked, it is looked at whether a rule can make it stand.
      task.repair = true;
      MBSYNC_TRY(get_ready_to_repair(task));
      continue;
    }
    if (blocked.empty() && task.repair && !plain) {
      // The values of a row that cannot be written are perhaps none that a rule can look at.
      plain = true;
      task.repair = false;
      continue;
    }
    if (!task.repair) {
      std::erase_if(blocked.keys, [](const auto& row) { return row.by_others; });
    }
    const auto more = hold(task, blocked);
    MBSYNC_TRY(more);
    if (!*more || std::chrono::steady_clock::now() > until) {
      task.repair = true;
      MBSYNC_TRY(get_ready_to_repair(task));
      return isolate(task, done.error());
    }
    task.repair = task.repair || plain;
  }
}

Result<void> Applier::get_ready_to_repair(const Task& task) {
  MBSYNC_TRY(add_stages(db_, schema_, task.staged));
  return role_.replica ? Result<void>() : prepare_make_way(db_);
}

// How many of the rows that have to wait are rows of this answer: what else is held changes nothing.
Result<std::int64_t> Applier::count_held(const Task& task) {
  std::int64_t count = 0;
  for (const auto& [id, staged] : task.staged) {
    const auto rows =
        db_.exec(fmt::format("SELECT count(*) FROM {} s WHERE EXISTS (SELECT FROM pg_temp.held h WHERE h.tab = {} AND "
                             "h.key = s.m_key)",
                             staged.name, id));
    MBSYNC_TRY(rows);
    count += (*rows)[0][0].as<std::int64_t>();
  }
  return count;
}

// For the next attempt; the staging tables are as they were before the last one. Whether that will be another one.
Result<bool> Applier::hold(Task& task, Blocked& blocked) {
  const auto before = count_held(task);
  MBSYNC_TRY(before);
  std::string lines;
  for (const auto& row : blocked.keys) {
    append_copy_line(lines, {std::to_string(row.tab), row.key, row.reason.empty() ? Value() : Value(row.reason)});
  }
  MBSYNC_TRY(db_.copy_in_begin("COPY pg_temp.held FROM STDIN"));
  MBSYNC_TRY(db_.copy_in(lines));
  MBSYNC_TRY(db_.copy_in_end());
  for (const auto& range : blocked.ranges) {
    MBSYNC_TRY(db_.exec(fmt::format("INSERT INTO pg_temp.held (tab, key) SELECT {}, m_key FROM {} WHERE m_key >= {}{}",
                                    range.tab, task.staged.at(range.tab).name, db_.quote(range.from),
                                    range.to ? fmt::format(" AND m_key < {}", db_.quote(*range.to)) : "")));
  }
  const auto after = count_held(task);
  MBSYNC_TRY(after);
  if (*after > *before) {
    std::move(blocked.clashes.begin(), blocked.clashes.end(), std::back_inserter(task.clashes));
  }
  return *after > *before;
}

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
      auto error = done.error();
      error.kind = ErrorKind::kConflict;
      return error;
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
