// Who is away, as it is said and agreed in the database (CONFLICTS.md C22). In the caller's transaction, under the
// engine's lock; one thread.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "message.h"
#include "pg_store.h"
#include "schema.h"
#include "version_store.h"

namespace mbsync {

/// What is said of a member.
struct MembershipWord {
  bool away = false;
  std::string reason;   ///< for people
  std::string said_by;  ///< the node's name
};

/// Writes it, as if the application had; to be sealed. `not_found`: this database is no node yet.
Result<void> say_of_member(PgConnection& db, NodeId member, const MembershipWord& word);

/// Whether it is to be kept out, whatever else is said of it; something has to be said already.
Result<void> ban_member(PgConnection& db, NodeId member, bool banned);

/// Says that a member is away, and lets this node report nothing new until all others have heard it. The caller has
/// looked whether that may be said (may_be_away()).
Result<void> declare_away(PgConnection& db, NodeId member, const MembershipWord& word);

/// After become(): up to which counter this node has brought along the writes of those that are gone, so that nobody
/// who was away with them does it again; and who it is now.
Result<void> note_comeback(PgConnection& db, const Member& was, const Member& now, const VersionVector& brought);

/// Whether look_after_membership() has nothing to do.
bool is_settled(const Fleet& fleet);

/// After whatever this node has learnt of others: agrees to what all of them have heard, takes back what was said here
/// of a member that turns out to be there, and seals. Returns the fleet as it is then.
Result<Fleet> look_after_membership(PgConnection& db, const Schema& schema, const Member& self);

/// How a node that asks is answered.
struct Welcome {
  Standing standing = Standing::kMember;
  std::vector<NodeId> staying = {};  ///< PullHeader::staying
  std::vector<NodeId> outside = {};  ///< PullHeader::outside
};

/// Learns what the asker says of the fleet, unless it has no part in it; decides how it is answered; and puts its wish
/// to be taken back on record where it is away and not all have heard that. All that is to be kept, whatever the
/// answer.
Result<Welcome> welcome(PgConnection& db, const Schema& schema, const Member& self, const PullRequest& request);

/// In words, of somebody who has `told` (brings_somebody_back()).
std::string why_brings_back(const Fleet& fleet, const VersionVector& seen, const VersionVector& told);
Error brought_back(const Member& teller, const std::string& why);
/// Why this node does not come back to a fleet that has gone on without it (comes_back_to()).
Error they_stay_apart(const Member& peer, const std::vector<NodeId>& staying, const Fleet& fleet);
/// The same where the other side does not come back either, or this one has forgotten writes that they have never had;
/// and what a person has to do.
Error two_fleets(const Member& peer, const Fleet& fleet);

/// PgStore::look_after_silent(). Nobody is declared away where too few others would stay.
Result<std::vector<SilentMember>> look_after_silent(PgConnection& db, const Schema& schema, const Member& self,
                                                    int days_max);

}  // namespace mbsync
