// Who is away, as it is said and agreed in the database (CONFLICTS.md C22). In the caller's transaction, under the
// engine's lock; one thread.
#pragma once

#include <optional>
#include <string>

#include "message.h"
#include "pg_store.h"
#include "schema.h"
#include "version_store.h"

namespace mbsync {

/// What is said of a member.
struct MembershipWord {
  bool away = false;
  bool banned = false;
  std::string reason;   ///< for people
  std::string said_by;  ///< the node's name
};

/// Writes it, as if the application had; to be sealed. `not_found`: this database is no node yet.
Result<void> say_of_member(PgConnection& db, NodeId member, const MembershipWord& word);

/// Says that a member is away, and lets this node report nothing new until all others have heard it. The caller has
/// looked whether that may be said (may_be_away()).
Result<void> declare_away(PgConnection& db, NodeId member, const MembershipWord& word);

/// After whatever this node has learnt of others: agrees to what all of them have heard, takes back what was said here
/// of a member that turns out to be there, and seals. Returns the fleet as it is then; nothing if nobody has ever been
/// said to be away, which costs one short statement.
Result<std::optional<Fleet>> look_after_membership(PgConnection& db, const Schema& schema, const Member& self);

/// How a node that asks is answered.
struct Welcome {
  Standing standing = Standing::kMember;
  bool alone = false;                ///< this node takes all others for away
  std::vector<NodeId> outside = {};  ///< PullHeader::outside
  /// Why a member is not answered: it has writes of one whom the fleet does not wait for any more, and too few others
  /// would stay without it.
  std::optional<Error> refusal = {};
};

/// Decides on it, and puts its wish to be taken back on record where it is away and not all have heard that. The
/// asker's reports have been noted already. Whatever comes of it, what was learnt from the asker is to be kept.
Result<Welcome> welcome(PgConnection& db, const Schema& schema, const Member& self, const PullRequest& request);

/// In words, of somebody who has `told` (brings_somebody_back()).
std::string why_brings_back(const Fleet& fleet, const VersionVector& seen, const VersionVector& told);
Error brought_back(const Member& teller, const std::string& why);

/// PgStore::look_after_silent(). Nobody is declared away where too few others would stay.
Result<std::vector<SilentMember>> look_after_silent(PgConnection& db, const Schema& schema, const Member& self,
                                                    int days_max);

}  // namespace mbsync
