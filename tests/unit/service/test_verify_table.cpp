// The comparison of two tables: drift at every place, at every border of a block, is found and named; what is on its
// way never counts as a difference; and nothing that was not compared is called equal.
#include <catch2/catch.hpp>

#include <set>

#include "made_up_rows.h"
#include "rng.h"
#include "verify_table.h"

namespace mbsync {
namespace {

using std::chrono::milliseconds;
using test::MadeUpRow;
using test::MadeUpRows;
using State = TableVerdict::State;
using What = RowDifference::What;

constexpr NodeId kHere{1};
constexpr NodeId kThere{2};
constexpr std::int64_t kBlock = 4;

class NoPace : public VerifyPace {
 public:
  bool read(std::int64_t rows, std::chrono::nanoseconds /*took*/) override {
    rows_read += rows;
    return !stop;
  }
  bool wait(milliseconds pause) override {
    waited.push_back(pause);
    if (on_wait) {
      on_wait();
    }
    return !stop;
  }
  void progress(std::int64_t rows, std::int64_t /*estimate*/) override { told = rows; }

  bool stop = false;
  std::int64_t rows_read = 0;
  std::int64_t told = 0;
  std::vector<milliseconds> waited;
  std::function<void()> on_wait;
};

std::string key_of(int i) {
  return fmt::format("{:05}", i);
}

struct TwoTables {
  MadeUpRows mine;
  MadeUpRows theirs;
  NoPace pace;
  VerifyLimits limits{.block_rows = kBlock, .rounds = 3};

  explicit TwoTables(int rows) {
    for (int i = 0; i < rows; ++i) {
      // Keys with room between and at both ends.
      const auto key = key_of(2 * i + 1);
      mine.rows[key] = MadeUpRow{{key, "a note", "12.50"}};
    }
    theirs.rows = mine.rows;
  }

  TableVerdict compare() {
    auto verdict = TableComparison(mine, theirs, Member{kHere, "here"}, pace, limits).compare("public", "item");
    REQUIRE(verdict);
    return *verdict;
  }
};

std::set<std::pair<std::string, What>> found(const TableVerdict& verdict) {
  std::set<std::pair<std::string, What>> all;
  for (const auto& entry : verdict.differences) {
    all.emplace(entry.key, entry.what);
  }
  return all;
}

// Below, at and above one and two blocks, and enough of them.
const std::vector<int> kSizes{0, 1, kBlock - 1, kBlock, kBlock + 1, 2 * kBlock - 1, 2 * kBlock, 2 * kBlock + 1, 23};

}  // namespace

TEST_CASE("verify: equal tables of every size around a block are equal, with every row counted") {
  for (const int size : kSizes) {
    INFO(size << " rows");
    TwoTables tables(size);
    const auto verdict = tables.compare();
    CHECK(verdict.state == State::kEqual);
    CHECK(verdict.rows == size);
    CHECK(verdict.differences.empty());
    CHECK(tables.pace.told == size);
  }
}

TEST_CASE("verify: one byte that has drifted is found in any row of any size, with its column") {
  for (const int size : kSizes) {
    for (int i = 0; i < size; ++i) {
      INFO(size << " rows, row " << i);
      TwoTables tables(size);
      const auto key = key_of(2 * i + 1);
      tables.theirs.rows[key].values[1][0] = 'A';
      const auto verdict = tables.compare();
      CHECK(verdict.state == State::kDifferent);
      CHECK(verdict.rows == size);
      REQUIRE(verdict.differences.size() == 1);
      CHECK(verdict.differences[0] == RowDifference{key, What::kValues, {"note"}});
    }
  }
}

TEST_CASE("verify: a row that is missing on either side is found at any place, ends and borders included") {
  for (const int size : kSizes) {
    for (int i = 0; i < size; ++i) {
      INFO(size << " rows, row " << i);
      const auto key = key_of(2 * i + 1);
      TwoTables here(size);
      here.mine.rows.erase(key);
      CHECK(found(here.compare()) == std::set<std::pair<std::string, What>>{{key, What::kMissingHere}});
      TwoTables there(size);
      there.theirs.rows.erase(key);
      CHECK(found(there.compare()) == std::set<std::pair<std::string, What>>{{key, What::kMissingThere}});
    }
  }
}

TEST_CASE("verify: an extra row is found before, between and behind all others, on either side") {
  for (const int size : kSizes) {
    for (int i = 0; i <= size; ++i) {
      INFO(size << " rows, before row " << i);
      const auto key = key_of(2 * i);
      TwoTables here(size);
      here.mine.rows[key] = MadeUpRow{{key, "extra", "0"}};
      CHECK(found(here.compare()) == std::set<std::pair<std::string, What>>{{key, What::kMissingThere}});
      TwoTables there(size);
      there.theirs.rows[key] = MadeUpRow{{key, "extra", "0"}};
      CHECK(found(there.compare()) == std::set<std::pair<std::string, What>>{{key, What::kMissingHere}});
    }
  }
}

TEST_CASE("verify: one side empty, or with many more rows than a block in one place") {
  TwoTables tables(0);
  for (int i = 0; i < 50; ++i) {
    tables.theirs.rows[key_of(i)] = MadeUpRow{{key_of(i), "x", "1"}};
  }
  CHECK(tables.compare().differences.size() == 50);
  std::swap(tables.mine.rows, tables.theirs.rows);
  CHECK(tables.compare().differences.size() == 50);

  TwoTables crowded(9);
  for (int i = 0; i < 50; ++i) {
    crowded.theirs.rows[key_of(5) + key_of(i)] = MadeUpRow{{"", "x", "1"}};
  }
  const auto verdict = crowded.compare();
  CHECK(verdict.differences.size() == 50);
  CHECK(verdict.rows == 59);
}

TEST_CASE("verify: exactly what was disturbed is found, whatever it is and however many rows there are") {
  const auto seed = test::seed_from_environment();
  INFO("MBSYNC_SEED=" << seed);
  test::Rng rng(seed);
  for (int round = 0; round < 400; ++round) {
    TwoTables tables(static_cast<int>(rng.below(40)));
    tables.limits.block_rows = static_cast<std::int64_t>(1 + rng.below(9));
    tables.limits.looked_at = 1 + rng.below(5);
    // The other side may put its rows in another order: then keys are looked for all the same.
    tables.theirs.backwards = rng.below(4) == 0;
    std::set<std::pair<std::string, What>> disturbed;
    for (std::uint64_t i = rng.below(8); i > 0; --i) {
      const auto key = key_of(static_cast<int>(rng.below(90)));
      auto& side = rng.below(2) == 0 ? tables.mine : tables.theirs;
      const bool there = tables.mine.rows.contains(key) && tables.theirs.rows.contains(key);
      if (std::any_of(disturbed.begin(), disturbed.end(), [&](const auto& entry) { return entry.first == key; })) {
        continue;
      }
      const bool is_mine = &side == &tables.mine;
      if (!there) {
        side.rows[key] = MadeUpRow{{key, "extra", "0"}};
        disturbed.emplace(key, is_mine ? What::kMissingThere : What::kMissingHere);
      } else if (rng.below(2) == 0) {
        side.rows.erase(key);
        disturbed.emplace(key, is_mine ? What::kMissingHere : What::kMissingThere);
      } else {
        side.rows[key].values[rng.below(2) + 1] += "!";
        disturbed.emplace(key, What::kValues);
      }
    }
    INFO("round " << round);
    std::set<std::string> all;
    for (const auto* side : {&tables.mine, &tables.theirs}) {
      for (const auto& [key, row] : side->rows) {
        all.insert(key);
      }
    }
    const auto verdict = tables.compare();
    CHECK(found(verdict) == disturbed);
    // Where the other side sorts otherwise and does not know it, a row may be in two blocks.
    CHECK(verdict.rows >= static_cast<std::int64_t>(all.size()));
    CHECK((tables.theirs.backwards || verdict.rows == static_cast<std::int64_t>(all.size())));
    CHECK((verdict.state == State::kEqual) == disturbed.empty());
  }
}

TEST_CASE("verify: a write that the other side has not had makes no difference, ever") {
  for (const bool mine : {true, false}) {
    TwoTables tables(9);
    auto& side = mine ? tables.mine : tables.theirs;
    const NodeId writer = mine ? kHere : kThere;
    side.seen.advance(Dot{writer, 7});
    side.rows[key_of(7)].values[1] = "news";
    side.rows[key_of(7)].writes = {Dot{writer, 7}};
    const auto verdict = tables.compare();
    CHECK(verdict.state == State::kUndecided);
    CHECK(verdict.differences.empty());
    CHECK(verdict.changing == 1);
    CHECK(verdict.waiting == 0);
    CHECK(verdict.rows == 8);
    CHECK(tables.pace.waited.size() == 3);
  }
}

TEST_CASE("verify: a write that arrives between two looks is compared then") {
  TwoTables tables(9);
  tables.mine.seen.advance(Dot{kHere, 7});
  tables.mine.rows[key_of(7)].values[1] = "news";
  tables.mine.rows[key_of(7)].writes = {Dot{kHere, 7}};
  tables.pace.on_wait = [&] {
    tables.theirs.rows[key_of(7)] = tables.mine.rows[key_of(7)];
    tables.theirs.seen.advance(Dot{kHere, 7});
  };
  const auto verdict = tables.compare();
  CHECK(verdict.state == State::kEqual);
  CHECK(verdict.rows == 9);
  CHECK(tables.pace.waited.size() == 1);
}

TEST_CASE("verify: a row that both know the same writes of differs, however much else is under way") {
  TwoTables tables(9);
  tables.mine.seen.advance(Dot{kHere, 7});
  tables.theirs.seen.advance(Dot{kHere, 3});
  tables.theirs.seen.advance(Dot{kThere, 5});
  tables.mine.rows[key_of(7)].writes = {Dot{kHere, 3}};
  tables.theirs.rows[key_of(7)].writes = {Dot{kHere, 3}};
  tables.theirs.rows[key_of(7)].values[2] = "99";
  const auto verdict = tables.compare();
  CHECK(verdict.state == State::kDifferent);
  CHECK(verdict.differences == std::vector<RowDifference>{{key_of(7), What::kValues, {"price"}}});
}

TEST_CASE("verify: captured writes, forgotten ones and rows that wait are no differences") {
  TwoTables captured(5);
  captured.theirs.rows[key_of(3)].values[1] = "new";
  captured.theirs.rows[key_of(3)].captured = true;
  CHECK(captured.compare().changing == 1);

  // It was forgotten there since this side has said that it has it, which was after this side's snapshot.
  TwoTables forgotten(5);
  forgotten.theirs.rows[key_of(3)].values[1] = "new";
  forgotten.theirs.seen.advance(Dot{kThere, 4});
  forgotten.theirs.forgotten.advance(Dot{kThere, 4});
  CHECK(forgotten.compare().changing == 1);
  forgotten.mine.seen.advance(Dot{kThere, 4});
  CHECK(forgotten.compare().state == State::kDifferent);

  TwoTables held(5);
  held.mine.rows[key_of(3)].values[1] = "old";
  held.mine.rows[key_of(3)].waits = true;
  const auto verdict = held.compare();
  CHECK(verdict.state == State::kUndecided);
  CHECK(verdict.waiting == 1);
  CHECK(verdict.changing == 0);
}

TEST_CASE("verify: a deletion on its way is none, a row removed behind mbsync's back is one") {
  TwoTables tables(5);
  tables.mine.rows[key_of(3)].present = false;
  tables.mine.rows[key_of(3)].writes = {Dot{kHere, 9}};
  tables.mine.seen.advance(Dot{kHere, 9});
  CHECK(tables.compare().changing == 1);
  tables.theirs.seen.advance(Dot{kHere, 9});
  tables.theirs.rows[key_of(3)].writes = {Dot{kHere, 9}};
  CHECK(found(tables.compare()) == std::set<std::pair<std::string, What>>{{key_of(3), What::kMissingHere}});
}

TEST_CASE("verify: another shape, a failure and a stop are never called equal") {
  TwoTables shape(3);
  shape.theirs.columns.emplace_back("colour");
  const auto differs = shape.compare();
  CHECK(differs.state == State::kNotCompared);
  CHECK(differs.why == "the table is not in step: column \"colour\" is missing there");

  TwoTables failing(9);
  failing.theirs.before = [&](const DigestRequest& request) {
    if (request.above) {
      failing.theirs.failure = Error{ErrorKind::kInternal, "no memory", ""};
    }
  };
  const auto failed = failing.compare();
  CHECK(failed.state == State::kNotCompared);
  CHECK(failed.rows == kBlock);
  CHECK(failed.why == "no memory");

  TwoTables stopped(9);
  stopped.pace.stop = true;
  const auto given_up =
      TableComparison(stopped.mine, stopped.theirs, Member{kHere, "here"}, stopped.pace, stopped.limits)
          .compare("public", "item");
  REQUIRE_FALSE(given_up);
  CHECK(given_up.error().kind == ErrorKind::kCancelled);
}

TEST_CASE("verify: what passes is tried again, and only for so long") {
  TwoTables tables(3);
  int left = 2;
  tables.theirs.before = [&](const DigestRequest&) {
    tables.theirs.failure =
        left-- > 0 ? std::optional(Error{ErrorKind::kTransient, "locked", ""}) : std::optional<Error>();
  };
  CHECK(tables.compare().state == State::kEqual);
  left = 1000;
  const auto verdict = tables.compare();
  CHECK(verdict.state == State::kNotCompared);
  CHECK(1000 - left == tables.limits.tries);
}

TEST_CASE("verify: what differed at the first look counts only if it still does at the second") {
  TwoTables tables(30);
  const auto drift = [&](int i) { tables.theirs.rows[key_of(2 * i + 1)].values[1] = "drifted"; };
  for (const int i : {3, 9, 12, 20}) {
    drift(i);
  }
  TableComparison comparison(tables.mine, tables.theirs, Member{kHere, "here"}, tables.pace, tables.limits);
  const auto first = comparison.compare("public", "item");
  REQUIRE(first);
  CHECK(first->differences.size() == 4);
  const auto about = comparison.about();
  // Meanwhile one is the same, of one a write is on its way, and one waits.
  tables.theirs.rows[key_of(7)] = tables.mine.rows[key_of(7)];
  tables.mine.rows[key_of(19)].captured = true;
  tables.theirs.rows[key_of(25)].waits = true;
  const auto second = comparison.confirm(*first, about);
  REQUIRE(second);
  CHECK(second->state == State::kDifferent);
  CHECK(second->differences == std::vector<RowDifference>{{key_of(41), What::kValues, {"note"}}});
  CHECK(second->changing == 1);
  CHECK(second->waiting == 1);
  CHECK(second->rows == 28);
  tables.theirs.rows = tables.mine.rows;
  tables.mine.rows[key_of(19)].captured = false;
  const auto third = comparison.confirm(*first, about);
  REQUIRE(third);
  CHECK(third->state == State::kEqual);
  CHECK(third->rows == 30);
  // Nobody there for a second look: nothing is said to differ.
  tables.theirs.failure = Error{ErrorKind::kRejected, "gone", ""};
  const auto fourth = comparison.confirm(*first, about);
  REQUIRE(fourth);
  CHECK(fourth->state == State::kNotCompared);
  CHECK(fourth->differences.empty());
  CHECK(fourth->why.find("gone") != std::string::npos);
}

TEST_CASE("verify: a large table that is sorted otherwise over there is left out where that is wanted") {
  TwoTables tables(30);
  tables.limits.unordered_rows = 29;
  CHECK(tables.compare().state == State::kEqual);
  tables.theirs.order = "another library";
  const auto verdict = tables.compare();
  CHECK(verdict.state == State::kNotCompared);
  CHECK(verdict.why.find("sort otherwise") != std::string::npos);
  tables.limits.unordered_rows = 30;
  CHECK(tables.compare().state == State::kEqual);
}

TEST_CASE("verify: a table that differs everywhere is given up, and says so") {
  TwoTables tables(60);
  tables.limits.differences = 10;
  for (auto& [key, row] : tables.theirs.rows) {
    row.values[2] = "0";
  }
  const auto verdict = tables.compare();
  CHECK(verdict.state == State::kDifferent);
  CHECK(verdict.differences.size() == 10);
  CHECK(verdict.why.find("given up after 10 rows that differ") != std::string::npos);
  CHECK(verdict.rows < 60);
}

}  // namespace mbsync
