#include "verify_repair.h"

#include <chrono>
#include <utility>

namespace mbsync {
namespace {

constexpr const char* kChanged = "they have changed in the meantime";

/// Nothing: it is done. Else why not.
Result<std::optional<std::string>> repair_row(DigestSource& mine, DigestSource& theirs, DigestRequest request,
                                              std::int64_t at_us) {
  request.kind = DigestKind::kLook;
  const auto there = theirs.ask(request);
  MBSYNC_TRY(there);
  const auto here = mine.ask(request);
  MBSYNC_TRY(here);
  if (here->looks.empty() || there->looks.empty()) {
    return std::optional<std::string>(there->why.empty() ? kChanged : there->why);
  }
  const auto& own = here->looks.front();
  const auto& other = there->looks.front();
  if (judge_row(own, {here->seen, here->forgotten}, other, {there->seen, there->forgotten}) != RowVerdict::kDiffers) {
    return std::optional<std::string>(kChanged);
  }
  // Whether it was still what it was taken for.
  const auto take = [&](DigestSource& side, DigestKind kind, const RowLook& look, std::int64_t at) -> Result<bool> {
    request.kind = kind;
    request.hash = look.hash;
    request.at_us = at;
    const auto taken = side.ask(request);
    MBSYNC_TRY(taken);
    return taken->rows == 1;
  };
  request.touched.clear();
  Result<bool> taken = true;
  if (own.present && other.present) {
    for (std::size_t i = 0; i < request.columns.size(); ++i) {
      if (i < own.columns.size() && i < other.columns.size() && own.columns[i] != other.columns[i]) {
        request.touched.push_back(request.columns[i].name);
      }
    }
    taken = take(mine, DigestKind::kArm, own, at_us + 1);
    if (taken && *taken) {
      taken = take(theirs, DigestKind::kArm, other, at_us);
    }
    if (taken && *taken) {
      taken = take(mine, DigestKind::kTouch, own, at_us + 1);
    }
  } else {
    taken = own.present ? take(mine, DigestKind::kTouch, own, at_us) : take(theirs, DigestKind::kTouch, other, at_us);
  }
  MBSYNC_TRY(taken);
  return *taken ? std::optional<std::string>() : std::optional<std::string>(kChanged);
}

}  // namespace

Result<RepairOutcome> repair_rows(DigestSource& mine, DigestSource& theirs, DigestRequest about,
                                  const std::vector<RowDifference>& rows, std::int64_t at_us, VerifyPace& pace) {
  RepairOutcome outcome;
  for (const auto& row : rows) {
    const auto begun = std::chrono::steady_clock::now();
    about.keys = {row.key};
    const auto done = repair_row(mine, theirs, about, at_us);
    if (!done) {
      const auto kind = done.error().kind;
      if (kind != ErrorKind::kConflict && kind != ErrorKind::kRejected) {
        return done.error();
      }
      ++outcome.trouble[done.error().text()];
    } else if (*done) {
      ++outcome.trouble[**done];
    } else {
      outcome.repaired.push_back(row);
    }
    if (!pace.read(1, std::chrono::steady_clock::now() - begun)) {
      return Error{ErrorKind::kCancelled, "the comparison was given up", ""};
    }
  }
  return outcome;
}

}  // namespace mbsync
