// Who asks for comparisons, and whose turn it is.
#include "verify_board.h"

#include <catch2/catch.hpp>
#include <thread>

#include "verifier.h"

namespace mbsync {

using std::chrono::milliseconds;

TEST_CASE("verify board: an order is taken once, one at a time, and a scheduled run gives way to it") {
  VerifyBoard board;
  const std::stop_source stop;
  CHECK_FALSE(board.order({}));  // nobody is there
  CHECK_FALSE(board.cancel());
  board.open(true);
  const auto scheduled = board.begin_scheduled();
  REQUIRE(scheduled);
  CHECK(board.document()["running"]["scheduled"] == true);
  const auto id = board.order(VerifyOrder{{"b"}});
  REQUIRE(id);
  CHECK(board.document()["waiting"] == *id);
  CHECK(board.given_up());
  CHECK_FALSE(board.wait(milliseconds{60'000}, stop.get_token()));
  CHECK_FALSE(board.order({}));
  VerifyReport report;
  report.id = *scheduled;
  board.finished(report);
  CHECK_FALSE(board.begin_scheduled());  // somebody waits
  const auto order = board.take(milliseconds{0}, stop.get_token());
  REQUIRE(order);
  CHECK(order->id == *id);
  CHECK(order->what.peers == std::vector<std::string>{"b"});
  CHECK_FALSE(board.given_up());
  CHECK_FALSE(board.take(milliseconds{0}, stop.get_token()));
  CHECK_FALSE(board.order({}));
  board.at_peer("b", 3);
  board.at_table("public.item", 1);
  board.progress(7, 9);
  const auto running = board.document()["running"];
  CHECK(running["peer"] == "b");
  CHECK(running["tables_done"] == 1);
  CHECK(running["rows"] == 7);
  CHECK(board.cancel());
  CHECK(board.given_up());
  report.id = *id;
  board.finished(report);
  CHECK(board.document()["running"].is_null());
  CHECK(board.document()["last"]["id"] == *id);
}

TEST_CASE("verify board: what somebody has asked for is not replaced by what was due") {
  VerifyBoard board;
  const std::stop_source stop;
  board.open(true);
  const auto id = board.order({});
  REQUIRE(board.take(milliseconds{0}, stop.get_token()));
  VerifyReport report;
  report.id = *id;
  board.finished(report);
  report.id = *board.begin_scheduled();
  report.scheduled = true;
  board.finished(report);
  CHECK(board.document()["last"]["id"] == report.id);
  CHECK(board.document()["last_asked"]["id"] == *id);
}

TEST_CASE(
    "verify board: whoever ends a comparison ends its questions as well, and a new one those of one that is due") {
  VerifyBoard board;
  const std::stop_source stop;
  int ended = 0;
  board.open(true, [&] { ended += board.given_up() ? 1 : 0; });
  REQUIRE(board.begin_scheduled());
  REQUIRE(board.order({}));
  CHECK(ended == 1);
  board.finished({});
  REQUIRE(board.take(milliseconds{0}, stop.get_token()));
  CHECK(ended == 1);
  CHECK(board.cancel());
  CHECK(ended == 2);
  board.open(false);
  CHECK(board.cancel());
  CHECK(ended == 2);  // nobody is there any more
}

TEST_CASE("verify board: what waits when the node stops is answered, and a stop ends a pause") {
  VerifyBoard board;
  board.open(true);
  const auto id = board.order({});
  board.open(false);
  CHECK(board.document()["last"]["id"] == *id);
  CHECK(board.document()["last"]["failure"].is_string());
  std::stop_source stop;
  std::jthread stopper([&] { stop.request_stop(); });
  CHECK_FALSE(board.wait(milliseconds{60'000}, stop.get_token()));
}

TEST_CASE("verify report: equal only where all was compared with all") {
  TableVerdict equal{"public.item", TableVerdict::State::kEqual};
  VerifyReport report;
  report.peers.push_back({Member{NodeId{2}, "b"}});
  report.peers[0].tables = {equal};
  CHECK(report.result() == "equal");
  report.peers[0].failure = Error{ErrorKind::kTransient, "gone", ""};
  CHECK(report.result() == "incomplete");
  report.peers[0].failure.reset();
  report.failure = Error{ErrorKind::kCancelled, "ended", ""};
  CHECK(report.result() == "incomplete");
  report.failure.reset();
  report.peers[0].tables[0].state = TableVerdict::State::kUndecided;
  CHECK(report.result() == "incomplete");
  report.peers[0].tables[0].differences = {{"k"}};
  CHECK(report.result() == "different");
  CHECK(nlohmann::json::parse(note_of(report.peers[0].tables[0]).differences)[0]["key"] == "k");
}

TEST_CASE("verify schedule: each node compares itself with the next one, and the last with the first") {
  const std::vector<Member> all{{NodeId{3}, "c"}, {NodeId{1}, "a"}, {NodeId{7}, "g"}};
  const auto names = [](const std::vector<Member>& members) {
    std::string text;
    for (const auto& member : members) {
      text += member.name;
    }
    return text;
  };
  CHECK(names(in_turn(all, NodeId{2})) == "cga");
  CHECK(names(in_turn(all, NodeId{5})) == "gac");
  CHECK(names(in_turn(all, NodeId{9})) == "acg");
  CHECK(in_turn({}, NodeId{1}).empty());
}

}  // namespace mbsync
