#include "forget.h"

#include <fmt/format.h>

#include "change_sql.h"
#include "merge_rows.h"
#include "stability.h"
#include "version_store.h"

namespace mbsync {

Result<std::int64_t> forget(PgConnection& db, NodeId self, const std::vector<VersionVector>& floors) {
  MBSYNC_TRY(db.begin(PgConnection::Isolation::kReadCommitted));
  const auto run = [&]() -> Result<std::int64_t> {
    const auto versions = read_versions(db);
    MBSYNC_TRY(versions);
    const auto fleet = read_fleet(db);
    MBSYNC_TRY(fleet);
    const auto& membership = fleet->membership;
    if (membership.away.contains(self)) {
      return 0;  // the others go on without this node, and it needs what they may lack to come back
    }
    auto stable = common(stable_vector(self, versions->seen, membership.members, fleet->reports, membership.gone),
                         versions->report);
    for (const auto& floor : floors) {
      stable = common(stable, floor);
    }
    if (stable.empty()) {
      return 0;
    }
    // One look at the index tells whether there is anything; the anti-join is for when there is.
    const auto any =
        db.exec(fmt::format("SELECT EXISTS (SELECT FROM mbsync.change c WHERE {})", covered_by(stable, "c", "")));
    MBSYNC_TRY(any);
    if (!(*any)[0][0].as<bool>()) {
      return 0;
    }
    const auto removed =
        db.exec(fmt::format("DELETE FROM mbsync.change c WHERE {} AND NOT EXISTS (SELECT FROM mbsync.change d WHERE "
                            "d.tab = c.tab AND {} AND NOT {})",
                            covered_by(stable, "c", ""), has_key("d", "c.key"), covered_by(stable, "d", "")));
    MBSYNC_TRY(removed);
    MBSYNC_TRY(raise_forgotten(db, stable));
    return static_cast<std::int64_t>(removed->affected_rows());
  };
  auto removed = run();
  if (!removed) {
    db.rollback();
    return removed.error().in("forgetting");
  }
  MBSYNC_TRY(db.commit());
  return removed;
}

}  // namespace mbsync
