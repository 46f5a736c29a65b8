// Rows that differ are given to the rules: every member is asked before anything is done, those that show something
// else are armed before one is touched, and where that does not happen none stays armed.
#include <algorithm>
#include <catch2/catch.hpp>

#include "made_up_rows.h"
#include "verify_repair.h"

namespace mbsync {
namespace {

using test::MadeUpRow;
using test::MadeUpRows;
using What = RowDifference::What;
using List = std::vector<std::string>;

class NoPace : public VerifyPace {
 public:
  bool read(std::int64_t /*rows*/, std::chrono::nanoseconds /*took*/) override { return !stop; }
  bool wait(std::chrono::milliseconds /*pause*/) override { return !stop; }
  void progress(std::int64_t /*rows*/, std::int64_t /*estimate*/) override {}
  bool stop = false;
};

struct Sides {
  MadeUpRows a;  ///< this node
  MadeUpRows b;  ///< that was compared with
  MadeUpRows c;
  NoPace pace;
  List done;                                        ///< in order, of all
  std::map<std::string, Result<std::int64_t>> say;  ///< "b arm k": what it answers, in place of 1

  Sides() {
    const std::pair<MadeUpRows*, const char*> all[] = {{&a, "a"}, {&b, "b"}, {&c, "c"}};
    for (const auto& [rows, name] : all) {
      rows->on_take = [this, side = std::string(name)](const DigestRequest& request) -> Result<std::int64_t> {
        const auto what = fmt::format("{} {} {}", side, to_string(request.kind), request.keys.front());
        CHECK(request.awaited_us == 101);
        done.push_back(request.kind == DigestKind::kArm || request.kind == DigestKind::kTouch
                           ? fmt::format("{} [{}] {}", what, fmt::join(request.touched, ","), request.at_us)
                           : what);
        if (request.kind != DigestKind::kTouch) {
          done.back() += fmt::format(" for {}", request.awaits.value);
        }
        const auto place = say.find(what);
        return place == say.end() ? Result<std::int64_t>(1) : place->second;
      };
    }
  }

  void put(const std::string& key, const char* in_a, const char* in_b, const char* in_c) {
    const std::pair<MadeUpRows*, const char*> all[] = {{&a, in_a}, {&b, in_b}, {&c, in_c}};
    for (const auto& [rows, note] : all) {
      if (note != nullptr) {
        rows->rows[key] = MadeUpRow{{key, note, "1"}};
      }
    }
  }

  RepairOutcome repair(const std::vector<RowDifference>& rows) {
    DigestRequest about;
    about.sender = {NodeId{1}, "a"};
    about.schema = "public";
    about.table = "item";
    about.key = {"id"};
    for (const auto& name : a.columns) {
      about.columns.push_back({name, "text"});
    }
    return repair_rows({{{NodeId{1}, "a"}, &a}, {{NodeId{2}, "b"}, &b}, {{NodeId{3}, "c"}, &c}}, about, rows, 100,
                       pace);
  }
};

}  // namespace

TEST_CASE("verify repair: all who show something else are armed, then this one is touched, then they are told") {
  Sides sides;
  sides.put("k", "mine", "theirs", "mine");
  auto outcome = sides.repair({{"k", What::kValues, {"note"}}});
  CHECK(outcome.repaired.size() == 1);
  CHECK(outcome.trouble.empty());
  CHECK(sides.done == List{"b arm k [note] 100 for 1", "a touch k [note] 101", "b fire k for 1"});
  // A third value, and one that differs elsewhere: the write is of all columns by which somebody would be overwritten.
  sides.done.clear();
  sides.c.rows["k"].values[2] = "2";
  outcome = sides.repair({{"k"}});
  CHECK(outcome.repaired.size() == 1);
  CHECK(sides.done == List{"b arm k [note] 100 for 1", "c arm k [price] 100 for 1", "a touch k [note,price] 101",
                           "b fire k for 1", "c fire k for 1"});
}

TEST_CASE("verify repair: a row that one side lacks is touched as a whole where it is, and a third value is armed") {
  Sides sides;
  sides.put("a", "mine", nullptr, "mine");
  sides.put("b", nullptr, "theirs", "third");
  const auto outcome = sides.repair({{"a", What::kMissingThere}, {"b", What::kMissingHere}});
  CHECK(outcome.repaired.size() == 2);
  CHECK(sides.done == List{"a touch a [] 101", "c arm b [note] 100 for 2", "b touch b [] 101", "c fire b for 2"});
}

TEST_CASE("verify repair: where the touch does not happen, nothing stays armed") {
  const Error held{ErrorKind::kConflict, "it adds up", ""};
  const std::vector<std::pair<std::string, Result<std::int64_t>>> steps{
      {"b arm k", 0}, {"c arm k", 0}, {"c arm k", held}, {"a touch k", 0}, {"a touch k", held}};
  for (const auto& [step, answer] : steps) {
    Sides sides;
    sides.put("k", "mine", "theirs", "third");
    sides.put("z", "mine", "theirs", "mine");
    sides.say.emplace(step, answer);
    INFO(step);
    const auto outcome = sides.repair({{"k"}, {"z"}});
    // One row's trouble ends nothing.
    CHECK(outcome.repaired == std::vector<RowDifference>{{"z"}});
    CHECK(outcome.trouble.size() == 1);
    for (const char* side : {"b", "c"}) {
      CHECK(std::count(sides.done.begin(), sides.done.end(), fmt::format("{} disarm k for 1", side)) == 1);
      CHECK(std::count(sides.done.begin(), sides.done.end(), fmt::format("{} fire k for 1", side)) == 0);
    }
  }
  // Nobody knows whether it has happened: then they stay, since the write may be on its way.
  for (const auto kind : {ErrorKind::kInDoubt, ErrorKind::kTransient}) {
    Sides sides;
    sides.put("k", "mine", "theirs", "mine");
    sides.say.emplace("a touch k", Error{kind, "gone", ""});
    const auto outcome = sides.repair({{"k"}});
    CHECK(outcome.trouble == std::map<std::string, std::int64_t>{{"gone", 1}});
    CHECK(sides.done == List{"b arm k [note] 100 for 1", "a touch k [note] 101"});
  }
}

TEST_CASE("verify repair: rows that are equal by now, have news anywhere, or wait are left alone") {
  Sides sides;
  sides.put("same", "mine", "mine", "third");
  sides.put("news here", "mine", "theirs", "mine");
  sides.a.rows["news here"].captured = true;
  sides.put("news of a third", "mine", "theirs", "mine");
  sides.c.rows["news of a third"].values[1] = "newer";
  sides.c.rows["news of a third"].writes = {{NodeId{3}, 7}};
  sides.put("waits", "mine", "theirs", "third");
  sides.c.rows["waits"].waits = true;
  sides.put("gone", nullptr, nullptr, "third");
  const auto outcome = sides.repair({{"same"}, {"news here"}, {"news of a third"}, {"waits"}, {"gone"}});
  CHECK(outcome.repaired.empty());
  CHECK(outcome.trouble.size() == 2);
  CHECK(outcome.trouble.at("they wait on one of the machines: 'mbsync status' there says for what") == 1);
  CHECK(sides.done.empty());
}

TEST_CASE("verify repair: nothing is done while a member cannot be asked, which may have a third value") {
  Sides sides;
  for (const char* key : {"k", "l", "m"}) {
    sides.put(key, "mine", "theirs", "mine");
  }
  sides.c.failure = Error{ErrorKind::kTransient, "no way", ""};
  auto outcome = sides.repair({{"k"}, {"l"}, {"m"}});
  CHECK(outcome.repaired.empty());
  REQUIRE(outcome.trouble.size() == 1);
  CHECK(outcome.trouble.begin()->first.find("c may show a third value") == 0);
  CHECK(outcome.trouble.begin()->second == 3);
  CHECK(sides.done.empty());
  // The same of the two themselves: what was found stays known.
  sides.c.failure.reset();
  sides.b.failure = Error{ErrorKind::kTransient, "gone", ""};
  outcome = sides.repair({{"k"}, {"l"}});
  CHECK(outcome.trouble == std::map<std::string, std::int64_t>{{"gone", 2}});
  CHECK_FALSE(outcome.given_up);
}

TEST_CASE("verify repair: a stop ends it, and what was done until then is said") {
  Sides sides;
  sides.put("k", "mine", "theirs", "mine");
  sides.put("l", "mine", "theirs", "mine");
  sides.pace.stop = true;
  const auto stopped = sides.repair({{"k"}, {"l"}});
  CHECK(stopped.given_up);
  CHECK(stopped.repaired == std::vector<RowDifference>{{"k"}});
}

}  // namespace mbsync
