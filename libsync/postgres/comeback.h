// How a node of whom the fleet has agreed that it is away comes back: as another, with what nobody else has of its
// writes (CONFLICTS.md C22). In the transaction that applies the full answer of whom it joins.
#pragma once

#include <optional>
#include <set>
#include <string>
#include <vector>

#include "message.h"
#include "staged_table.h"
#include "version_store.h"

namespace mbsync {

/// Who this node will be, drawn once and kept until it is.
Result<Member> next_self(PgConnection& db, const Member& self);

/// Rows and writes here that the fleet has none of come to the staged ones, as rows that are to go. Whether they do is
/// for the judge to say.
Result<void> stage_what_they_lack(PgConnection& db, StagedTable& staged);

struct Comeback {
  std::optional<std::string> obstacle;  ///< why not: rows wait here for which it cannot be done
  VersionVector brought;  ///< up to where it has brought along what is not the fleet's, for note_comeback()
};
/// The database's node is `next` from now on. Of the writes of `outside`, those that `theirs` does not cover become its
/// own. But who is away, the fleet says; and what `taken` covers, somebody else who came back has brought along
/// already.
Result<Comeback> become(PgConnection& db, const Member& next, const std::set<NodeId>& outside,
                        const VersionVector& theirs, const VersionVector& taken);

/// After that, and once the members that the answer tells of are known: what the fleet has agreed upon holds here from
/// the start. Who has joined by this node may still have writes of who it was, and they are not to come in under that
/// name.
Result<void> agree_as_told(PgConnection& db, const std::vector<NodeId>& outside);

}  // namespace mbsync
