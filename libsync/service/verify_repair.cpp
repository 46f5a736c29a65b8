#include "verify_repair.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <optional>
#include <utility>

namespace mbsync {
namespace {

constexpr const char* kChanged = "they have changed in the meantime, or the application holds them";
constexpr const char* kWaiting = "they wait on one of the machines: 'mbsync status' there says for what";
constexpr int kTries = 3;
constexpr std::chrono::milliseconds kTryAgain{500};

/// What has become of one row.
struct Done {
  std::string why{};  ///< it could not be repaired; empty: it was
  bool last = false;  ///< the same will be so of all others
};

/// Nothing has been done, for certain.
bool is_definite(const Error& error) {
  return error.kind == ErrorKind::kConflict || error.kind == ErrorKind::kRejected;
}

class RowRepair {
 public:
  RowRepair(const std::vector<RepairSide>& sides, DigestRequest request, std::int64_t at_us, VerifyPace& pace)
      : sides_(sides), request_(std::move(request)), at_us_(at_us), pace_(pace) {}

  Result<Done> run() {
    auto looked = look();
    MBSYNC_TRY(looked);
    if (!looked->why.empty()) {
      return looked;
    }
    if (auto why = judge(); !why.empty()) {
      return Done{std::move(why)};
    }
    choose();
    return take();
  }

 private:
  // This side last: what the others have written until then, it may have.
  Result<Done> look() {
    request_.kind = DigestKind::kLook;
    looks_.resize(sides_.size());
    for (auto i = sides_.size(); i-- > 0;) {
      auto answer = ask_for_look(sides_[i]);
      if (!answer) {
        if (answer.error().kind == ErrorKind::kCancelled) {
          return answer.error();
        }
        const auto& name = sides_[i].node.name;
        return Done{i < 2 ? answer.error().text()
                          : fmt::format("{} may show a third value, which has to be kept, and cannot be asked now "
                                        "({}): say it again when it is there, or 'mbsync peers forget' it",
                                        name, answer.error().text()),
                    true};
      }
      if (answer->state != DigestState::kCompared || answer->looks.empty()) {
        return Done{fmt::format("{}: {}", sides_[i].node.name, answer->why.empty() ? kChanged : answer->why), true};
      }
      looks_[i] = std::move(*answer);
    }
    return Done{};
  }

  Result<DigestAnswer> ask_for_look(const RepairSide& side) {
    for (int tries = 1;; ++tries) {
      auto answer = side.rows->ask(request_);
      const bool passes =
          !answer && (answer.error().kind == ErrorKind::kTransient || answer.error().kind == ErrorKind::kInDoubt);
      if (!passes || tries >= kTries) {
        return answer;
      }
      if (!pace_.wait(kTryAgain * tries)) {
        return Error{ErrorKind::kCancelled, "the comparison was given up", ""};
      }
    }
  }

  [[nodiscard]] const RowLook& row(std::size_t side) const { return looks_[side].looks.front(); }

  // Why nothing can be done; empty: the row differs, and no side has a write of it that the others lack.
  std::string judge() {
    base_ = row(0).present ? 0 : 1;
    if (!row(base_).present) {
      return kChanged;
    }
    for (std::size_t i = 0; i < sides_.size(); ++i) {
      if (i == base_) {
        continue;
      }
      const auto verdict = judge_row(row(base_), {looks_[base_].seen, looks_[base_].forgotten}, row(i),
                                     {looks_[i].seen, looks_[i].forgotten});
      if (verdict == RowVerdict::kOnItsWay || (verdict == RowVerdict::kSame && i < 2)) {
        return kChanged;
      }
      if (verdict == RowVerdict::kWaits) {
        return kWaiting;
      }
    }
    return {};
  }

  // Which sides show something else than the one that is to be touched, and in which columns.
  void choose() {
    for (std::size_t i = 0; i < sides_.size(); ++i) {
      const auto& theirs = row(i);
      is_whole_ = is_whole_ || !theirs.present;
      if (i == base_ || !theirs.present || theirs.hash == row(base_).hash) {
        continue;
      }
      std::vector<std::string> columns;
      for (std::size_t c = 0; c < request_.columns.size(); ++c) {
        if (c < theirs.columns.size() && c < row(base_).columns.size() && theirs.columns[c] != row(base_).columns[c]) {
          columns.push_back(request_.columns[c].name);
          if (std::find(touched_.begin(), touched_.end(), columns.back()) == touched_.end()) {
            touched_.push_back(columns.back());
          }
        }
      }
      is_whole_ = is_whole_ || columns.empty();
      others_.emplace_back(i, std::move(columns));
    }
  }

  Result<Done> take() {
    for (const auto& [side, columns] : others_) {
      const auto armed = ask(side, DigestKind::kArm, at_us_, columns);
      if (!armed || armed->rows != 1) {
        disarm();
        return failed(armed);
      }
    }
    const auto touched = ask(base_, DigestKind::kTouch, at_us_ + 1, is_whole_ ? std::vector<std::string>{} : touched_);
    if (!touched || touched->rows != 1) {
      // If nobody knows whether it was done, the others stay armed: it comes of that write and of nothing else.
      if (touched || is_definite(touched.error())) {
        disarm();
      }
      return failed(touched);
    }
    // Who cannot be told follows when that write arrives.
    for (const auto& entry : others_) {
      (void)ask(entry.first, DigestKind::kFire, at_us_, {});
    }
    return Done{};
  }

  static Result<Done> failed(const Result<DigestAnswer>& answer) {
    if (answer) {
      return Done{kChanged};
    }
    if (answer.error().kind == ErrorKind::kCancelled) {
      return answer.error();
    }
    return Done{answer.error().text()};
  }

  void disarm() {
    for (const auto& entry : others_) {
      (void)ask(entry.first, DigestKind::kDisarm, at_us_, {});
    }
  }

  Result<DigestAnswer> ask(std::size_t side, DigestKind kind, std::int64_t at_us, std::vector<std::string> columns) {
    request_.kind = kind;
    request_.hash = row(side).hash;
    request_.touched = std::move(columns);
    request_.at_us = at_us;
    request_.awaits = sides_[base_].node.id;
    request_.awaited_us = at_us_ + 1;
    return sides_[side].rows->ask(request_);
  }

  const std::vector<RepairSide>& sides_;
  DigestRequest request_;
  const std::int64_t at_us_;
  VerifyPace& pace_;
  std::vector<DigestAnswer> looks_;
  std::size_t base_ = 0;  ///< that is to be touched
  bool is_whole_ = false;
  std::vector<std::string> touched_;
  std::vector<std::pair<std::size_t, std::vector<std::string>>> others_;
};

}  // namespace

RepairOutcome repair_rows(const std::vector<RepairSide>& sides, const DigestRequest& about,
                          const std::vector<RowDifference>& rows, std::int64_t at_us, VerifyPace& pace) {
  RepairOutcome outcome;
  for (std::size_t i = 0; i < rows.size(); ++i) {
    const auto begun = std::chrono::steady_clock::now();
    auto request = about;
    request.keys = {rows[i].key};
    const auto done = RowRepair(sides, std::move(request), at_us, pace).run();
    if (!done && done.error().kind == ErrorKind::kCancelled) {
      outcome.given_up = true;
      return outcome;
    }
    const auto left = static_cast<std::int64_t>(rows.size() - i);
    if (!done || done->last) {
      outcome.trouble[done ? done->why : done.error().text()] += left;
      return outcome;
    }
    if (!done->why.empty()) {
      ++outcome.trouble[done->why];
    } else {
      outcome.repaired.push_back(rows[i]);
    }
    if (!pace.read(1, std::chrono::steady_clock::now() - begun)) {
      outcome.given_up = true;
      return outcome;
    }
  }
  return outcome;
}

}  // namespace mbsync
