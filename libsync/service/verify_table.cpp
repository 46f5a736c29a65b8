#include "verify_table.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <utility>

#include "protocol_limits.h"

namespace mbsync {
namespace {

using Clock = std::chrono::steady_clock;

/// A question's keys: far below what a request may hold.
constexpr std::size_t kKeysBytes = 256 << 10;
/// Where nothing is known of a table's size.
constexpr std::int64_t kFirstBlock = 200;
/// Where no index helps, each block costs a look at all keys.
constexpr std::int64_t kUnorderedBlock = kDigestRowsMax / 2;
constexpr std::int64_t kUnorderedBlockMin = 500;
constexpr std::chrono::milliseconds kTryAgain{500};

bool covers_all(const VersionVector& seen, const std::vector<Dot>& writes) {
  return std::all_of(writes.begin(), writes.end(), [&](const Dot& dot) { return seen.covers(dot); });
}

}  // namespace

std::string_view to_string(RowDifference::What what) {
  switch (what) {
    case RowDifference::What::kValues:
      return "values";
    case RowDifference::What::kMissingHere:
      return "missing here";
    case RowDifference::What::kMissingThere:
      break;
  }
  return "missing there";
}

std::string_view to_string(TableVerdict::State state) {
  switch (state) {
    case TableVerdict::State::kEqual:
      return "equal";
    case TableVerdict::State::kDifferent:
      return "different";
    case TableVerdict::State::kUndecided:
      return "undecided";
    case TableVerdict::State::kNotCompared:
      break;
  }
  return "not compared";
}

RowVerdict judge_row(const RowLook& mine, const LookedAt& here, const RowLook& theirs, const LookedAt& there) {
  if (mine.present == theirs.present && mine.hash == theirs.hash) {
    return RowVerdict::kSame;
  }
  // Writes that the other side has not had; and such that may have been forgotten between the two snapshots, as all had
  // them by then.
  const bool news = mine.captured || theirs.captured || !covers_all(there.seen, mine.writes) ||
                    !covers_all(here.seen, theirs.writes) || !there.seen.covers(here.forgotten) ||
                    !here.seen.covers(there.forgotten);
  if (news) {
    return RowVerdict::kOnItsWay;
  }
  return mine.waits || mine.parked || theirs.waits || theirs.parked ? RowVerdict::kWaits : RowVerdict::kDiffers;
}

Result<DigestAnswer> TableComparison::ask(Side side, const DigestRequest& request) {
  auto& source = side == Side::kMine ? mine_ : theirs_;
  for (int tries = 1;; ++tries) {
    auto answer = source.ask(request);
    if (answer) {
      if (answer->state != DigestState::kCompared) {
        not_in_step_ = true;
        return Error{ErrorKind::kConflict, answer->why, ""};
      }
      return answer;
    }
    const auto kind = answer.error().kind;
    const bool passes = kind == ErrorKind::kTransient || kind == ErrorKind::kInDoubt;
    if (!passes || tries >= limits_.tries) {
      return answer.error();
    }
    if (!pace_.wait(kTryAgain * tries)) {
      return comparison_given_up();
    }
  }
}

Result<TableVerdict> TableComparison::compare(const std::string& schema, const std::string& table) {
  verdict_ = TableVerdict{};
  verdict_.table = fmt::format("{}.{}", schema, table);
  undecided_.clear();
  on_their_way_ = 0;
  not_in_step_ = false;
  about_ = DigestRequest{};
  about_.sender = self_;
  about_.schema = schema;
  about_.table = table;
  auto done = find_shape();
  if (done) {
    done = compare_blocks();
  }
  if (done) {
    done = look_again();
  }
  return conclude(done);
}

Result<TableVerdict> TableComparison::confirm(TableVerdict verdict, const DigestRequest& about) {
  verdict_ = std::move(verdict);
  about_ = about;
  undecided_.clear();
  on_their_way_ = 0;
  not_in_step_ = false;
  std::vector<std::string> keys;
  for (const auto& difference : std::exchange(verdict_.differences, {})) {
    keys.push_back(difference.key);
  }
  verdict_.rows -= static_cast<std::int64_t>(keys.size());  // they are counted again
  auto done = look(std::move(keys));
  if (done) {
    done = look_again();
  }
  return conclude(done);
}

Result<TableVerdict> TableComparison::conclude(const Result<void>& done) {
  if (!done) {
    if (done.error().kind == ErrorKind::kCancelled) {
      return done.error();
    }
    verdict_.why =
        not_in_step_ ? fmt::format("the table is not in step: {}", done.error().message) : done.error().text();
  } else if (full()) {
    verdict_.why = fmt::format("given up after {} rows that differ; what comes behind them was not compared",
                               verdict_.differences.size());
  }
  verdict_.changing += on_their_way_;
  verdict_.waiting += static_cast<std::int64_t>(undecided_.size()) - on_their_way_;
  if (!verdict_.differences.empty()) {
    verdict_.state = TableVerdict::State::kDifferent;
  } else if (!verdict_.why.empty()) {
    verdict_.state = TableVerdict::State::kNotCompared;
  } else if (verdict_.changing + verdict_.waiting > 0) {
    verdict_.state = TableVerdict::State::kUndecided;
  } else {
    verdict_.state = TableVerdict::State::kEqual;
  }
  return verdict_;
}

// Both have to see the same columns. By which order rows are read is agreed upon: where the indexes of the two do not
// put rows in one order, as with texts and another version of the system's library, it is that of the bytes.
Result<void> TableComparison::find_shape() {
  about_.kind = DigestKind::kShape;
  const auto mine = ask(Side::kMine, about_);
  MBSYNC_TRY(mine);
  about_.key = mine->key;
  about_.columns = mine->columns;
  estimate_ = mine->estimate;
  row_bytes_ = mine->row_bytes;
  const auto theirs = ask(Side::kTheirs, about_);
  MBSYNC_TRY(theirs);
  about_.order = mine->order == theirs->order ? mine->order : "";
  estimate_ = std::max(estimate_, theirs->estimate);
  row_bytes_ = std::max(row_bytes_, theirs->row_bytes);
  if (about_.order.empty() && estimate_ > limits_.unordered_rows) {
    return Error{
        ErrorKind::kConflict,
        fmt::format("the indexes of its key sort otherwise on the two machines, or cannot be used, which takes "
                    "long with about {} rows",
                    estimate_),
        "'mbsync verify --tables' compares it when you have the time"};
  }
  return {};
}

std::int64_t TableComparison::first_block() const {
  // Of a table that nobody has analyzed the rows look large, and blocks are small at first.
  const auto fitting = row_bytes_ == 0 ? kFirstBlock : limits_.block_bytes / row_bytes_;
  return about_.order.empty() ? std::clamp(fitting, kUnorderedBlockMin, kUnorderedBlock)
                              : std::clamp<std::int64_t>(fitting, 1, std::min(kUnorderedBlock, limits_.block_rows));
}

// Borders are keys of this side. The last block has none above, the first none below: so every row of either side is in
// some block, whatever its order.
Result<void> TableComparison::compare_blocks() {
  auto block = first_block();
  DigestRequest range = about_;
  for (;;) {
    const auto begun = Clock::now();
    range.kind = DigestKind::kBlock;
    range.upto.reset();
    range.limit = block;
    const auto mine = ask(Side::kMine, range);
    MBSYNC_TRY(mine);
    const auto own_took = Clock::now() - begun;
    range.upto = mine->last;
    range.limit = 2 * block;
    const auto theirs = ask(Side::kTheirs, range);
    MBSYNC_TRY(theirs);
    if (mine->rows == theirs->rows && mine->checksum == theirs->checksum && !theirs->last) {
      verdict_.rows += mine->rows;
    } else {
      MBSYNC_TRY(compare_rows(range));
    }
    pace_.progress(verdict_.rows, estimate_);
    if (full() || !mine->last) {
      return {};
    }
    range.above = mine->last;
    if (!about_.order.empty()) {
      block = own_took > limits_.slow_block        ? std::max<std::int64_t>(1, block / 2)
              : own_took < limits_.slow_block / 10 ? std::min(limits_.block_rows, block * 2)
                                                   : block;
    }
    if (!pace_.read(std::max(mine->rows, theirs->rows), Clock::now() - begun)) {
      return comparison_given_up();
    }
    if (undecided_.size() >= limits_.undecided) {
      MBSYNC_TRY(look_again());
    }
  }
}

// Row by row. Each side goes through the range in its own order; what is in one and not in the other is looked for by
// its key afterwards.
Result<void> TableComparison::compare_rows(const DigestRequest& range) {
  DigestRequest piece = range;
  piece.kind = DigestKind::kRows;
  std::map<std::string, std::string> own;
  for (;;) {
    const auto mine = ask(Side::kMine, piece);
    MBSYNC_TRY(mine);
    for (const auto& row : mine->list) {
      own.emplace(row.key, row.hash);
    }
    // More than this can only have come in this moment; it is found among theirs, or another time.
    if (!mine->last || static_cast<std::int64_t>(own.size()) > kDigestRowsMax) {
      break;
    }
    piece.above = mine->last;
  }
  std::vector<std::string> suspects;
  const auto look_if_many = [&](std::size_t many) -> Result<void> {
    return suspects.size() >= many && !suspects.empty() ? look(std::exchange(suspects, {})) : Result<void>();
  };
  piece.above = range.above;
  for (;;) {
    const auto begun = Clock::now();
    const auto theirs = ask(Side::kTheirs, piece);
    MBSYNC_TRY(theirs);
    for (const auto& row : theirs->list) {
      const auto place = own.find(row.key);
      const bool same = place != own.end() && place->second == row.hash;
      if (place != own.end()) {
        own.erase(place);
      }
      if (same) {
        ++verdict_.rows;
      } else {
        suspects.push_back(row.key);
      }
    }
    MBSYNC_TRY(look_if_many(limits_.looked_at));
    pace_.progress(verdict_.rows, estimate_);
    if (!theirs->last || full()) {
      break;
    }
    piece.above = theirs->last;
    if (!pace_.read(theirs->rows, Clock::now() - begun)) {
      return comparison_given_up();
    }
    if (undecided_.size() >= limits_.undecided) {
      MBSYNC_TRY(look_again());
    }
  }
  for (const auto& [key, hash] : own) {
    suspects.push_back(key);
  }
  return look_if_many(0);
}

Result<void> TableComparison::look(std::vector<std::string> keys) {
  std::size_t done = 0;
  while (done < keys.size() && !full()) {
    DigestRequest request = about_;
    request.kind = DigestKind::kLook;
    std::size_t bytes = 0;
    for (auto i = done; i < keys.size() && request.keys.size() < limits_.looked_at; ++i) {
      bytes += keys[i].size();
      if (!request.keys.empty() && bytes > kKeysBytes) {
        break;
      }
      request.keys.push_back(keys[i]);
    }
    const auto there = ask(Side::kTheirs, request);
    MBSYNC_TRY(there);
    const auto here = ask(Side::kMine, request);
    MBSYNC_TRY(here);
    const auto count = std::min(here->looks.size(), there->looks.size());
    for (std::size_t i = 0; i < count; ++i) {
      if (i >= request.keys.size() || here->looks[i].key != request.keys[i] || there->looks[i].key != request.keys[i]) {
        return Error{ErrorKind::kCorrupt, "the answer is about other rows than the question", "please report this"};
      }
      judge(*here, *there, i);
    }
    if (count == 0) {
      return Error{ErrorKind::kCorrupt, "the answer is about no row", "please report this"};
    }
    done += count;
  }
  return {};
}

void TableComparison::judge(const DigestAnswer& here, const DigestAnswer& there, std::size_t place) {
  const auto& mine = here.looks[place];
  const auto& theirs = there.looks[place];
  switch (judge_row(mine, {here.seen, here.forgotten}, theirs, {there.seen, there.forgotten})) {
    case RowVerdict::kSame:
      verdict_.rows += mine.present ? 1 : 0;
      return;
    case RowVerdict::kOnItsWay:
      ++on_their_way_;
      undecided_.push_back(mine.key);
      return;
    case RowVerdict::kWaits:
      undecided_.push_back(mine.key);
      return;
    case RowVerdict::kDiffers:
      break;
  }
  const bool known = std::any_of(verdict_.differences.begin(), verdict_.differences.end(),
                                 [&](const RowDifference& entry) { return entry.key == mine.key; });
  if (known || full()) {
    return;
  }
  ++verdict_.rows;
  RowDifference difference{mine.key};
  if (!mine.present) {
    difference.what = RowDifference::What::kMissingHere;
  } else if (!theirs.present) {
    difference.what = RowDifference::What::kMissingThere;
  } else {
    for (std::size_t i = 0; i < about_.columns.size(); ++i) {
      if (i >= mine.columns.size() || i >= theirs.columns.size() || mine.columns[i] != theirs.columns[i]) {
        difference.columns.push_back(about_.columns[i].name);
      }
    }
  }
  verdict_.differences.push_back(std::move(difference));
}

// News travel within moments where the two listen to each other, and at the latest with the next visit.
Result<void> TableComparison::look_again() {
  auto pause = limits_.first_pause;
  for (int round = 0; round < limits_.rounds && !undecided_.empty() && !full(); ++round) {
    if (!pace_.wait(pause)) {
      return comparison_given_up();
    }
    pause = std::min(pause * 2, limits_.longest_pause);
    on_their_way_ = 0;
    MBSYNC_TRY(look(std::exchange(undecided_, {})));
  }
  const auto changing = std::exchange(on_their_way_, 0);
  verdict_.changing += changing;
  verdict_.waiting += static_cast<std::int64_t>(undecided_.size()) - changing;
  undecided_.clear();
  return {};
}

}  // namespace mbsync
