// What a user meets in the first hours: a node out of nothing but the environment, writes that arrive at once, stops,
// databases and peers that go away and come back, and mistakes in the settings.
#include <fmt/format.h>
#include <sys/socket.h>

#include <algorithm>
#include <catch2/catch.hpp>
#include <thread>

#include "fleet.h"
#include "wait_until.h"

using namespace mbsync::test;
using Clock = std::chrono::steady_clock;

namespace {

constexpr const char* kSchema = kItemSchema;

std::vector<std::chrono::microseconds> latencies(Node& from, Node& to, int writes) {
  SqlSession writer = from.connect();
  SqlSession reader = to.connect();
  std::vector<std::chrono::microseconds> samples;
  for (int i = 0; i < writes; ++i) {
    const std::string id = fmt::format("{}-{}", from.name(), i);
    writer.execute(fmt::format("INSERT INTO item VALUES ('{}', 'measured', {})", id, i));
    const auto committed = Clock::now();
    const std::string look = fmt::format("SELECT 1 FROM item WHERE id = '{}'", id);
    REQUIRE(wait_until(
        seconds{10}, [&] { return reader.scalar(look) == "1"; }, milliseconds{1}));
    samples.push_back(std::chrono::duration_cast<std::chrono::microseconds>(Clock::now() - committed));
  }
  return samples;
}

}  // namespace

TEST_CASE("basic: environment and --peer alone make a node, and a write is at the peer in well under a second") {
  Pair pair;
  pair.a.execute("INSERT INTO item VALUES ('before', 'there before mbsync', 1)");
  pair.start();
  CHECK(pair.a.count_in_log("schema mbsync created") == 1);
  CHECK(pair.b.count_in_log("schema mbsync created") == 1);
  pair.fleet.await_converged({&pair.a, &pair.b});
  CHECK(pair.b.scalar("SELECT note FROM item WHERE id = 'before'") == "there before mbsync");

  auto there = latencies(pair.a, pair.b, 50);
  auto back = latencies(pair.b, pair.a, 50);
  report(fmt::format(
      "basic latency, 50 writes each way: a to b p50 {:.1f} ms p95 {:.1f} ms, b to a p50 {:.1f} ms p95 {:.1f} ms",
      static_cast<double>(percentile_us(there, 0.5)) / 1000, static_cast<double>(percentile_us(there, 0.95)) / 1000,
      static_cast<double>(percentile_us(back, 0.5)) / 1000, static_cast<double>(percentile_us(back, 0.95)) / 1000));
  const auto bound = sanitized() ? 10'000'000 : 1'000'000;
  CHECK(percentile_us(there, 0.95) < bound);
  CHECK(percentile_us(back, 0.95) < bound);
  pair.fleet.await_converged({&pair.a, &pair.b});
  CHECK(pair.a.scalar("SELECT count(*) FROM mbsync.conflict_value") == "0");
  // A node says whom it is connected with, also if that worked at the first attempt.
  CHECK(pair.a.count_in_log("peer: in step") == 1);
  CHECK(pair.b.count_in_log("peer: in step") == 1);
}

TEST_CASE("basic: SIGTERM and SIGINT stop a node within 5 seconds, idle and at work") {
  Pair pair;
  pair.start();
  // Both are in their long polls now: nothing has been written.
  const auto idle_term = pair.a.stop(SIGTERM);
  const auto idle_int = pair.b.stop(SIGINT);
  CHECK(pair.a.count_in_log("stopped") == 1);

  // With the peer away, in the pauses between attempts.
  pair.a.start_ready();
  pair.a.await_log("not in step");
  const auto lonely = pair.a.stop(SIGTERM);

  const auto at_work = [&](Node& node, std::string_view session) {
    return node.scalar(
               fmt::format("SELECT count(*) FROM pg_stat_activity WHERE datname = '{}' AND state = 'active' AND "
                           "application_name LIKE '{}' AND clock_timestamp() - query_start > interval '30 ms'",
                           node.database(), session)) != "0";
  };
  const auto stop_at_work = [&](Node& node, std::string_view what, std::string_view session, std::string_view id) {
    pair.start();
    pair.a.execute(
        fmt::format("INSERT INTO item SELECT '{}' || i, repeat('x', 50), i FROM generate_series(1, 60000) i", id));
    const bool caught = wait_until(
        seconds{60}, [&] { return at_work(node, session); }, milliseconds{1});
    INFO(what);
    CHECK(caught);
    const auto took = node.stop(SIGTERM);
    (&node == &pair.a ? pair.b : pair.a).stop(SIGTERM);
    return took;
  };
  const auto applying = stop_at_work(pair.b, "b applies", "mbsync pull%", "p");
  const auto answering = stop_at_work(pair.a, "a seals and reads", "mbsync%", "q");

  pair.a.start_ready();
  pair.b.start_ready();
  pair.fleet.await_converged({&pair.a, &pair.b}, seconds{120});
  CHECK(pair.b.scalar("SELECT count(*) FROM item") == "120000");
  report(
      fmt::format("basic stop: idle SIGTERM {} ms, idle SIGINT {} ms, peer away {} ms, applying {} ms, answering {} ms",
                  idle_term.count(), idle_int.count(), lonely.count(), applying.count(), answering.count()));
}

TEST_CASE("basic: a stop is heard while the database is made ready for the first time, whatever holds that up") {
  Pair pair;
  SqlSession holder = pair.a.connect();
  holder.execute("SELECT pg_advisory_lock(hashtext('mbsync'), hashtext('engine'))");
  pair.a.start();
  REQUIRE(wait_until(seconds{20}, [&] {
    return pair.a.scalar(fmt::format("SELECT count(*) FROM pg_stat_activity WHERE datname = '{}' AND "
                                     "wait_event_type = 'Lock' AND application_name LIKE 'mbsync%'",
                                     pair.a.database())) == "1";
  }));
  const auto took = pair.a.stop(SIGTERM);
  CHECK(pair.a.count_in_log("stopped") == 1);
  CHECK(pair.a.count_in_log(" warning ") == 0);
  report(fmt::format("basic stop: while the database is made ready {} ms", took.count()));
}

TEST_CASE("basic: exchanges that are far apart are no matter, as news travel at once all the same") {
  Pair pair;
  for (Node* node : {&pair.a, &pair.b}) {
    node->set("SYNC_INTERVAL", "86400000");
  }
  pair.start();
  pair.a.await_log("peer: in step");
  pair.b.await_log("peer: in step");
  const auto troubles = [&] { return pair.a.count_in_log("not in step") + pair.b.count_in_log("not in step"); };
  const auto before = troubles();  // the first of the two to start may have found nobody
  // The second question and all that follow wait for news.
  for (const char* id : {"1", "2", "3"}) {
    pair.a.execute(fmt::format("INSERT INTO item VALUES ('{}', 'of a', 1)", id));
    pair.b.execute(fmt::format("INSERT INTO item VALUES ('{}b', 'of b', 1)", id));
    pair.fleet.await_converged({&pair.a, &pair.b});
  }
  INFO("a: " << pair.a.log() << "b: " << pair.b.log());
  CHECK(troubles() == before);
}

TEST_CASE("basic: one list of peers for all machines does, the own address in it is left out") {
  Pair pair;
  for (Node* node : {&pair.a, &pair.b}) {
    node->add_peer(node->port());
  }
  pair.start();
  pair.a.await_log("this address is the node's own");
  pair.b.await_log("this address is the node's own");
  pair.a.execute("INSERT INTO item VALUES ('1', 'of a', 1)");
  pair.fleet.await_converged({&pair.a, &pair.b});
  pair.fleet.await_quiet({&pair.a, &pair.b});
  for (Node* node : {&pair.a, &pair.b}) {
    INFO(node->log());
    CHECK(node->count_in_log("this address is the node's own") == 1);
    CHECK(node->count_in_log("is a copy") == 0);
    CHECK(node->count_in_log("request refused") == 0);
    CHECK(node->count_in_log("peer: in step") == 1);
  }
}

TEST_CASE("basic: a peer that cannot reach the fleet itself is waited for, and that is said once") {
  Pair pair;
  pair.a.execute("INSERT INTO item VALUES ('a', 'of a', 1)");
  pair.b.execute("INSERT INTO item VALUES ('b', 'of b', 1)");
  Node& c = pair.fleet.add_node(Fleet::shared_cluster(), "c", kSchema);
  c.execute("INSERT INTO item VALUES ('c', 'of c', 1)");
  pair.a.add_peer(c.port());
  pair.start();
  c.start_ready();
  pair.fleet.await_converged({&pair.a, &pair.b});

  const std::string said = "waits until c has joined the fleet";
  pair.a.await_log(said, seconds{60});
  CHECK(c.scalar("SELECT count(*) FROM item") == "1");
  CHECK(c.stop() < kStopBound);

  c.add_peer(pair.a.port());
  c.start_ready();
  const auto joined = pair.fleet.await_converged({&pair.a, &pair.b, &c}, seconds{60});
  report(fmt::format("basic join: converged {} ms after the peer could reach the fleet", joined.count()));
  INFO(pair.a.log());
  CHECK(pair.a.count_in_log(said) <= 2);  // once more where the peer was away between, at most
  CHECK(pair.a.scalar("SELECT count(*) FROM item") == "3");
}

TEST_CASE("basic: a database that does not answer any more does not hold up a stop") {
  Fleet fleet;
  TempCluster& own = fleet.add_cluster();
  Node& a = fleet.add_node(own, "a", kSchema);
  Node& b = fleet.add_node(Fleet::shared_cluster(), "b", kSchema);
  fleet.connect(a, b);
  a.start();
  b.start();
  fleet.await_met({&a, &b});
  // As a machine that is paused: every process of the server is there, and none does anything.
  SqlSession look = a.connect();
  std::vector<pid_t> frozen{own.postmaster_pid()};
  for (const auto& row : look.query("SELECT pid FROM pg_stat_activity WHERE application_name LIKE 'mbsync%'").rows) {
    frozen.push_back(static_cast<pid_t>(std::stol(row[0])));
  }
  CHECK(frozen.size() > 2);
  for (const pid_t pid : frozen) {
    REQUIRE(::kill(pid, SIGSTOP) == 0);
  }
  b.execute("INSERT INTO item VALUES ('1', 'for the frozen one', 1)");
  const auto took = a.stop(SIGTERM);
  for (const pid_t pid : frozen) {
    ::kill(pid, SIGCONT);
  }
  a.start_ready();
  fleet.await_converged({&a, &b});
  report(fmt::format("basic frozen database: stopped in {} ms", took.count()));
}

TEST_CASE("basic: a database that is not there yet is waited for, and one that is restarted is connected to again") {
  Fleet fleet;
  TempCluster& own = fleet.add_cluster();
  Node& a = fleet.add_node(own, "a", kSchema);
  Node& b = fleet.add_node(Fleet::shared_cluster(), "b", kSchema);
  fleet.connect(a, b);
  own.stop();
  a.start();
  b.start();
  a.await_log("waiting for the database");
  const auto up = Clock::now();
  own.start();
  fleet.await_met({&a, &b});
  const auto connected = since(up);

  a.execute("INSERT INTO item VALUES ('1', 'before the restart', 1)");
  own.restart();
  const auto back = Clock::now();
  a.execute("INSERT INTO item VALUES ('2', 'after the restart', 2)");
  b.execute("INSERT INTO item VALUES ('3', 'of the other', 3)");
  fleet.await_converged({&a, &b});
  const auto converged = since(back);
  CHECK(a.scalar("SELECT count(*) FROM item") == "3");
  CHECK(a.running());
  // Said once for each reason, not with every attempt: refused and starting the first time, shutting down besides the
  // second time.
  CHECK(a.count_in_log("waiting for the database") <= 5);
  report(fmt::format("basic database: connected {} ms after its start, converged {} ms after its restart",
                     connected.count(), converged.count()));
}

TEST_CASE("basic: a peer that was away, and a link that was cut, are connected to again") {
  Pair pair;
  pair.a.start_ready();
  pair.a.await_log("not in step");
  pair.a.execute("INSERT INTO item VALUES ('1', 'while the peer is away', 1)");
  pair.b.start_ready();
  const auto there = Clock::now();
  pair.fleet.await_converged({&pair.a, &pair.b});
  const auto peer_back = since(there);
  pair.a.await_log("peer: in step");

  pair.link.cut();
  pair.a.await_log("not in step", seconds{20}, 2);
  pair.a.execute("INSERT INTO item VALUES ('2', 'while the link is cut', 1)");
  pair.b.execute("INSERT INTO item VALUES ('3', 'while the link is cut', 1)");
  pair.link.restore();
  const auto restored = Clock::now();
  pair.fleet.await_converged({&pair.a, &pair.b});
  const auto link_back = since(restored);
  CHECK(pair.a.scalar("SELECT count(*) FROM item") == "3");

  pair.b.kill9();
  pair.a.execute("INSERT INTO item VALUES ('4', 'while the peer is dead', 1)");
  pair.b.start_ready();
  pair.fleet.await_converged({&pair.a, &pair.b});
  report(fmt::format("basic peer: converged {} ms after the peer's start, {} ms after the link was restored",
                     peer_back.count(), link_back.count()));
}

TEST_CASE("basic: a second mbsync on the same database waits, says why, and takes over when the first has ended") {
  Pair pair;
  pair.start();
  Fleet other;
  Node& second = other.add_node(Fleet::shared_cluster(), "second");
  second.set("DATABASE_URL", pair.a.url());
  second.set("SYNC_PORT", std::to_string(pair.a.port()));  // where b looks for this database
  second.add_peer(pair.b.port());
  second.start();
  second.await_log("another mbsync is at work on database");
  pair.a.execute("INSERT INTO item VALUES ('1', 'by the first', 1)");
  pair.fleet.await_converged({&pair.a, &pair.b});
  CHECK(second.running());
  CHECK(second.count_in_log("another mbsync is at work") == 1);
  CHECK(second.count_in_log("node ready") == 0);

  pair.a.kill9();
  const auto killed = Clock::now();
  second.await_log("listening address=");
  const auto took = since(killed);
  pair.a.execute("INSERT INTO item VALUES ('2', 'for the second', 1)");
  pair.fleet.await_converged({&pair.a, &pair.b});
  report(fmt::format("basic second mbsync: at work {} ms after the first was killed", took.count()));
}

TEST_CASE("basic: settings that only a person can mend end the program with 2, a database that refuses with 3") {
  Fleet fleet;
  const auto run_with = [&](const std::string& variable, const std::string& value, int expected = 2) {
    Node& node = fleet.add_node(Fleet::shared_cluster(), "wrong");
    node.set(variable, value);
    node.start();
    const auto code = node.wait(seconds{10});
    INFO(node.log());
    CHECK(code.value_or(-1) == expected);
    return node.log();
  };
  CHECK_THAT(run_with("DATABASE_URL", ""), Catch::Contains("DATABASE_URL"));
  CHECK_THAT(run_with("SYNC_REGISTRATION_KEY", ""), Catch::Contains("SYNC_REGISTRATION_KEY"));
  CHECK_THAT(
      run_with("DATABASE_URL",
               fmt::format("postgres://postgres@127.0.0.1:{}/nosuchdatabase", Fleet::shared_cluster().port()), 3),
      Catch::Contains("nosuchdatabase"));
  for (const char* weak : {"short", "aaaaaaaaaaaaaaaaaaaaaaaa", "changeme"}) {
    const std::string said = run_with("SYNC_REGISTRATION_KEY", weak);
    CHECK_THAT(said, Catch::Contains("key"));
    CHECK_THAT(said, !Catch::Contains(fmt::format("'{}'", weak)) && !Catch::Contains(fmt::format("\"{}\"", weak)));
  }
}

TEST_CASE("basic: peers with different keys stay apart, say so once, and nothing changes") {
  Pair pair;
  pair.b.set("SYNC_REGISTRATION_KEY", "MK2W-7PDX-T4QZ-H9CB-3VNR-L6FJ");
  pair.a.execute("INSERT INTO item VALUES ('1', 'secret of a', 1)");
  pair.a.start_ready();
  pair.b.start_ready();
  const std::string said = "its SYNC_REGISTRATION_KEY differs";
  pair.a.await_log(said);
  pair.b.await_log(said);
  // Several attempts later, as the link tells: still nothing but one line.
  const auto bytes = pair.link.bytes();
  REQUIRE(wait_until(seconds{60}, [&] { return pair.link.bytes() > 3 * bytes; }));
  INFO("a: " << pair.a.log() << "b: " << pair.b.log());
  CHECK(pair.a.count_in_log(said) == 1);
  CHECK(pair.b.count_in_log(said) == 1);
  // And one more line about the stranger who knocks.
  CHECK(pair.a.count_in_log("another SYNC_REGISTRATION_KEY") == 1);
  CHECK(pair.b.count_in_log("another SYNC_REGISTRATION_KEY") == 1);
  CHECK(pair.b.scalar("SELECT count(*) FROM item") == "0");
  CHECK(pair.b.scalar("SELECT count(*) FROM mbsync.node") == "1");
  CHECK(pair.a.scalar("SELECT count(*) FROM mbsync.node") == "1");
  report(fmt::format("basic wrong key: {} bytes of refused handshakes, {} warnings of a, {} of b", pair.link.bytes(),
                     pair.a.count_in_log(" warning "), pair.b.count_in_log(" warning ")));
}

TEST_CASE("basic: a port that is taken ends the program with 4") {
  Fleet fleet;
  Node& a = fleet.add_node(Fleet::shared_cluster(), "a", kSchema);
  Node& b = fleet.add_node(Fleet::shared_cluster(), "b", kSchema);
  a.start_ready();
  b.set("SYNC_PORT", std::to_string(a.port()));
  b.start();
  const auto code = b.wait(seconds{20});
  INFO(b.log());
  CHECK(code.value_or(-1) == 4);
  CHECK_THAT(b.log(), Catch::Contains(std::to_string(a.port())));
}

TEST_CASE("basic: a node listens to few peers and visits the others, and says of each once how it is") {
  Fleet fleet;
  std::vector<Node*> nodes;
  for (const auto* name : {"a", "b", "c", "d", "e"}) {
    Node& node = fleet.add_node(Fleet::shared_cluster(), name, kSchema);
    node.set("SYNC_LIVE_PEERS", "2");
    node.set("SYNC_INTERVAL", "1000");
    node.set("LOG_LEVEL", "debug");
    for (auto* other : nodes) {
      node.add_peer(other->port());
      other->add_peer(node.port());
    }
    nodes.push_back(&node);
  }
  for (auto* node : nodes) {
    node->start();
  }
  fleet.await_met({nodes[0], nodes[1], nodes[2], nodes[3], nodes[4]});
  for (auto* node : nodes) {
    node->execute(fmt::format("INSERT INTO item VALUES ('{0}', 'of {0}', 1)", node->name()));
  }
  fleet.await_converged({nodes[0], nodes[1], nodes[2], nodes[3], nodes[4]});
  CHECK(nodes[0]->scalar("SELECT count(*) FROM item") == "5");
  for (auto* node : nodes) {
    node->await_log("visited", seconds{30}, 6);  // the two others, three times each
    CHECK(node->count_in_log("in_step=true") > 0);
    // At the start some peers are not there yet; each comes to be in step once.
    CHECK(node->count_in_log("info peer: in step") <= 4);
  }
}
