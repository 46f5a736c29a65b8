// A peer that holds the key and says what no node can say: nothing of it may stay, and everybody else goes on.
#include <fmt/format.h>

#include <catch2/catch.hpp>

#include "node_pair.h"
#include "peer_claims.h"

using namespace mbsync;
using namespace mbsync::test;

namespace {

const std::string kItem = "CREATE TABLE item (id int PRIMARY KEY, note text)";
const NodeId kLiar{0x2b};
const NodeId kThird{0x3c};
constexpr std::int64_t kMax = std::numeric_limits<std::int64_t>::max();

/// A node with one row of its own, and a peer that is nothing but what the test says.
struct Victim {
  PgNode node{shared_cluster(), fresh_database_name(), kItem};
  PullHeader header;
  TableHeader table{"public", "item", {"id"}, {{"id", "integer"}, {"note", "text"}}, {1, 2}};

  Victim() {
    node.prepare();
    node.execute("INSERT INTO item VALUES (1, 'mine')");
    REQUIRE(node.store().seal_pending());
    header.sender = Member{kLiar, "liar"};
    header.members = {header.sender};
    header.seen = VersionVector({{kLiar, 10}});
    header.reports[kLiar] = header.seen;
  }
  NodeId self() { return node.store().self().id; }
  /// The last counter of this node's own.
  std::int64_t own() {
    return std::stoll(
        node.scalar("SELECT counter FROM mbsync.version_vector WHERE origin = " + std::to_string(self().value)));
  }

  Result<ApplyOutcome> take(const std::string& rows, std::int64_t count = 1) {
    auto session = node.store().open_pull("liar");
    REQUIRE(session);
    REQUIRE((*session)->ask(std::chrono::milliseconds{0}));
    auto& sink = (*session)->sink();
    MBSYNC_TRY(sink.header(header));
    if (!rows.empty()) {
      MBSYNC_TRY(sink.table(table));
      MBSYNC_TRY(sink.rows(rows));
      MBSYNC_TRY(sink.table_end(count));
    }
    MBSYNC_TRY(sink.footer(PullFooter{rows.empty() ? 0 : 1, count}));
    return (*session)->apply();
  }

  std::string everything() {
    return node.scalar(
        "SELECT concat_ws('|', (SELECT string_agg(item::text, ' ' ORDER BY id) FROM item), (SELECT string_agg(c::text, "
        "' ' ORDER BY key, origin) FROM mbsync.change c), (SELECT string_agg(v::text, ' ' ORDER BY origin) FROM "
        "mbsync.version_vector v), (SELECT string_agg(r::text, ' ' ORDER BY node, origin) FROM mbsync.report r), "
        "(SELECT count(*) FROM mbsync.node), (SELECT count(*) FROM mbsync.parked))");
  }

  /// Refused with these words, nothing is different, and an honest peer is heard as before.
  void check_refused(const Result<ApplyOutcome>& outcome, ErrorKind kind, const std::string& words,
                     const std::string& before) {
    REQUIRE_FALSE(outcome);
    CHECK(outcome.error().kind == kind);
    CHECK_THAT(outcome.error().text(), Catch::Contains(words));
    CHECK(everything() == before);
  }
  void check_rows_refused(const std::string& rows, const std::string& words, std::int64_t count = 1) {
    INFO(rows);
    const auto before = everything();
    check_refused(take(rows, count), ErrorKind::kCorrupt, words, before);
  }
};

std::string line(const std::string& key, const std::string& head, const std::string& values) {
  return key + "\t" + head + "\t" + values + "\n";
}
// origin, counter, at, bits, deleted, policy, kept, writes
const std::string kSound = "43\t5\t2024-01-01 00:00:00+00\t111\tf\t0\t\\N\t\\N";
const std::string kWrites = "\\N\t\\N\t\\N\t\\N\t\\N\t\\N\t\\N\t";

}  // namespace

TEST_CASE("hostile peer: an honest answer of this form is taken", "[hostile]") {
  Victim victim;
  const auto taken =
      victim.take(line("7", kSound, "7\tx") + line("8", kWrites + "[[43,6,1,\"111\",false,null,0,null]]", "8\ty"), 2);
  INFO((taken ? "" : taken.error().text()));
  REQUIRE(taken);
  CHECK(victim.node.rows("item") == "(1,mine)\n(7,x)\n(8,y)");
}

TEST_CASE("hostile peer: writes that it cannot have", "[hostile]") {
  Victim victim;
  const auto dot = [](std::int64_t origin, std::int64_t counter) {
    return line("7", fmt::format("{}\t{}\t2024-01-01 00:00:00+00\t111\tf\t0\t\\N\t\\N", origin, counter), "7\tx");
  };
  const std::string words = "a write that it says it does not have";
  victim.check_rows_refused(dot(43, 11), words);
  victim.check_rows_refused(dot(43, kMax), words);
  victim.check_rows_refused(dot(60, 1), words);
  victim.check_rows_refused(dot(-43, 1), words);
  // A write of this node's own, which it is going to make: it could never be sealed.
  victim.check_rows_refused(dot(victim.self().value, victim.own() + 1), words);
  victim.check_rows_refused(line("7", kWrites + "[[43,11,1,\"111\",false,null,0,null]]", "7\tx"), "does not have it");
  victim.check_rows_refused(line("7", kWrites + "{\"writes\":[],\"counters\":[[2,43,11,\"5\",\"5\"]]}", "7\tx"),
                            "does not have it");

  victim.check_rows_refused(
      line("7", kWrites + fmt::format("{{\"writes\":[],\"counters\":[[2,{},1,\"5\",\"5\"]]}}", victim.self().value),
           "7\tx"),
      "does not have it");
  // The same where there are many origins.
  for (std::int64_t origin = 100; origin < 200; ++origin) {
    victim.header.seen.advance({NodeId{origin}, 1});
  }
  victim.check_rows_refused(dot(43, 11), words);
  victim.check_rows_refused(dot(199, 2), words);
  victim.check_rows_refused(dot(200, 1), words);
  CHECK(victim.take(dot(199, 1)));

  victim.node.execute("UPDATE item SET note = 'still mine'");
  CHECK(victim.node.store().seal_pending().value() == 2);
}

TEST_CASE("hostile peer: rows whose head is none", "[hostile]") {
  Victim victim;
  const std::string words = "not of a form that there is";
  for (const std::string head :
       {"43\t0\t2024-01-01 00:00:00+00\t111\tf\t0\t\\N\t\\N", "43\t-5\t2024-01-01 00:00:00+00\t111\tf\t0\t\\N\t\\N",
        "43\t\\N\t2024-01-01 00:00:00+00\t111\tf\t0\t\\N\t\\N", "43\t5\t\\N\t111\tf\t0\t\\N\t\\N",
        "43\t5\t2024-01-01 00:00:00+00\t\\N\tf\t0\t\\N\t\\N", "43\t5\t2024-01-01 00:00:00+00\t111\t\\N\t0\t\\N\t\\N",
        "43\t5\t2024-01-01 00:00:00+00\t111\tf\t\\N\t\\N\t\\N", "43\t5\t2024-01-01 00:00:00+00\t111\tf\t-1\t\\N\t\\N",
        "43\t5\t2024-01-01 00:00:00+00\t000\tf\t0\t\\N\t\\N", "43\t5\t2024-01-01 00:00:00+00\t\tf\t0\t\\N\t\\N",
        "43\t5\t2024-01-01 00:00:00+00\t111\tf\t0\t(7,x)\t\\N", "43\t5\t2024-01-01 00:00:00+00\t111\tt\t0\t(7,\"x\t\\N",
        "43\t5\t2024-01-01 00:00:00+00\t111\tt\t0\tx\t\\N",
        "43\t5\t2024-01-01 00:00:00+00\t111\tf\t0\t\\N\t[[43,5,1,\"111\",false,null,0,null]]",
        // Nobody knows who wrote it: only a full answer may say so.
        "\\N\t\\N\t\\N\t\\N\t\\N\t\\N\t\\N\t\\N"}) {
    victim.check_rows_refused(line("7", head, "7\tx"), words);
  }
  victim.check_rows_refused(line("\\N", kSound, "7\tx"), words);
  victim.check_rows_refused(line("7", kSound, "\\N\tx"), words);
  victim.check_rows_refused(line("7", kSound, "8\tx"), "under the key of another");
  victim.check_rows_refused(
      line("7", kSound, "7\tx") + line("8", "43\t5\t2024-01-01 00:00:00+00\t1111\tf\t0\t\\N\t\\N", "8\tx"),
      "bit strings of different lengths", 2);
  victim.check_rows_refused(line("7", "43\t5\t2024-01-01 00:00:00+00\t111\tf\t4294967297\t\\N\t\\N", "7\tx"),
                            "did not come with it");
}

TEST_CASE("hostile peer: times that no clock shows", "[hostile]") {
  Victim victim;
  for (const std::string at :
       {"infinity", "294276-12-31 23:59:59+00", "10000-01-01 00:00:00+00", "0044-03-15 00:00:00+00 BC"}) {
    victim.check_rows_refused(line("7", "43\t5\t" + at + "\t111\tf\t0\t\\N\t\\N", "7\tx"), "not of a form");
  }
  for (const std::string at : {"9223372036854775807", "-9223372036854775807", "253402300800000000"}) {
    victim.check_rows_refused(line("7", kWrites + "[[43,5," + at + ",\"111\",false,null,0,null]]", "7\tx"), "'at'");
  }
  // A clock that is merely wrong is taken: what is written later, by whoever has seen this, stands all the same.
  REQUIRE(victim.take(line("1", "43\t5\t9999-12-31 23:59:59+00\t111\tf\t0\t\\N\t\\N", "1\ttheirs")));
  CHECK(victim.node.rows("item") == "(1,theirs)");
  victim.node.execute("UPDATE item SET note = 'mine again'");
  REQUIRE(victim.take(line("1", "43\t5\t9999-12-31 23:59:59+00\t111\tf\t0\t\\N\t\\N", "1\ttheirs")));
  CHECK(victim.node.rows("item") == "(1,\"mine again\")");
}

TEST_CASE("hostile peer: vectors from the future", "[hostile]") {
  Victim victim;
  const auto before = victim.everything();
  SECTION("of this node, in what it has: so does a database look that was restored") {
    victim.header.seen.advance({victim.self(), victim.own() + 1});
    victim.check_refused(victim.take(""), ErrorKind::kRejected, "only remembers " + std::to_string(victim.own()),
                         before);
  }
  SECTION("of this node, in what it says of others: what nobody holds would be forgotten") {
    victim.header.reports[kThird] = VersionVector({{victim.self(), victim.own() + 1}});
    victim.check_refused(victim.take(""), ErrorKind::kRejected, "only remembers " + std::to_string(victim.own()),
                         before);
  }
  SECTION("with counters that nobody reaches") {
    victim.header.seen.advance({kThird, kMax});
    victim.check_refused(victim.take(""), ErrorKind::kCorrupt, "a counter above", before);
  }
  SECTION("in reports as well") {
    victim.header.reports[kThird] = VersionVector({{kThird, kCounterMax + 1}});
    victim.check_refused(victim.take(""), ErrorKind::kCorrupt, "a counter above", before);
  }
  SECTION("forgotten and never had: whoever asks would be turned away for it") {
    victim.header.forgotten = VersionVector({{kThird, 5}});
    victim.check_refused(victim.take(""), ErrorKind::kCorrupt, "never had", before);
  }
}

TEST_CASE("hostile peer: requests are held to the same", "[hostile]") {
  Victim victim;
  PullRequest request;
  request.sender = {kLiar, "liar"};
  CHECK(victim.node.store().accept(request));
  request.seen = VersionVector({{victim.self(), victim.own()}});
  CHECK(victim.node.store().accept(request));
  request.seen = VersionVector({{victim.self(), victim.own() + 1}});
  CHECK(victim.node.store().accept(request).error().kind == ErrorKind::kRejected);
  request.seen = {};
  request.reports[kThird] = VersionVector({{victim.self(), victim.own() + 1}});
  CHECK(victim.node.store().accept(request).error().kind == ErrorKind::kRejected);
  request.reports[kThird] = VersionVector({{kThird, kMax}});
  CHECK(victim.node.store().accept(request).error().kind == ErrorKind::kCorrupt);
}

TEST_CASE("hostile peer: a fleet without end", "[hostile]") {
  Victim victim;
  const auto crowd = [](std::int64_t first, std::size_t count) {
    std::vector<Member> members;
    for (std::size_t i = 0; i < count; ++i) {
      members.push_back({NodeId{first + static_cast<std::int64_t>(i)}, "m"});
    }
    return members;
  };
  auto before = victim.everything();
  victim.header.members = crowd(1000, kFleetNodesMax);
  victim.check_refused(victim.take(""), ErrorKind::kRejected, "more than 1000", before);

  std::string sent;
  struct Nothing : PullSink {
    Result<void> header(const PullHeader& /*header*/) override { return {}; }
    Result<void> table(const TableHeader& /*table*/) override { return {}; }
    Result<void> rows(std::string_view /*copy_text*/) override { return {}; }
    Result<void> table_end(std::int64_t /*rows*/) override { return {}; }
    Result<void> footer(const PullFooter& /*footer*/) override { return {}; }
  } nothing;
  PullRequest request;
  request.sender = {kLiar, "liar"};
  request.members = crowd(1000, kFleetNodesMax - 2);
  REQUIRE(victim.node.store().answer(request, nothing));
  CHECK(victim.node.scalar("SELECT count(*) FROM mbsync.node") == "1000");
  request.members = crowd(5000, 1);
  const auto refused = victim.node.store().answer(request, nothing);
  REQUIRE_FALSE(refused);
  CHECK_THAT(refused.error().text(), Catch::Contains("more than 1000"));
  // Those that it knows are heard as before, under new names as well.
  request.members = {{NodeId{1000}, "renamed"}};
  CHECK(victim.node.store().answer(request, nothing));
  CHECK(victim.node.scalar("SELECT name FROM mbsync.node WHERE id = 1000") == "renamed");

  before = victim.everything();
  VersionVector::Map origins;
  for (std::int64_t i = 1; i <= static_cast<std::int64_t>(kFleetOriginsMax); ++i) {
    origins[NodeId{i}] = 1;
  }
  victim.header.members = {};
  victim.header.seen = VersionVector(origins);
  victim.header.reports = {};
  victim.check_refused(victim.take(""), ErrorKind::kRejected, "more than 4000", before);
}

TEST_CASE("hostile peer: while it lies, others are heard", "[hostile]") {
  Pair pair(kItem);
  pair.a.execute("INSERT INTO item VALUES (1, 'a')");
  pair.exchange();
  auto session = pair.b.store().open_pull("liar");
  REQUIRE(session);
  REQUIRE((*session)->ask(std::chrono::milliseconds{0}));
  PullHeader header;
  header.sender = {kLiar, "liar"};
  header.seen = VersionVector({{kLiar, 1}});
  REQUIRE((*session)->sink().header(header));
  REQUIRE((*session)->sink().table({"public", "item", {"id"}, {{"id", "integer"}, {"note", "text"}}, {1, 2}}));
  // It sends rows for ever; nothing is locked meanwhile.
  for (int i = 0; i < 1000; ++i) {
    REQUIRE((*session)->sink().rows(line(std::to_string(i), kSound, std::to_string(i) + "\tx")));
  }
  pair.a.execute("UPDATE item SET note = 'changed'");
  pair.exchange();
  CHECK(pair.b.rows("item") == "(1,changed)");
}

TEST_CASE("hostile peer: a node that is told that it is gone gives up nothing for an answer that is not whole (C22)") {
  Victim victim;
  auto session = victim.node.store().open_pull("liar");
  REQUIRE(session);
  auto answer = victim.header;
  answer.standing = Standing::kGone;
  const auto tell_it_is_gone = [&] {
    REQUIRE((*session)->ask(std::chrono::milliseconds{0}));
    auto gone = answer;
    REQUIRE((*session)->sink().header(gone));
    REQUIRE((*session)->sink().footer(PullFooter{}));
    const auto told = (*session)->apply();
    REQUIRE(told);
    REQUIRE(told->ask_again);
    const auto request = (*session)->ask(std::chrono::milliseconds{0});
    REQUIRE(request);
    REQUIRE(request->was == victim.self());
  };
  const auto before = victim.everything();
  const auto was = victim.self();
  const auto check_refused = [&] {
    const auto applied = (*session)->apply();
    REQUIRE_FALSE(applied);
    CHECK(applied.error().kind == ErrorKind::kCorrupt);
    CHECK(victim.everything() == before);
    CHECK(victim.self() == was);
  };
  answer.seen = VersionVector({{kLiar, 10}});

  tell_it_is_gone();  // only what it lacks, which is not all there is
  auto partly = victim.header;
  REQUIRE((*session)->sink().header(partly));
  REQUIRE((*session)->sink().table(victim.table));
  REQUIRE((*session)->sink().rows("2\t43\t1\t2024-01-01 00:00:00+00\t111\tf\t0\t\\N\t\\N\t2\ttheirs\n"));
  REQUIRE((*session)->sink().table_end(1));
  REQUIRE((*session)->sink().footer(PullFooter{1, 1}));
  check_refused();

  tell_it_is_gone();  // all, but nothing of who is away
  auto whole = victim.header;
  whole.full = true;
  REQUIRE((*session)->sink().header(whole));
  REQUIRE((*session)->sink().footer(PullFooter{}));
  check_refused();

  tell_it_is_gone();  // nothing, for now
  auto later = victim.header;
  later.ask_again = true;
  REQUIRE((*session)->sink().header(later));
  REQUIRE((*session)->sink().footer(PullFooter{}));
  check_refused();
}
