// The rows of an answer that need a decision, because there are writes to them on both sides: read in batches, judged
// by the core, written back into the staging table as what they are to become.
#pragma once

#include <set>

#include "message.h"
#include "rule_book.h"
#include "staged_table.h"

namespace mbsync {

struct MergeContext {
  Member self;
  PullHeader header;         ///< of the answer
  VersionVector asked_seen;  ///< what this node had when it asked
  VersionVector mine_seen;   ///< what it has now, after sealing
  RuleBook& rules;           ///< knows all versions that are here or in the answer
  PolicyVersion in_force;    ///< the highest of those
  /// Of a full answer: whose writes go on top of the rows where the sender has not got them (CONFLICTS.md C9, C22).
  std::set<NodeId> outside = {};
  std::set<NodeId> away = {};  ///< members, here or as the answer says, that nobody takes anything from any more
};

struct MergeCounts {
  std::int64_t merged = 0;
  std::int64_t conflicts = 0;
  std::int64_t missing = 0;    ///< unsent writes here whose row is gone, and their values with it
  std::int64_t set_aside = 0;  ///< rows whose writes are stored beside them, since the application holds them
  bool repaired = false;       ///< something was written to pg_temp.repaired (CONFLICTS.md C15)
  /// Rows that cannot be judged, or whose computed values do not fit into their columns, by key, and why: the attempt
  /// has to be made again without them.
  std::vector<std::pair<std::string, std::string>> refused = {};
  /// Rows that were made anew, since two had one key: the key that they got and the one that they had.
  std::vector<std::pair<std::string, std::string>> apart = {};
};

/// Makes the session's temporary tables that merging writes into. Once a session, outside a transaction.
Result<void> prepare_merge(PgConnection& db);

/// Judges the table's rows that have writes on both sides. On return the staging table holds no such row any more but,
/// for each that has to change here, one with its final values (m_origin NULL); the new live writes and the conflicts
/// wait in pg_temp.new_change and pg_temp.new_conflict, and the old ones of those rows are gone from mbsync.change.
/// Rows that are held (m_held) are joined and not judged: what is new of them is unseen (CONFLICTS.md C10).
/// In the apply transaction, with the other rows locked and sealed.
Result<MergeCounts> merge_rows(PgConnection& db, const StagedTable& staged, const MergeContext& context);

/// Moves what merge_rows() collected into mbsync.change and mbsync.conflict_record, whose number is `record_table`.
Result<void> store_merged(PgConnection& db, int record_table);

}  // namespace mbsync
