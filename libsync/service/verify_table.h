// Are the rows of one table the same here and there? Block by block, then row by row, while both change. Pure but for
// the two sources that it asks: it is tried on made-up ones.
//
// What makes it exact under traffic: a row that differs is looked at in a snapshot of each side, together with the
// writes that are live of it and with how far each side has everything. If neither side has a write of the row that the
// other has not had, both have judged the same writes, and must show the same values. Then, and only then, it is a
// difference. Times play no part in it, but for how long a row that keeps changing is looked at.
#pragma once

#include <chrono>
#include <cstdint>
#include <limits>
#include <string>
#include <vector>

#include "digest_service.h"

namespace mbsync {

struct RowDifference {
  enum class What { kValues, kMissingHere, kMissingThere };
  std::string key;  ///< its text
  What what = What::kValues;
  std::vector<std::string> columns{};  ///< whose values differ, by name; of kValues
  bool operator==(const RowDifference&) const = default;
};
/// "values", "missing here", "missing there".
std::string_view to_string(RowDifference::What what);

struct TableVerdict {
  enum class State {
    kEqual,        ///< all rows were compared and are the same
    kDifferent,    ///< some rows differ for good
    kUndecided,    ///< no row is known to differ, and some could not be compared yet
    kNotCompared,  ///< the table as a whole: `why` says it
  };
  std::string table;  ///< schema.table
  State state = State::kNotCompared;
  std::string why{};                         ///< it was not compared, or not to its end; with what to do
  std::int64_t rows = 0;                     ///< that were compared: known to be the same, or to differ
  std::vector<RowDifference> differences{};  ///< in no order
  std::vector<RowDifference> repaired{};     ///< that differed before, and were given to the rules
  std::int64_t changing = 0;                 ///< rows of which one side had news that the other had not, every time
  std::int64_t waiting = 0;  ///< rows that wait on one side: its application holds them, or its database refuses them
};
/// "equal", "different", "undecided", "not compared".
std::string_view to_string(TableVerdict::State state);

/// What becomes of a row when both sides are known.
enum class RowVerdict { kSame, kDiffers, kOnItsWay, kWaits };
/// One answer's snapshot.
struct LookedAt {
  const VersionVector& seen;
  const VersionVector& forgotten;
};
RowVerdict judge_row(const RowLook& mine, const LookedAt& here, const RowLook& theirs, const LookedAt& there);

struct VerifyLimits {
  std::int64_t block_rows = 2'000;     ///< at most; half of kDigestRowsMax, as the other side may have more of them
  std::int64_t block_bytes = 4 << 20;  ///< of a block on the disk, about
  std::size_t differences = 1'000;     ///< then a table is given up
  /// Where the two sides' indexes sort otherwise each block costs a look at all keys: larger tables are left out.
  std::int64_t unordered_rows = std::numeric_limits<std::int64_t>::max();
  std::size_t looked_at = 200;                 ///< rows in one go
  std::size_t undecided = 5'000;               ///< rows that are kept in mind before they are looked at again
  int rounds = 12;                             ///< how often
  std::chrono::milliseconds first_pause{250};  ///< before the first of them; doubling up to
  std::chrono::milliseconds longest_pause{5'000};
  std::chrono::milliseconds slow_block{1'000};  ///< a block that takes longer is followed by smaller ones
  int tries = 4;                                ///< of a question that fails for reasons that pass
};

inline Error comparison_given_up() {
  return Error{ErrorKind::kCancelled, "the comparison was ended before it was done", ""};
}

/// Where it waits, and where it tells how far it is.
class VerifyPace {
 public:
  virtual ~VerifyPace() = default;
  /// So many more rows were read, on each side, in so much time. May wait. False: give up.
  virtual bool read(std::int64_t rows, std::chrono::nanoseconds took) = 0;
  virtual bool wait(std::chrono::milliseconds pause) = 0;
  /// Of the table under way so many rows are compared, of about so many in all.
  virtual void progress(std::int64_t rows, std::int64_t estimate) = 0;
};

class TableComparison {
 public:
  TableComparison(DigestSource& mine, DigestSource& theirs, Member self, VerifyPace& pace, VerifyLimits limits = {})
      : mine_(mine), theirs_(theirs), self_(std::move(self)), pace_(pace), limits_(limits) {}

  /// The table as it was seen here, for further questions; after compare().
  [[nodiscard]] const DigestRequest& about() const { return about_; }

  /// Fails with `cancelled` when `pace` says so. What else fails, on either side, is in the verdict.
  Result<TableVerdict> compare(const std::string& schema, const std::string& table);
  /// Looks at the rows that differ in what compare() has returned once more, a while later: those that still do are
  /// left. `about`: what about() was then. Fails as compare() does.
  Result<TableVerdict> confirm(TableVerdict verdict, const DigestRequest& about);

 private:
  enum class Side { kMine, kTheirs };
  Result<DigestAnswer> ask(Side side, const DigestRequest& request);
  Result<TableVerdict> conclude(const Result<void>& done);
  Result<void> find_shape();
  Result<void> compare_blocks();
  Result<void> compare_rows(const DigestRequest& range);
  Result<void> look(std::vector<std::string> keys);
  Result<void> look_again();
  void judge(const DigestAnswer& here, const DigestAnswer& there, std::size_t place);
  [[nodiscard]] bool full() const { return verdict_.differences.size() >= limits_.differences; }
  [[nodiscard]] std::int64_t first_block() const;

  DigestSource& mine_;
  DigestSource& theirs_;
  const Member self_;
  VerifyPace& pace_;
  const VerifyLimits limits_;
  DigestRequest about_;  ///< the table, as it is seen here
  std::int64_t estimate_ = 0;
  std::int64_t row_bytes_ = 0;
  TableVerdict verdict_;
  std::vector<std::string> undecided_;  ///< keys of rows to look at again
  std::int64_t on_their_way_ = 0;       ///< of these, as of the last look
  bool not_in_step_ = false;            ///< the table has another shape there
};

}  // namespace mbsync
