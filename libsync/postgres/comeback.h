// How a node of whom the fleet has agreed that it is away comes back: as another, with what nobody else has of its
// writes (CONFLICTS.md C22). In the transaction that applies the full answer of whom it joins.
#pragma once

#include <optional>
#include <set>
#include <string>

#include "message.h"
#include "staged_table.h"
#include "version_store.h"

namespace mbsync {

/// Who this node will be, drawn once and kept until it is.
Result<Member> next_self(PgConnection& db, const Member& self);

/// Rows and writes here that the fleet has none of come to the staged ones, as rows that are to go. Whether they do is
/// for the judge to say.
Result<void> stage_what_they_lack(PgConnection& db, StagedTable& staged);

/// The database's node is `next` from now on. Of the writes of `outside`, those that `theirs` does not cover become its
/// own; but who is away, the fleet says. Why not, if rows wait here for which that cannot be done; else nothing.
Result<std::optional<std::string>> become(PgConnection& db, const Member& next, const std::set<NodeId>& outside,
                                          const VersionVector& theirs);

}  // namespace mbsync
