// What a peer says, held against what can be true. A holder of the key may be broken, of another mind, or restored from
// an old backup; whatever it says must not make this database hold what no node could have written, nor grow without
// end. What cannot be told from the truth (a third node's counter, the values of a row) is listed in README.md.
#pragma once

#include "message.h"
#include "staged_table.h"
#include "version_store.h"

namespace mbsync {

/// Nodes that a fleet may have, and origins of writes, the nodes that it once had among them. A request and an answer
/// carry all of them, and must stay below kMessageBytesMax.
inline constexpr std::size_t kFleetNodesMax = 1'000;
inline constexpr std::size_t kFleetOriginsMax = 4'000;
/// One a seal: a thousand of them a second for 8,900 years. Far from where a bigint ends.
inline constexpr std::int64_t kCounterMax = std::int64_t{1} << 48;

/// Nobody can hold writes of `self` beyond `own`, the last counter that this database remembers. `rejected`, with what
/// to do: either the peer is wrong, or this database is older than it should be.
Result<void> check_own_counter(const VersionVector& seen, const std::map<NodeId, VersionVector>& reports,
                               const Member& sender, const Member& self, std::int64_t own);

/// `corrupt` if a header or a request says what no node can say: counters out of bounds, writes forgotten that were
/// never had.
Result<void> check_claims(const PullHeader& header);
Result<void> check_claims(const PullRequest& request);

/// `rejected` if the fleet would have more members, or more origins, than it may.
Result<void> check_growth(std::size_t members_known, std::size_t members_new, const Member& sender);
Result<void> check_growth(const VersionVector& known, const VersionVector& told, const Member& sender);

/// What one look at all staged rows tells. `corrupt` if a row's head is none (PROTOCOL.md "Rows"), a write is not
/// covered by what the peer says to have, or the values are not those of the key.
struct StagedFacts {
  bool may_delete = false;
  std::size_t bits = 0;  ///< length of all bit strings; 0: there is none
};
Result<StagedFacts> check_staged(PgConnection& db, StagedTable& staged, const PullHeader& header);

/// `corrupt` if one of a row's writes or counters is not covered by what the peer says to have. What it may say of
/// `self` has been checked (check_own_counter); what it may say of those in `away` (CONFLICTS.md C22), nobody knows.
Result<void> check_writes(const WireRow& row, const VersionVector& seen, NodeId self, const std::set<NodeId>& away,
                          const Table& table);

}  // namespace mbsync
