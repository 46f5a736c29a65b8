// Rows that differ for good, given to the rules, with nothing that any member shows lost. Pure but for the sources that
// it asks.
//
// What one side shows becomes a write, by which all others would be overwritten. So no row is touched before every
// member has been asked how it has it. Those that show something else are armed first (DigestKind::kArm): theirs become
// writes as well, concurrent to the first, and the rules decide, with the losers on record. Then the one side is
// touched, and the others are told to follow at once. Where one member cannot be asked, or has news of the row, nothing
// is done. With equal times the rules would have nothing to go by, so the touched side's write is the later one by a
// microsecond. A row that one side lacks comes back there.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "verify_table.h"

namespace mbsync {

struct RepairSide {
  Member node;
  DigestSource* rows = nullptr;  ///< borrowed
};

struct RepairOutcome {
  std::vector<RowDifference> repaired{};
  std::map<std::string, std::int64_t> trouble{};  ///< why rows could not be, and how many; no contents of rows
  bool given_up = false;                          ///< `pace` has said so
};

/// `sides`: this node, the member that was compared with, and all others of the fleet. `about`:
/// TableComparison::about(); `at_us`: the time now, microseconds since 1970 UTC. Each row is looked at once more. Never
/// fails: what goes wrong with one row is its trouble, and if a side does not answer, that of all that are left.
RepairOutcome repair_rows(const std::vector<RepairSide>& sides, const DigestRequest& about,
                          const std::vector<RowDifference>& rows, std::int64_t at_us, VerifyPace& pace);

}  // namespace mbsync
