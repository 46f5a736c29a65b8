// Rows that differ for good, given to the rules. Pure but for the two sources that it asks.
//
// A row that both have becomes a write on both sides, of the columns that differ, and concurrent: both are armed first
// (DigestKind::kArm), so that whatever write of the row comes to the other side overwrites neither without a record;
// then this side's is touched, which sets it going. With equal times the rules would have nothing to go by,
// so this side's write is the later one by a microsecond. A row that only one side has becomes a write there, and so
// comes back to the other.
#pragma once

#include <cstdint>
#include <map>
#include <string>

#include "verify_table.h"

namespace mbsync {

struct RepairOutcome {
  std::vector<RowDifference> repaired{};
  std::map<std::string, std::int64_t> trouble{};  ///< why rows could not be, and how many
};

/// `about`: TableComparison::about(); `at_us`: the time now. Each row is looked at once more. Fails only where one of
/// the two does not answer.
Result<RepairOutcome> repair_rows(DigestSource& mine, DigestSource& theirs, DigestRequest about,
                                  const std::vector<RowDifference>& rows, std::int64_t at_us, VerifyPace& pace);

}  // namespace mbsync
