// What databases answer to a comparison of rows, and what becomes of rows that differ when they are given to the rules:
// nothing that any of three nodes shows may vanish without a record, whatever fails on the way.
#include <fmt/format.h>

#include <catch2/catch.hpp>
#include <functional>
#include <map>
#include <set>
#include <thread>

#include "node_pair.h"
#include "policies.h"
#include "rng.h"
#include "verify_repair.h"
#include "verify_table.h"

using namespace mbsync;
using namespace mbsync::test;

namespace {

constexpr const char* kItem = "CREATE TABLE item (id text PRIMARY KEY, note text, amount int)";
/// As an application never writes: no trigger sees it.
constexpr const char* kBehind = "SET session_replication_role = replica; ";

class Rows : public DigestSource {
 public:
  explicit Rows(PgNode& node) : node_(node) {}
  Result<DigestAnswer> ask(const DigestRequest& request) override {
    if (before) {
      MBSYNC_TRY(before(request));
    }
    auto answer = node_.store().digest(request);
    if (after) {
      after(request);
    }
    if (doubt && doubt(request)) {
      return Error{ErrorKind::kInDoubt, "the line broke before the answer came", ""};
    }
    return answer;
  }
  std::function<Result<void>(const DigestRequest&)> before;
  std::function<bool(const DigestRequest&)> doubt;  ///< it was done, and nobody hears of that
  std::function<void(const DigestRequest&)> after;

 private:
  PgNode& node_;
};

class NoPace : public VerifyPace {
 public:
  bool read(std::int64_t /*rows*/, std::chrono::nanoseconds /*took*/) override { return true; }
  bool wait(std::chrono::milliseconds /*pause*/) override { return true; }
  void progress(std::int64_t /*rows*/, std::int64_t /*estimate*/) override {}
};

VerifyLimits quick() {
  VerifyLimits limits;
  limits.rounds = 2;
  limits.tries = 1;
  return limits;
}

/// What of the two differs now, with no exchange in between.
TableVerdict compare(PgNode& here, PgNode& there, const std::string& table = "item", DigestRequest* about = nullptr) {
  Rows mine(here);
  Rows theirs(there);
  NoPace pace;
  TableComparison comparison(mine, theirs, here.store().self(), pace, quick());
  const auto verdict = comparison.compare("public", table);
  REQUIRE(verdict);
  if (about != nullptr) {
    *about = comparison.about();
  }
  return *verdict;
}

struct Drifted : Three {
  Rows at_a{a};
  Rows at_b{b};
  Rows at_c{c};

  explicit Drifted(const std::string& schema = kItem) : Three(schema) {}

  void fill() {
    a.execute("INSERT INTO item SELECT 'k' || i, 'note', i FROM generate_series(1, 20) i");
    settle();
  }
  void settle() {
    exchange();
    forget();
  }
  /// Of what `here` finds against `there`.
  RepairOutcome repair(PgNode& here, PgNode& there, const std::string& table = "item", std::int64_t at_us = 0) {
    DigestRequest about;
    const auto verdict = compare(here, there, table, &about);
    CHECK(verdict.why.empty());
    std::vector<RepairSide> sides;
    for (PgNode* node : {&here, &there, &a, &b, &c}) {
      if (std::none_of(sides.begin(), sides.end(),
                       [&](const RepairSide& side) { return side.node == node->store().self(); })) {
        sides.push_back({node->store().self(), node == &a ? &at_a : node == &b ? &at_b : &at_c});
      }
    }
    NoPace pace;
    const auto now =
        std::chrono::duration_cast<std::chrono::microseconds>(std::chrono::system_clock::now().time_since_epoch())
            .count();
    return repair_rows(sides, about, verdict.differences, at_us == 0 ? now : at_us, pace);
  }
  /// All show the same, and each of `values` of that column stands, or is on record on every node.
  void check_kept(const std::string& key, const std::string& column, const std::set<std::string>& values) {
    const auto stands = a.scalar(fmt::format("SELECT {} FROM item WHERE id = '{}'", column, key));
    for (PgNode* node : {&a, &b, &c}) {
      INFO(node->database() << " " << key << " " << column);
      CHECK(node->scalar(fmt::format("SELECT {} FROM item WHERE id = '{}'", column, key)) == stands);
      for (const auto& value : values) {
        INFO(value);
        CHECK((value == stands ||
               node->scalar(fmt::format("SELECT count(*) > 0 FROM mbsync.conflict_value WHERE table_name = 'item' AND "
                                        "key = '{}' AND column_name = '{}' AND losers::text LIKE '%\"value\": \"{}\"%'",
                                        key, column, value)) == "t"));
      }
    }
  }
  void check_disarmed() {
    for (PgNode* node : {&a, &b, &c}) {
      CHECK(node->scalar("SELECT count(*) FROM mbsync.armed") == "0");
    }
  }
  void check_equal(const std::string& table = "item") {
    for (PgNode* node : {&b, &c}) {
      CHECK(Pair::rows(a, table) == Pair::rows(*node, table));
      CHECK(compare(a, *node, table).state == TableVerdict::State::kEqual);
    }
  }
};

}  // namespace

TEST_CASE("verify rows: three values of one row are given to the rules, and the two that lose are on record") {
  Drifted fleet;
  fleet.fill();
  fleet.b.execute(std::string(kBehind) + "UPDATE item SET note = 'of b' WHERE id IN ('k1', 'k2', 'k3')");
  fleet.c.execute(std::string(kBehind) +
                  "UPDATE item SET note = 'of c' WHERE id = 'k1'; UPDATE item SET amount = 77 WHERE id = 'k2'; UPDATE "
                  "item SET note = 'of b' WHERE id = 'k3'");
  const auto outcome = fleet.repair(fleet.a, fleet.b);
  CHECK(outcome.repaired.size() == 3);
  CHECK(outcome.trouble.empty());
  fleet.check_disarmed();
  // c hears of it from a alone, before b does.
  fleet.c.pull(fleet.a);
  fleet.exchange();
  fleet.check_kept("k1", "note", {"note", "of b", "of c"});
  fleet.check_kept("k2", "note", {"note", "of b"});
  fleet.check_kept("k2", "amount", {"2", "77"});
  fleet.check_kept("k3", "note", {"note", "of b"});
  CHECK(fleet.b.scalar("SELECT string_agg(note || amount, ' ' ORDER BY id) FROM item WHERE id IN ('k1', 'k2', 'k3')") ==
        "note1 note2 note3");
  fleet.check_equal();
}

TEST_CASE("verify rows: who cannot be told to follow does so when the write arrives, and not before") {
  Drifted fleet;
  fleet.fill();
  fleet.b.execute(std::string(kBehind) + "UPDATE item SET note = 'of b' WHERE id IN ('k1', 'k2', 'k3', 'k4')");
  fleet.c.execute(std::string(kBehind) + "UPDATE item SET note = 'of c' WHERE id IN ('k1', 'k2', 'k3', 'k4')");
  const auto deaf = [](const DigestRequest& request) -> Result<void> {
    if (request.kind == DigestKind::kFire || request.kind == DigestKind::kDisarm) {
      return Error{ErrorKind::kTransient, "cut", ""};
    }
    return {};
  };
  fleet.at_b.before = fleet.at_c.before = deaf;
  CHECK(fleet.repair(fleet.a, fleet.b).repaired.size() == 4);
  CHECK(fleet.b.scalar("SELECT count(*) FROM mbsync.armed") == "4");
  // Meanwhile a's application writes another column of one, which comes along; one of them comes with several writes;
  // and b's application writes a row too.
  fleet.a.execute("UPDATE item SET amount = 100 WHERE id = 'k2'");
  fleet.b.execute("UPDATE item SET amount = 200 WHERE id = 'k3'");
  fleet.b.execute("UPDATE item SET note = 'newer' WHERE id = 'k4'");
  fleet.c.pull(fleet.a);  // c's own join in
  fleet.b.pull(fleet.c);  // by way of c, with two writes a row
  fleet.exchange();
  fleet.check_disarmed();
  for (const char* key : {"k1", "k2", "k3"}) {
    fleet.check_kept(key, "note", {"note", "of b", "of c"});
  }
  // What b's application has written since then is later than all of it.
  fleet.check_kept("k4", "note", {"note", "newer", "of c"});
  CHECK(fleet.a.scalar("SELECT note FROM item WHERE id = 'k4'") == "newer");
  CHECK(fleet.c.scalar("SELECT amount FROM item WHERE id = 'k2'") == "100");
  CHECK(fleet.c.scalar("SELECT amount FROM item WHERE id = 'k3'") == "200");
  CHECK(fleet.a.scalar("SELECT string_agg(DISTINCT note, ' ') FROM item WHERE id <> 'k4'") == "note");
  fleet.check_equal();
}

TEST_CASE("verify rows: what is written over a touch before anybody has it loses nothing either") {
  Drifted fleet;
  fleet.fill();
  fleet.b.execute(std::string(kBehind) + "UPDATE item SET note = 'of b', amount = 70 WHERE id IN ('k1', 'k2', 'k3')");
  fleet.c.execute(std::string(kBehind) + "UPDATE item SET note = 'of c' WHERE id IN ('k1', 'k2', 'k3')");
  const auto deaf = [](const DigestRequest& request) -> Result<void> {
    if (request.kind == DigestKind::kFire || request.kind == DigestKind::kDisarm) {
      return Error{ErrorKind::kTransient, "cut", ""};
    }
    return {};
  };
  fleet.at_b.before = fleet.at_c.before = deaf;
  CHECK(fleet.repair(fleet.a, fleet.b).repaired.size() == 3);
  // Sealed together with it, or behind it: what arrives is one write, of another time.
  fleet.a.execute("UPDATE item SET note = 'over it' WHERE id = 'k1'");
  fleet.a.execute("UPDATE item SET note = 'over it', amount = 5 WHERE id = 'k2'");
  fleet.a.execute("DELETE FROM item WHERE id = 'k3'");
  fleet.b.pull(fleet.a);
  fleet.exchange();
  fleet.exchange();
  for (const char* key : {"k1", "k2"}) {
    fleet.check_kept(key, "note", {"over it", "of b", "of c"});
  }
  fleet.check_kept("k2", "amount", {"5", "70"});
  CHECK(fleet.a.scalar("SELECT count(*) > 0 FROM mbsync.conflict_record WHERE table_name = 'item' AND key = 'k3'") ==
        "t");
  fleet.check_equal();
}

TEST_CASE("verify rows: what has followed a touch on one machine may come to a third before the touch itself") {
  Drifted fleet;
  fleet.fill();
  fleet.b.execute(std::string(kBehind) + "UPDATE item SET note = 'of b', amount = 70 WHERE id = 'k1'");
  fleet.c.execute(std::string(kBehind) + "UPDATE item SET note = 'of c', amount = 80 WHERE id = 'k1'");
  fleet.at_c.before = [](const DigestRequest& request) -> Result<void> {
    if (request.kind == DigestKind::kFire) {
      return Error{ErrorKind::kTransient, "cut", ""};
    }
    return {};
  };
  // What b's application writes while the row is armed is later than all of it.
  fleet.at_b.before = [&](const DigestRequest& request) -> Result<void> {
    if (request.kind == DigestKind::kFire) {
      fleet.b.execute("UPDATE item SET amount = 71 WHERE id = 'k1'");
    }
    return {};
  };
  CHECK(fleet.repair(fleet.a, fleet.b).repaired.size() == 1);
  fleet.c.pull(fleet.b);
  fleet.check_disarmed();
  fleet.exchange();
  fleet.check_kept("k1", "note", {"note", "of b", "of c"});
  fleet.check_kept("k1", "amount", {"1", "71", "80"});
  CHECK(fleet.a.scalar("SELECT note || ' ' || amount FROM item WHERE id = 'k1'") == "note 71");
  fleet.check_equal();
}

TEST_CASE("verify rows: an armed row whose touch has never happened is as any other") {
  Drifted fleet;
  fleet.fill();
  fleet.b.execute(std::string(kBehind) + "UPDATE item SET note = 'of b' WHERE id IN ('k1', 'k2')");
  bool cut = false;
  SECTION("nor could it be told") {
    cut = true;
  }
  SECTION("and it is told") {}
  fleet.at_b.before = [&](const DigestRequest& request) -> Result<void> {
    if (request.kind == DigestKind::kDisarm && cut) {
      return Error{ErrorKind::kTransient, "cut", ""};
    }
    return {};
  };
  // In the moment after, a's row is another.
  fleet.at_b.after = [&](const DigestRequest& request) {
    if (request.kind == DigestKind::kArm) {
      fleet.a.execute(fmt::format("UPDATE item SET amount = amount + 1000 WHERE id = '{}'", request.keys.front()));
    }
  };
  const auto outcome = fleet.repair(fleet.a, fleet.b);
  CHECK(outcome.repaired.empty());
  CHECK(outcome.trouble.size() == 1);
  CHECK(fleet.b.scalar("SELECT count(*) FROM mbsync.armed") == (cut ? "2" : "0"));
  fleet.at_b.after = {};
  // What a's application has written comes to b, and nothing of b's goes back: it is no write of anybody's.
  fleet.exchange();
  for (PgNode* node : {&fleet.a, &fleet.c}) {
    CHECK(node->scalar("SELECT count(*) FROM item WHERE note = 'note'") == "20");
  }
  CHECK(fleet.a.scalar("SELECT count(*) FROM mbsync.conflict_value") == "0");
  CHECK(fleet.b.scalar("SELECT amount FROM item WHERE id = 'k1'") == "1001");
  CHECK(fleet.b.scalar("SELECT count(*) FROM mbsync.armed") == (cut ? "2" : "0"));
}

TEST_CASE("verify rows: a row that the application holds is left, and the others are repaired without waiting") {
  Drifted fleet;
  fleet.fill();
  fleet.b.execute(std::string(kBehind) + "UPDATE item SET note = 'of b' WHERE id IN ('k1', 'k2', 'k3')");
  SqlSession holder{fleet.a.url()};
  holder.execute("BEGIN");
  holder.execute("SELECT * FROM item WHERE id = 'k2' FOR UPDATE");
  SqlSession other{fleet.b.url()};
  other.execute("BEGIN");
  other.execute("SELECT * FROM item WHERE id = 'k3' FOR UPDATE");
  const auto begun = std::chrono::steady_clock::now();
  const auto outcome = fleet.repair(fleet.a, fleet.b);
  CHECK(std::chrono::steady_clock::now() - begun < std::chrono::seconds{1});  // no lock was waited for
  CHECK(outcome.repaired.size() == 2);
  CHECK(outcome.trouble.size() == 1);
  // It is not told to follow either, and goes by the write that arrives.
  CHECK(fleet.b.scalar("SELECT string_agg(key, ' ') FROM mbsync.armed") == "k3");
  holder.execute("COMMIT");
  other.execute("COMMIT");
  CHECK(fleet.repair(fleet.a, fleet.b).repaired.size() == 1);
  fleet.exchange();
  fleet.check_disarmed();
  for (const char* key : {"k1", "k2", "k3"}) {
    fleet.check_kept(key, "note", {"note", "of b"});
  }
  fleet.check_equal();
}

TEST_CASE("verify rows: two repairs of one row at once, and one that is broken off in the middle, lose nothing") {
  Drifted fleet;
  fleet.fill();
  fleet.b.execute(std::string(kBehind) + "UPDATE item SET note = 'of b' WHERE id IN ('k1', 'k2')");
  fleet.c.execute(std::string(kBehind) + "UPDATE item SET note = 'of c' WHERE id IN ('k1', 'k2')");
  // b begins while a has armed, and before it touches; for the second row after the touch, before the rest is told.
  bool begun = false;
  const auto after = GENERATE(DigestKind::kArm, DigestKind::kTouch);
  (after == DigestKind::kArm ? fleet.at_b : fleet.at_a).after = [&](const DigestRequest& request) {
    if (request.kind == after && !begun) {
      begun = true;
      fleet.repair(fleet.b, fleet.c);
    }
  };
  fleet.repair(fleet.a, fleet.b);
  CHECK(begun);
  fleet.exchange();
  for (const char* key : {"k1", "k2"}) {
    fleet.check_kept(key, "note", {"note", "of b", "of c"});
  }
  fleet.check_disarmed();
  fleet.check_equal();
}

TEST_CASE("verify rows: a row that is missing comes back, where a third has another value as well") {
  Drifted fleet(
      "CREATE TABLE item (id text PRIMARY KEY, note text, amount int); CREATE TABLE a_part (id int PRIMARY KEY, "
      "item text REFERENCES item)");
  fleet.fill();
  fleet.a.execute("INSERT INTO a_part VALUES (1, 'k1')");
  fleet.settle();
  fleet.b.execute(std::string(kBehind) + "DELETE FROM a_part; DELETE FROM item WHERE id IN ('k1', 'k2')");
  fleet.c.execute(std::string(kBehind) + "UPDATE item SET note = 'of c' WHERE id = 'k1'");
  fleet.a.execute(std::string(kBehind) + "DELETE FROM item WHERE id = 'k3'");
  DigestRequest tables;
  tables.sender = fleet.a.store().self();
  const auto listed = fleet.at_a.ask(tables);
  REQUIRE(listed);
  REQUIRE(listed->tables.size() == 2);
  CHECK(listed->tables[0].name == "item");  // parents first
  CHECK(fleet.repair(fleet.a, fleet.b).repaired.size() == 3);
  CHECK(fleet.repair(fleet.a, fleet.b, "a_part").repaired.size() == 1);
  fleet.exchange();
  fleet.check_kept("k1", "note", {"note", "of c"});
  CHECK(fleet.b.scalar("SELECT count(*) FROM item") == "20");
  fleet.check_equal();
  fleet.check_equal("a_part");
  for (PgNode* node : {&fleet.a, &fleet.b, &fleet.c}) {
    CHECK(node->scalar("SELECT count(*) FROM mbsync.parked") == "0");
  }
}

TEST_CASE("verify rows: rows that an application deletes in the very moment are the same everywhere afterwards") {
  Drifted fleet;
  fleet.fill();
  fleet.b.execute(std::string(kBehind) + "UPDATE item SET note = 'of b' WHERE id IN ('k1', 'k2', 'k3')");
  // On the side that is armed, before and after it is told; and on the one that was touched.
  fleet.at_b.before = [&](const DigestRequest& request) -> Result<void> {
    if (request.kind == DigestKind::kFire && request.keys.front() != "k3") {
      (request.keys.front() == "k1" ? fleet.b : fleet.a)
          .execute(fmt::format("DELETE FROM item WHERE id = '{}'", request.keys.front()));
    }
    return {};
  };
  fleet.at_b.after = [&](const DigestRequest& request) {
    if (request.kind == DigestKind::kFire && request.keys.front() == "k3") {
      fleet.b.execute("DELETE FROM item WHERE id = 'k3'");
    }
  };
  CHECK(fleet.repair(fleet.a, fleet.b).repaired.size() == 3);
  fleet.check_disarmed();
  fleet.exchange();
  fleet.check_equal();
  // A deletion yields to a write that it has not seen, and that is on record too (CONFLICTS.md).
  CHECK(fleet.a.scalar("SELECT string_agg(id || ' ' || note, ', ' ORDER BY id) FROM item WHERE id IN ('k1', 'k2', "
                       "'k3')") == "k1 note, k2 of b, k3 note");
  CHECK(fleet.a.scalar("SELECT count(DISTINCT key) FROM mbsync.conflict WHERE table_name = 'item'") == "3");
}

TEST_CASE(
    "verify rows: values of types whose size is not asked for, and arrays of those of which it is, are compared") {
  Drifted fleet(
      "CREATE TABLE item (id text PRIMARY KEY, note text, amount int); CREATE TABLE odd (id int PRIMARY KEY, a "
      "character "
      "varying(20)[], b varchar[], c text[], d bytea[], e varchar(20), f char(5), g name, h xml, i json)");
  fleet.a.execute(
      "INSERT INTO odd SELECT i, ARRAY['x', 'y' || i], ARRAY['v', NULL], ARRAY['t'], ARRAY['\\x00'::bytea], 'e', 'f', "
      "'g', '<h/>', '{}' FROM generate_series(1, 10) i");
  fleet.settle();
  auto verdict = compare(fleet.a, fleet.b, "odd");
  CHECK(verdict.why.empty());
  CHECK(verdict.state == TableVerdict::State::kEqual);
  CHECK(verdict.rows == 10);
  fleet.b.execute(std::string(kBehind) + "UPDATE odd SET a[2] = 'z' WHERE id = 3");
  verdict = compare(fleet.a, fleet.b, "odd");
  CHECK(verdict.differences == std::vector<RowDifference>{{"3", RowDifference::What::kValues, {"a"}}});
  CHECK(fleet.repair(fleet.a, fleet.b, "odd").repaired.size() == 1);
  fleet.exchange();
  fleet.check_equal("odd");
}

TEST_CASE("verify rows: a table that is emptied, or made anew, while it is looked at is never said to differ") {
  Drifted fleet;
  fleet.fill();
  DigestRequest about;
  CHECK(compare(fleet.a, fleet.b, "item", &about).state == TableVerdict::State::kEqual);
  // b's look begins while a migration empties the table: by its end the rows are gone for older snapshots as well.
  SqlSession migration{fleet.b.url()};
  migration.execute("BEGIN");
  migration.execute("TRUNCATE item");
  about.kind = DigestKind::kLook;
  about.keys = {"k1"};
  about.sender = fleet.a.store().self();
  Result<DigestAnswer> there = Error{ErrorKind::kInternal, "not asked", ""};
  {
    std::jthread asks([&] { there = fleet.b.store().digest(about); });
    while (fleet.a.scalar("SELECT count(*) FROM pg_stat_activity WHERE datname = '" + fleet.b.database() +
                          "' AND wait_event_type = 'Lock'") == "0" &&
           !there) {
      std::this_thread::yield();
    }
    migration.execute("COMMIT");
  }
  REQUIRE(there);
  REQUIRE(there->looks.size() == 1);
  CHECK_FALSE(there->looks[0].present);
  CHECK(there->looks[0].captured);  // it is on its way
  fleet.settle();

  // A table of the same name that mbsync has not seen yet: what is written to it is not captured.
  fleet.a.execute("INSERT INTO item VALUES ('k1', 'note', 1)");
  fleet.settle();
  fleet.b.execute("DROP TABLE item; " + std::string(kItem) + "; INSERT INTO item VALUES ('k2', 'new', 1)");
  auto verdict = compare(fleet.a, fleet.b);
  CHECK(verdict.state == TableVerdict::State::kNotCompared);
  CHECK(verdict.why.find("triggers are not in place") != std::string::npos);
  CHECK(verdict.differences.empty());
}

TEST_CASE("verify rows: a table whose triggers wait for an application, or were switched off, is not compared yet") {
  Drifted fleet;
  fleet.fill();
  const std::string made = "CREATE TABLE fresh (id int PRIMARY KEY, v int)";
  for (PgNode* node : {&fleet.a, &fleet.b, &fleet.c}) {
    node->execute(made);
  }
  REQUIRE(fleet.a.store().refresh());
  SqlSession holder{fleet.b.url()};
  holder.execute("BEGIN");
  holder.execute("INSERT INTO fresh VALUES (1, 1)");
  const auto waiting = fleet.b.store().refresh();
  REQUIRE(waiting);
  CHECK(waiting->waiting == std::vector<std::string>{"public.fresh"});
  holder.execute("COMMIT");
  fleet.b.execute("INSERT INTO fresh VALUES (2, 2)");  // which nobody sees
  auto verdict = compare(fleet.a, fleet.b, "fresh");
  CHECK(verdict.state == TableVerdict::State::kNotCompared);
  CHECK(verdict.differences.empty());
  for (PgNode* node : {&fleet.b, &fleet.c}) {
    REQUIRE(node->store().refresh());
  }
  // Now they are taken in, and on their way.
  verdict = compare(fleet.a, fleet.b, "fresh");
  CHECK(verdict.differences.empty());
  CHECK(verdict.changing == 2);
  fleet.settle();
  fleet.check_equal("fresh");

  fleet.b.execute("ALTER TABLE item DISABLE TRIGGER ALL; UPDATE item SET note = 'unseen'");
  verdict = compare(fleet.a, fleet.b);
  CHECK(verdict.state == TableVerdict::State::kNotCompared);
  CHECK(verdict.differences.empty());
}

TEST_CASE("verify rows: a counter is the same whatever zeros its machine shows, and comes back with its row") {
  Drifted fleet("CREATE TABLE item (id text PRIMARY KEY, note text, amount numeric NOT NULL DEFAULT 0)");
  publish_to({&fleet.a, &fleet.b, &fleet.c}, "[[table]]\nname = 'item'\n[table.columns]\namount = 'sum'\n");
  fleet.a.execute("INSERT INTO item VALUES ('k1', 'note', 5.00), ('k2', 'note', 1)");
  fleet.settle();
  fleet.a.execute("UPDATE item SET amount = 7 WHERE id = 'k1'");
  fleet.b.execute("UPDATE item SET amount = amount + 3 WHERE id = 'k2'");
  fleet.settle();
  CHECK(fleet.a.scalar("SELECT amount FROM item WHERE id = 'k1'") == "7");
  CHECK(fleet.b.scalar("SELECT amount FROM item WHERE id = 'k1'") == "7.00");
  CHECK(compare(fleet.a, fleet.b).state == TableVerdict::State::kEqual);
  // Of two totals no rule knows which is right; the row with another difference is repaired all the same.
  fleet.b.execute(std::string(kBehind) +
                  "UPDATE item SET amount = 70 WHERE id = 'k1'; DELETE FROM item WHERE id = "
                  "'k2'");
  const auto outcome = fleet.repair(fleet.a, fleet.b);
  CHECK(outcome.repaired == std::vector<RowDifference>{{"k2", RowDifference::What::kMissingThere}});
  REQUIRE(outcome.trouble.size() == 1);
  CHECK(outcome.trouble.begin()->first.find("adds up") != std::string::npos);
  fleet.check_disarmed();
  fleet.exchange();
  CHECK(fleet.b.scalar("SELECT amount FROM item WHERE id = 'k2'") == "4");
  for (PgNode* node : {&fleet.a, &fleet.b, &fleet.c}) {
    node->execute("UPDATE item SET amount = amount + 1 WHERE id = 'k2'");
  }
  fleet.exchange();
  for (PgNode* node : {&fleet.a, &fleet.b, &fleet.c}) {
    CHECK(node->scalar("SELECT amount FROM item WHERE id = 'k2'") == "7");
  }
}

TEST_CASE("verify rows: whoever repairs what, and whatever fails in between, each value stands or is on record") {
  constexpr int kRows = 6;
  constexpr int kHistories = 12;
  const auto seed = seed_from_environment();
  INFO("MBSYNC_SEED=" << seed);
  Rng rng(seed);
  Drifted fleet;
  fleet.a.execute(fmt::format("INSERT INTO item SELECT 'k' || i, 'note', 0 FROM generate_series(1, {}) i", kRows));
  fleet.settle();
  const std::vector<std::pair<PgNode*, Rows*>> all{
      {&fleet.a, &fleet.at_a}, {&fleet.b, &fleet.at_b}, {&fleet.c, &fleet.at_c}};
  const auto any = [&]() -> PgNode& { return *all[rng.below(3)].first; };
  const auto pull = [&] {
    auto& from = any();
    auto& to = any();
    if (&from != &to) {
      to.pull(from);
    }
  };
  for (int history = 0; history < kHistories; ++history) {
    INFO("history " << history);
    std::map<std::pair<PgNode*, std::string>, std::string> shown;
    std::set<std::string> gone;  // on one of the three
    for (const auto& [node, rows] : all) {
      for (int i = 1; i <= kRows; ++i) {
        const auto key = fmt::format("k{}", i);
        const auto dice = rng.below(8);
        if (dice == 0 && gone.insert(key).second) {
          node->execute(fmt::format("{}DELETE FROM item WHERE id = '{}'", kBehind, key));
        } else if (dice > 3) {
          const auto value = fmt::format("{} of {} in {}", key, node->database(), history);
          node->execute(fmt::format("{}UPDATE item SET note = '{}' WHERE id = '{}'", kBehind, value, key));
          shown[{node, key}] = value;
        }
      }
      rows->before = [&](const DigestRequest& request) -> Result<void> {
        if (is_of_repair(request.kind) && rng.below(6) == 0) {
          return Error{rng.below(2) == 0 ? ErrorKind::kTransient : ErrorKind::kConflict, "refused", ""};
        }
        if (is_of_repair(request.kind) && rng.below(2) == 0) {
          pull();
        }
        return {};
      };
      rows->doubt = [&](const DigestRequest& request) {
        if (is_of_repair(request.kind) && rng.below(3) == 0) {
          pull();
        }
        return is_of_repair(request.kind) && rng.below(6) == 0;
      };
    }
    for (int i = 0; i < 4; ++i) {
      auto& here = any();
      auto& there = any();
      if (&here != &there) {
        fleet.repair(here, there);
      }
      pull();
    }
    for (const auto& [node, rows] : all) {
      rows->before = {};
      rows->doubt = {};
    }
    fleet.exchange();
    for (const auto& [place, value] : shown) {
      const auto& [node, key] = place;
      INFO(node->database() << " " << value);
      CHECK((node->scalar(fmt::format("SELECT note FROM item WHERE id = '{}'", key)) == value ||
             node->scalar(fmt::format("SELECT count(*) > 0 FROM mbsync.conflict_value WHERE key = '{}' AND "
                                      "(losers::text LIKE '%\"{}\"%' OR winner::text LIKE '%\"{}\"%')",
                                      key, value, value)) == "t"));
    }
    // Without failures all becomes the same in the end.
    for (PgNode* other : {&fleet.b, &fleet.c, &fleet.b}) {
      fleet.repair(fleet.a, *other);
      fleet.exchange();
    }
    fleet.check_equal();
    fleet.forget();
  }
}

TEST_CASE("verify rows: a role that owns its tables and may do no more compares and repairs") {
  shared_cluster().execute("postgres",
                           "DO $$ BEGIN CREATE ROLE ordinary LOGIN; EXCEPTION WHEN duplicate_object THEN NULL; END $$");
  PgNode a(shared_cluster(), fresh_database_name(), kItem, "ordinary");
  PgNode b(shared_cluster(), fresh_database_name(), kItem, "ordinary");
  a.prepare();
  b.prepare();
  exchange({&a, &b});
  a.execute("INSERT INTO item SELECT 'k' || i, 'note', i FROM generate_series(1, 5) i");
  exchange({&a, &b});
  CHECK(compare(a, b).state == TableVerdict::State::kEqual);
  shared_cluster().execute(b.database(), std::string(kBehind) + "UPDATE item SET note = 'of b' WHERE id = 'k1'");
  DigestRequest about;
  const auto verdict = compare(a, b, "item", &about);
  Rows mine(a);
  Rows theirs(b);
  NoPace pace;
  CHECK(repair_rows({{a.store().self(), &mine}, {b.store().self(), &theirs}}, about, verdict.differences,
                    1'700'000'000'000'000, pace)
            .repaired.size() == 1);
  exchange({&a, &b});
  CHECK(compare(a, b).state == TableVerdict::State::kEqual);
  CHECK(b.scalar("SELECT count(*) FROM mbsync.conflict_value WHERE losers::text LIKE '%of b%'") == "1");
}
