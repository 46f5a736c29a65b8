// Rows that differ are given to the rules: both sides are armed before this one is touched, and nothing is done to a
// row that has changed.
#include <algorithm>
#include <catch2/catch.hpp>

#include "made_up_rows.h"
#include "verify_repair.h"

namespace mbsync {
namespace {

using test::MadeUpRow;
using test::MadeUpRows;
using What = RowDifference::What;

class NoPace : public VerifyPace {
 public:
  bool read(std::int64_t /*rows*/, std::chrono::nanoseconds /*took*/) override { return !stop; }
  bool wait(std::chrono::milliseconds /*pause*/) override { return !stop; }
  void progress(const std::string& /*table*/, std::int64_t /*rows*/, std::int64_t /*estimate*/) override {}
  bool stop = false;
};

struct Sides {
  MadeUpRows mine;
  MadeUpRows theirs;
  NoPace pace;
  std::vector<std::string> done;  ///< in order, of both

  Sides() {
    for (auto* side : {&mine, &theirs}) {
      side->on_take = [this, side](const DigestRequest& request) -> Result<std::int64_t> {
        done.push_back(fmt::format("{} {} {} [{}] {}", side == &mine ? "mine" : "theirs", to_string(request.kind),
                                   request.keys.front(), fmt::join(request.touched, ","), request.at_us));
        return 1;
      };
    }
  }

  Result<RepairOutcome> repair(const std::vector<RowDifference>& rows) {
    DigestRequest about;
    about.sender = {NodeId{1}, "here"};
    about.schema = "public";
    about.table = "item";
    about.key = {"id"};
    for (const auto& name : mine.columns) {
      about.columns.push_back({name, "text"});
    }
    return repair_rows(mine, theirs, about, rows, 100, pace);
  }
};

}  // namespace

TEST_CASE("verify repair: of a row that both have, both sides are armed first, then this one is touched") {
  Sides sides;
  sides.mine.rows["k"] = MadeUpRow{{"k", "mine", "1"}};
  sides.theirs.rows["k"] = MadeUpRow{{"k", "theirs", "1"}};
  const auto outcome = sides.repair({{"k", What::kValues, {"note"}}});
  REQUIRE(outcome);
  CHECK(outcome->repaired.size() == 1);
  CHECK(sides.done ==
        std::vector<std::string>{"mine arm k [note] 101", "theirs arm k [note] 100", "mine touch k [note] 101"});
}

TEST_CASE("verify repair: a row that one side lacks is touched as a whole where it is") {
  Sides sides;
  sides.mine.rows["a"] = MadeUpRow{{"a", "mine", "1"}};
  sides.theirs.rows["b"] = MadeUpRow{{"b", "theirs", "1"}};
  const auto outcome = sides.repair({{"a", What::kMissingThere}, {"b", What::kMissingHere}});
  REQUIRE(outcome);
  CHECK(outcome->repaired.size() == 2);
  CHECK(sides.done == std::vector<std::string>{"mine touch a [] 100", "theirs touch b [] 100"});
}

TEST_CASE("verify repair: what has become equal, changes or could not be armed is left, with the reason") {
  Sides sides;
  for (const char* key : {"same", "news", "armless", "counter"}) {
    sides.mine.rows[key] = MadeUpRow{{key, "mine", "1"}};
    sides.theirs.rows[key] = MadeUpRow{{key, "theirs", "1"}};
  }
  sides.theirs.rows["same"] = sides.mine.rows["same"];
  sides.mine.rows["news"].captured = true;
  sides.theirs.on_take = [&](const DigestRequest& request) -> Result<std::int64_t> {
    if (request.keys.front() == "counter") {
      return Error{ErrorKind::kConflict, "it adds up", ""};
    }
    return 0;
  };
  const auto outcome = sides.repair({{"same"}, {"news"}, {"armless"}, {"counter"}});
  REQUIRE(outcome);
  CHECK(outcome->repaired.empty());
  CHECK(outcome->trouble ==
        std::map<std::string, std::int64_t>{{"it adds up", 1}, {"they have changed in the meantime", 3}});
  // Nothing of this side's was touched: what stands there would have overwritten the other's without a record.
  CHECK(std::none_of(sides.done.begin(), sides.done.end(),
                     [](const std::string& what) { return what.find("touch") != std::string::npos; }));
}

TEST_CASE("verify repair: a side that does not answer ends it, and so does a stop") {
  Sides sides;
  sides.mine.rows["k"] = MadeUpRow{{"k", "mine", "1"}};
  sides.theirs.failure = Error{ErrorKind::kTransient, "gone", ""};
  CHECK_FALSE(sides.repair({{"k"}}));
  sides.theirs.failure.reset();
  sides.pace.stop = true;
  const auto stopped = sides.repair({{"k"}});
  REQUIRE_FALSE(stopped);
  CHECK(stopped.error().kind == ErrorKind::kCancelled);
}

}  // namespace mbsync
