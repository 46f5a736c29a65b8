#include "row_state.h"

#include <algorithm>
#include <utility>

#include "check.h"

namespace mbsync {

namespace {

bool by_dot(const Write& a, const Write& b) {
  return a.dot < b.dot;
}

void restrict_to(Write& write, const ColumnSet& columns) {
  write.columns = write.columns.intersect(columns);
  std::erase_if(write.values, [&write](const auto& entry) {
    return entry.first == kRowMark || !write.columns.contains(entry.first);
  });
}

/// Adds a write of one side only, unless the other side has seen it: then it was overwritten there.
void take_unseen(RowState& result, const Write& write, const VersionVector& other_seen) {
  if (!other_seen.covers(write.dot)) {
    result.writes.push_back(write);
  }
}

}  // namespace

void RowState::normalise() {
  for (Write& write : writes) {
    restrict_to(write, write.columns);
  }
  std::erase_if(writes, [](const Write& write) { return write.columns.empty(); });
  std::stable_sort(writes.begin(), writes.end(), by_dot);
  const auto same_dot = [](const Write& a, const Write& b) { return a.dot == b.dot; };
  writes.erase(std::unique(writes.begin(), writes.end(), same_dot), writes.end());
}

const Write* RowState::find(const Dot& dot) const {
  const auto found =
      std::find_if(writes.begin(), writes.end(), [&dot](const Write& write) { return write.dot == dot; });
  return found == writes.end() ? nullptr : &*found;
}

RowState join(const RowState& mine, const VersionVector& mine_seen, const RowState& theirs,
              const VersionVector& theirs_seen) {
  RowState result;
  auto m = mine.writes.begin();
  auto t = theirs.writes.begin();
  while (m != mine.writes.end() || t != theirs.writes.end()) {
    if (t == theirs.writes.end() || (m != mine.writes.end() && m->dot < t->dot)) {
      take_unseen(result, *m++, theirs_seen);
    } else if (m == mine.writes.end() || t->dot < m->dot) {
      take_unseen(result, *t++, mine_seen);
    } else {
      Write both = *m++;
      restrict_to(both, (t++)->columns);
      if (!both.columns.empty()) {
        result.writes.push_back(std::move(both));
      }
    }
  }
  return result;
}

void overwrite(RowState& state, Write write) {
  MBSYNC_CHECK(state.find(write.dot) == nullptr, "a row was given two writes of one dot");
  for (Write& older : state.writes) {
    restrict_to(older, older.columns.minus(write.columns));
  }
  std::erase_if(state.writes, [](const Write& older) { return older.columns.empty(); });
  if (!write.columns.empty()) {
    state.writes.insert(std::upper_bound(state.writes.begin(), state.writes.end(), write, by_dot), std::move(write));
  }
}

}  // namespace mbsync
