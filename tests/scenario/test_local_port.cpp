// What a running node tells on its local port, and what it can be told: real nodes beside real databases.
#include <fmt/format.h>

#include <catch2/catch.hpp>
#include <csignal>
#include <fstream>
#include <list>
#include <nlohmann/json.hpp>
#include <regex>
#include <thread>

#include "fleet.h"
#include "free_port.h"
#include "http_say.h"
#include "listener.h"
#include "wait_until.h"

using namespace mbsync::test;
using nlohmann::json;

namespace {

constexpr const char* kSchema = kItemSchema;

/// Also from here to there: that it has asked is not all.
void start_in_step(Pair& pair) {
  pair.start();
  pair.a.await_log("in step peer=b");
  pair.b.await_log("in step peer=a");
}

json health(Node& node) {
  const auto answer = ask(node.local_port(), "/health");
  INFO(answer.head << answer.body);
  REQUIRE((answer.status == 200 || answer.status == 503));
  return json::parse(answer.body);
}

Finished say_mbsync(Node& node, std::vector<std::string> arguments) {
  return run_program(mbsync_program(), clean_options(std::move(arguments),
                                                     {{"DATABASE_URL", node.url()},
                                                      {"SYNC_REGISTRATION_KEY", kFleetKey},
                                                      {"SYNC_PORT", std::to_string(node.port())},
                                                      {"SYNC_STATUS_PORT", std::to_string(node.local_port())}},
                                                     std::filesystem::temp_directory_path()));
}

double metric(const std::string& page, const std::string& series) {
  const auto place = page.find("\n" + series + " ");
  INFO(page);
  REQUIRE(place != std::string::npos);
  return std::stod(page.substr(place + series.size() + 2));
}

}  // namespace

TEST_CASE("local port: health, metrics, statistics and status after writes") {
  Pair pair;
  pair.a.execute("INSERT INTO item SELECT 'x' || i, 'n', i FROM generate_series(1, 100) i");
  start_in_step(pair);
  pair.fleet.await_converged({&pair.a, &pair.b});
  json document;
  REQUIRE(wait_until(seconds{20}, [&] {
    document = health(pair.b);
    // What the two say of themselves goes on travelling for a moment.
    return document["status"] == "healthy" && document["peers_connected"] == 1 &&
           document["fleet"][0]["lag"]["incoming"]["rows"] == 0;
  }));
  CHECK(document["uptime"].get<double>() > 0);
  CHECK(document["node"]["name"] == "b");
  CHECK(document["peers_connected"] == 1);
  CHECK(document["service"]["running"] == true);
  CHECK(document["database"]["reachable"] == true);
  REQUIRE(document["fleet"].size() == 1);
  CHECK(document["fleet"][0]["name"] == "a");
  CHECK(document["fleet"][0]["state"] == "connected");
  CHECK(document["fleet"][0]["rows_in"].get<int>() >= 100);

  const auto page = ask(pair.b.local_port(), "/metrics");
  CHECK(page.status == 200);
  CHECK_THAT(page.head, Catch::Contains("text/plain; version=0.0.4"));
  CHECK(metric(page.body, "mbsync_status{status=\"healthy\"}") == 1);
  CHECK(metric(page.body, "mbsync_peers_connected") == 1);
  CHECK(metric(page.body, "mbsync_apply_duration_seconds_count") >= 1);
  CHECK(metric(page.body, "mbsync_table_size_bytes{table=\"change\"}") > 0);
  CHECK(metric(page.body, fmt::format("mbsync_rows_received_total{{node=\"{}\",peer=\"a\"}}",
                                      document["fleet"][0]["id"].get<std::string>())) >= 100);

  const auto stats = json::parse(ask(pair.b.local_port(), "/api/sync/stats?minutes=1440").body);
  CHECK(stats["totals"]["rows_in"].get<int>() >= 100);
  REQUIRE_FALSE(stats["samples"].empty());
  int rows = 0;
  for (const auto& sample : stats["samples"]) {
    rows += sample["rows_in"].get<int>();
  }
  CHECK(rows == stats["totals"]["rows_in"]);
  CHECK(ask(pair.b.local_port(), "/api/sync/stats?minutes=0").status == 400);

  const auto said = say_mbsync(pair.b, {"status"});
  INFO(said.out << said.err);
  CHECK(said.exit_code == 0);
  CHECK_THAT(said.out, Catch::Contains("Status:    healthy\n") && Catch::Contains("Peers Connected: 1\n") &&
                           Catch::Contains("Service:   running since ") && !Catch::Contains("\x1b"));
  const auto as_json = json::parse(say_mbsync(pair.b, {"status", "--json"}).out);
  CHECK(as_json["process"]["rows_in"] == stats["totals"]["rows_in"]);

  // Nobody else's lag: b goes, and a is told so by status in its words and its exit code.
  pair.b.stop();
  pair.a.execute("UPDATE item SET amount = 0");
  REQUIRE(wait_until(seconds{30}, [&] { return health(pair.a)["status"] == "degraded"; }));
  const auto without = say_mbsync(pair.a, {"status"});
  CHECK(without.exit_code == 1);
  CHECK_THAT(without.out,
             Catch::Contains("Status:    degraded\n  b is not connected: ") && Catch::Contains("Peers Connected: 0\n"));
  CHECK(wait_until(seconds{30}, [&] { return health(pair.a)["fleet"][0]["lag"]["outgoing"]["rows"] == 100; }));
  // The node itself gone, and its database there.
  const auto down = say_mbsync(pair.b, {"status"});
  CHECK(down.exit_code == 2);
  CHECK_THAT(down.out, Catch::Contains("Status:    down\n  no node runs on this database\n"));
}

TEST_CASE("local port: with the database stopped it answers at once, 503, and again when it is back") {
  Fleet fleet;
  TempCluster& cluster = fleet.add_cluster();
  Node& node = fleet.add_node(cluster, "alone", kSchema);
  node.start_ready();
  REQUIRE(wait_until(seconds{20}, [&] { return ask(node.local_port(), "/health").status == 200; }));
  cluster.stop();
  REQUIRE(wait_until(seconds{20}, [&] { return ask(node.local_port(), "/health").status == 503; }));
  // What was read a moment ago may be told once more.
  REQUIRE(wait_until(seconds{5}, [&] { return health(node)["database"]["reachable"] == false; }));
  const auto answer = ask(node.local_port(), "/health");
  const auto document = json::parse(answer.body);
  CHECK(document["status"] == "down");
  CHECK(document["database"]["reachable"] == false);
  CHECK(document["uptime"].get<double>() > 0);
  CHECK(ask(node.local_port(), "/api/sync/service").status == 200);
  CHECK(metric(ask(node.local_port(), "/metrics").body, "mbsync_database_up") == 0);
  CHECK(ask(node.local_port(), "/api/sync/conflicts").status == 503);
  CHECK(ask(node.local_port(), "/api/sync/service", R"({"action":"sync"})").status != 400);
  const auto said = say_mbsync(node, {"status"});
  INFO(said.out << said.err);
  CHECK(said.exit_code == 2);
  CHECK_THAT(said.out, Catch::Contains("Status:    down\n  the database cannot be read: "));
  cluster.start();
  CHECK(wait_until(seconds{30}, [&] { return ask(node.local_port(), "/health").status == 200; }));
}

TEST_CASE("local port: a node that waits for its database at its start ends when it is told to") {
  Fleet fleet;
  TempCluster& cluster = fleet.add_cluster();
  Node& node = fleet.add_node(cluster, "early", kSchema);
  cluster.stop();
  node.start();
  node.await_log("local port open");
  node.await_log("waiting for the database");
  CHECK(ask(node.local_port(), "/api/sync/service", R"({"action":"restart"})").status == 202);
  CHECK(ask(node.local_port(), "/api/sync/service", R"({"action":"stop"})").status == 202);
  CHECK(node.wait(kStopBound) == 0);
  cluster.start();
}

TEST_CASE("local port: a database that hangs does not make it hang, nor the end of the node") {
  Fleet fleet;
  Node& node = fleet.add_node(Fleet::shared_cluster(), "held", kSchema);
  node.start_ready();
  REQUIRE(wait_until(seconds{20}, [&] { return ask(node.local_port(), "/health").status == 200; }));
  SqlSession holder = node.connect();
  holder.execute("BEGIN; LOCK TABLE mbsync.conflict_record, mbsync.capture IN ACCESS EXCLUSIVE MODE");
  CHECK(wait_until(seconds{30}, [&] {
    const auto begun = std::chrono::steady_clock::now();
    const auto status = ask(node.local_port(), "/health").status;
    CHECK(since(begun) < seconds{sanitized() ? 10 : 5});
    return status == 503;
  }));
  CHECK_THAT(ask(node.local_port(), "/health").body, Catch::Contains("it has not answered in time"));
  CHECK(ask(node.local_port(), "/api/sync/process").status == 200);
  const auto said = say_mbsync(node, {"status"});
  CHECK(said.exit_code == 2);
  CHECK_THAT(said.out, Catch::Contains("it has not answered within 20 s"));
  // More than there may be at a time; all wait for the lock or are turned away.
  std::list<HttpLine> readers;
  for (int i = 0; i < 6; ++i) {
    readers.emplace_back(node.local_port())
        .say(fmt::format("GET /api/sync/conflicts HTTP/1.1\r\nHost: localhost:{}\r\n\r\n", node.local_port()));
  }
  CHECK(wait_until(seconds{10}, [&] {
    return std::any_of(readers.begin(), readers.end(), [](HttpLine& one) { return one.hear("503", milliseconds{10}); });
  }));
  node.stop();
}

TEST_CASE("local port: while only the status cannot be read, the node is not said to be down") {
  Fleet fleet;
  Node& node = fleet.add_node(Fleet::shared_cluster(), "slow", kSchema);
  node.start_ready();
  REQUIRE(wait_until(seconds{20}, [&] { return ask(node.local_port(), "/health").status == 200; }));
  SqlSession holder = node.connect();
  holder.execute("BEGIN; LOCK TABLE mbsync.conflict_record IN ACCESS EXCLUSIVE MODE");
  // Each of them waits for the database as long as it may.
  for (int i = 0; i < 3; ++i) {
    const auto answer = ask(node.local_port(), "/health");
    CHECK(answer.status == 200);
    CHECK(json::parse(answer.body)["database"]["reachable"] == true);
  }
  // What a round has come to is not taken from before.
  const auto round = json::parse(ask(node.local_port(), "/api/sync/service", R"({"action": "sync"})").body);
  CHECK(round["done"] == true);
  holder.execute("ROLLBACK");
  node.stop();
}

TEST_CASE("local port: settings that SIGHUP brings are what it tells") {
  Fleet fleet;
  Node& node = fleet.add_node(Fleet::shared_cluster(), "reread", kSchema);
  node.start_ready();
  CHECK(wait_until(seconds{20}, [&] { return health(node)["network"]["named_peers"] == json::array(); }));
  std::ofstream{fleet.directory() / node.database() / "mbsync.toml"} << "peers = [\"127.0.0.1:9\"]\n";
  ::kill(json::parse(ask(node.local_port(), "/api/sync/process").body)["pid"].get<pid_t>(), SIGHUP);
  CHECK(wait_until(seconds{20}, [&] { return health(node)["network"]["named_peers"] == json{"127.0.0.1:9"}; }));
  node.stop();
}

TEST_CASE("local port: the token is for the node of the database, and for nobody who listens in its stead") {
  Fleet fleet;
  Node& node = fleet.add_node(Fleet::shared_cluster(), "gone", kSchema);
  node.start_ready();
  node.stop();
  const SilentListener stranger;
  std::string heard;
  std::thread listens([&] { heard = stranger.hear(seconds{20}); });
  const auto said = run_program(mbsync_program(), clean_options({"status"},
                                                                {{"DATABASE_URL", node.url()},
                                                                 {"SYNC_STATUS_TOKEN", "s3cret-token-of-20ch"},
                                                                 {"SYNC_STATUS_PORT", std::to_string(stranger.port())}},
                                                                std::filesystem::temp_directory_path()));
  listens.join();
  CHECK(said.exit_code == 2);
  CHECK_THAT(heard, Catch::Contains("GET /api/sync/process") && !Catch::Contains("s3cret"));
}

TEST_CASE("local port: a node that waits for its turn with the database is not taken for one that stands still") {
  Fleet fleet;
  Node& node = fleet.add_node(Fleet::shared_cluster(), "patient", kSchema);
  node.start_ready();
  const auto process = [&] { return json::parse(ask(node.local_port(), "/api/sync/process").body); };
  SqlSession holder = node.connect();
  holder.execute("SELECT pg_advisory_lock(hashtext('mbsync'), hashtext('engine'))");
  node.execute("INSERT INTO item VALUES ('x', 'n', 1)");
  const auto begun = process()["uptime_seconds"].get<double>();
  // Longer than it waits each time.
  CHECK(wait_until(seconds{40}, [&] {
    const auto now = process();
    CHECK(now["heartbeat_age_seconds"].get<double>() < (sanitized() ? 10 : 7));
    return now["uptime_seconds"].get<double>() > begun + 8;
  }));
  CHECK(node.scalar("SELECT count(*) FROM mbsync.capture") == "1");
  holder.execute("SELECT pg_advisory_unlock(hashtext('mbsync'), hashtext('engine'))");
  CHECK(wait_until(seconds{20}, [&] { return node.scalar("SELECT count(*) FROM mbsync.capture") == "0"; }));
  CHECK(node.count_in_log(" failed reason=") == 0);
  node.stop();
}

TEST_CASE("local port: a conflict is listed, shown side by side, decided and undone") {
  Pair pair;
  pair.a.execute("INSERT INTO item VALUES ('x', 'first', 1)");
  start_in_step(pair);
  pair.fleet.await_converged({&pair.a, &pair.b});
  pair.b.stop();
  pair.a.execute("UPDATE item SET note = 'of a'");
  pair.b.execute("UPDATE item SET note = 'of b'");
  pair.b.start_ready();
  pair.fleet.await_converged({&pair.a, &pair.b});
  const auto port = pair.a.local_port();
  const auto list = json::parse(ask(port, "/api/sync/conflicts?state=decided").body);
  INFO(list.dump(2));
  REQUIRE(list["conflicts"].size() == 1);
  const auto path = "/api/sync/conflicts/" + list["conflicts"][0]["id"].get<std::string>();
  const auto details = json::parse(ask(port, path).body);
  REQUIRE(details["versions"].size() == 2);
  const bool a_stands = details["row"]["values"]["note"] == "of a";
  const auto other = std::string(a_stands ? "of b" : "of a");
  json decision{{"how", "keep"}, {"stamp", details["stamp"]}};
  for (const auto& version : details["versions"]) {
    if (version["values"]["note"] == other) {
      decision["version"] = version["version"];
    }
  }
  const auto decided = ask(port, path, decision.dump());
  INFO(decided.body);
  CHECK(decided.status == 200);
  CHECK(json::parse(decided.body)["changed"][0]["to"] == other);
  CHECK(pair.a.scalar("SELECT note FROM item") == other);
  pair.fleet.await_converged({&pair.a, &pair.b});
  CHECK(pair.b.scalar("SELECT note FROM item") == other);
  // As it was shown it is no more.
  CHECK(ask(port, path, decision.dump()).status == 409);
  CHECK(ask(port, path, R"({"how":"undo"})").status == 200);
  CHECK(pair.a.scalar("SELECT note FROM item") != other);
  // A row that has changed since the conflict is left alone, unless it is still as it was shown.
  pair.a.execute("UPDATE item SET note = 'anew'");
  auto anew = json::parse(ask(port, path).body);
  json late{{"how", "keep"}, {"version", decision["version"]}, {"stamp", anew["stamp"]}};
  CHECK(ask(port, path, late.dump()).status == 409);
  late["shown"] = {{"exists", true}, {"values", anew["row"]["values"]}};
  pair.a.execute("UPDATE item SET note = 'meanwhile'");
  CHECK(ask(port, path, late.dump()).status == 409);
  CHECK(pair.a.scalar("SELECT note FROM item") == "meanwhile");
  late["shown"]["values"]["note"] = "meanwhile";
  CHECK(ask(port, path, late.dump()).status == 200);
  CHECK(pair.a.scalar("SELECT note FROM item") == other);
  CHECK(ask(port, path, R"({"how":"break"})").status == 400);
  CHECK(ask(port, path, R"({"how":"keep"})").status == 400);
  CHECK(ask(port, path, R"([1])").status == 400);
  CHECK(ask(port, "/api/sync/conflicts/ffffffff", R"({"how":"accept"})").status == 404);
  CHECK(ask(port, "/api/sync/conflicts?state=some").status == 400);
  CHECK(ask(port, "/api/sync/conflicts?kind=some").status == 400);
}

TEST_CASE("local port: what a row holds that cannot be written is told by status, and not by the log") {
  Pair pair;
  start_in_step(pair);
  pair.b.execute(
      "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION '% is unwelcome', "
      "new.note; END $$; CREATE TRIGGER refuse BEFORE INSERT ON item FOR EACH ROW EXECUTE FUNCTION refuse(); ALTER "
      "TABLE item ENABLE ALWAYS TRIGGER refuse");
  pair.a.execute("INSERT INTO item VALUES ('passport-7', 'Mrs. Miller', 1)");
  pair.b.await_log("is parked, it is tried again; 'mbsync status' shows it table=public.item");
  CHECK(wait_until(seconds{20}, [&] {
    const auto said = say_mbsync(pair.b, {"status", "--json"}).out;
    return said.find("passport-7") != std::string::npos && said.find("Mrs. Miller is unwelcome") != std::string::npos;
  }));
  for (auto* node : {&pair.a, &pair.b}) {
    CHECK(node->count_in_log("Miller") == 0);
    CHECK(node->count_in_log("passport-7") == 0);
  }
}

TEST_CASE("local port: sync, restart and stop") {
  Pair pair;
  // So seldom that nothing happens by itself.
  pair.a.set("SYNC_INTERVAL", "3600000");
  pair.b.set("SYNC_INTERVAL", "3600000");
  start_in_step(pair);
  pair.a.execute("INSERT INTO item VALUES ('x', 'n', 1)");
  const auto said = say_mbsync(pair.b, {"sync"});
  INFO(said.out << said.err);
  CHECK(said.exit_code == 0);
  CHECK_THAT(said.out, Catch::Contains("in step"));
  CHECK(pair.b.scalar("SELECT count(*) FROM item") == "1");
  const auto document = json::parse(say_mbsync(pair.a, {"sync", "--json"}).out);
  CHECK(document["in_step"] == true);
  CHECK(document["peers"].size() == 1);
  CHECK(document["peers"][0]["name"] == "b");

  CHECK(ask(pair.a.local_port(), "/api/sync/service", R"({"action":"dance"})").status == 400);
  // What its files say by then holds, even where SIGHUP would not do; what is wrong does not, and is said.
  const auto file = pair.fleet.directory() / pair.a.database() / "mbsync.toml";
  std::ofstream{file} << "node_name = 7\n";
  CHECK(ask(pair.a.local_port(), "/api/sync/service", R"({"action":"restart"})").status == 202);
  pair.a.await_log("the configuration was read again and is wrong");
  pair.a.await_log("listening address=", seconds{30}, 2);
  std::ofstream{file} << "live_peers = 3\n";
  CHECK(ask(pair.a.local_port(), "/api/sync/service", R"({"action":"restart"})").status == 202);
  pair.a.await_log("the configuration was read again changed=\"live_peers (3)\"");
  pair.a.await_log("listening address=", seconds{30}, 3);
  CHECK(wait_until(seconds{20}, [&] { return health(pair.a)["peers_connected"] == 1; }));
  CHECK(ask(pair.a.local_port(), "/api/sync/service", R"({"action":"stop"})").status == 202);
  CHECK(pair.a.wait(kStopBound) == 0);
  const auto gone = say_mbsync(pair.a, {"sync"});
  CHECK(gone.exit_code == 1);
  CHECK_THAT(gone.err, Catch::Contains("no node answers on local port"));
  const auto alone = say_mbsync(pair.b, {"sync"});
  CHECK(alone.exit_code == 1);
}

TEST_CASE("local port: who knows only the database of a node finds its port") {
  Pair pair;
  start_in_step(pair);
  const auto knowing_only = [&](const std::string& url, std::vector<std::string> arguments) {
    return run_program(mbsync_program(), clean_options(std::move(arguments), {{"DATABASE_URL", url}},
                                                       std::filesystem::temp_directory_path()));
  };
  auto said = knowing_only(pair.b.url(), {"status"});
  INFO(said.out << said.err);
  CHECK(said.exit_code == 0);
  CHECK_THAT(said.out, Catch::Contains(fmt::format("port {} on", pair.b.port())) &&
                           Catch::Contains(fmt::format("local port {} on", pair.b.local_port())));
  said = knowing_only(pair.b.url(), {"sync"});
  CHECK(said.exit_code == 0);
  // Nobody else is asked in its stead.
  const auto other = run_program(
      mbsync_program(),
      clean_options({"sync"},
                    {{"DATABASE_URL", pair.b.url()}, {"SYNC_STATUS_PORT", std::to_string(pair.a.local_port())}},
                    std::filesystem::temp_directory_path()));
  CHECK(other.exit_code == 2);
  CHECK_THAT(other.err, Catch::Contains("is that of another node, a ("));
}

TEST_CASE("local port: events are told as they happen, and go on where a reader left off") {
  Pair pair;
  start_in_step(pair);
  const auto port = pair.b.local_port();
  const std::string head = fmt::format("GET /api/sync/events HTTP/1.1\r\nHost: localhost:{}\r\n", port);
  HttpLine line(port);
  line.say(head + "\r\n");
  REQUIRE(line.hear("event: node_started", seconds{10}));
  pair.a.execute("INSERT INTO item VALUES ('x', 'n', 1)");
  INFO(line.heard());
  REQUIRE(line.hear("event: rows_arrived", seconds{20}));
  REQUIRE(line.hear("1 row arrived from a", seconds{5}));
  std::smatch match;
  std::string last;
  const std::regex ids("id: ([0-9a-f]+-[0-9]+)");
  for (auto rest = line.heard(); std::regex_search(rest, match, ids); rest = match.suffix()) {
    last = match[1];
  }
  HttpLine again(port);
  again.say(head + "Last-Event-ID: " + last + "\r\n\r\n");
  REQUIRE(again.hear("retry:", seconds{5}));
  pair.a.execute("INSERT INTO item VALUES ('y', 'n', 1), ('z', 'n', 2)");
  REQUIRE(again.hear("2 rows arrived from a", seconds{20}));
  CHECK(again.heard().find("node_started") == std::string::npos);
  CHECK(again.heard().find("1 row arrived") == std::string::npos);
  // Streams do not hold up the end, nor can they take all threads.
  std::list<HttpLine> many;
  for (int i = 0; i < 12; ++i) {
    many.emplace_back(port).say(head + "\r\n");
  }
  CHECK(wait_until(seconds{10}, [&] {
    return std::any_of(many.begin(), many.end(), [](HttpLine& one) { return one.hear("503", milliseconds{10}); });
  }));
  CHECK(ask(port, "/health").status == 200);
  pair.b.stop();
}

TEST_CASE("local port: other names, other pages, forms and wrong tokens are refused") {
  Fleet fleet;
  Node& node = fleet.add_node(Fleet::shared_cluster(), "guarded", kSchema);
  const std::string token = "0123456789abcdef0123";
  node.set("SYNC_STATUS_TOKEN", token);
  node.set("SYNC_STATUS_HOSTS", "till.example");
  node.start_ready();
  const auto port = node.local_port();
  const std::pair<const std::string, std::string> bearer{"Authorization", "Bearer " + token};
  REQUIRE(wait_until(seconds{20}, [&] { return ask(port, "/health", "", {bearer}).status == 200; }));
  CHECK(ask(port, "/health").status == 401);
  CHECK(ask(port, "/health", "", {{"Authorization", "Bearer " + token + "x"}}).status == 401);
  CHECK(ask(port, "/api/sync/service", R"({"action":"stop"})").status == 401);
  CHECK(ask(port, "/health", "", {bearer}).status == 200);
  CHECK(ask(port, "/health", "", {bearer, {"Host", "evil.example"}}).status == 421);
  CHECK(ask(port, "/health", "", {bearer, {"Host", "till.example:9"}}).status == 200);
  CHECK(ask(port, "/health", "", {bearer, {"Host", ""}}).status == 421);
  CHECK(ask(port, "/health", "", {bearer, {"Origin", "http://evil.example"}}).status == 403);
  CHECK(ask(port, "/health", "", {bearer, {"Sec-Fetch-Site", "cross-site"}}).status == 403);
  CHECK(ask(port, "/api/sync/service", R"({"action":"stop"})", {bearer, {"Content-Type", "text/plain"}}).status == 415);
  CHECK(ask(port, "/api/sync/service", "", {bearer}).status == 200);
  CHECK(ask(port, "/api/sync/none", "", {bearer}).status == 404);
  CHECK(ask(port, "/metrics", "{}", {bearer}).status == 405);
  CHECK(ask(port, "/api/sync/service", std::string(2 * 1024 * 1024, 'x'), {bearer}).status == 413);
  CHECK(metric(ask(port, "/metrics", "", {bearer}).body,
               R"(mbsync_local_requests_total{code="413",route="malformed"})") == 1);
  const auto refused = run_program(mbsync_program(), clean_options({"sync"},
                                                                   {{"DATABASE_URL", node.url()},
                                                                    {"SYNC_STATUS_PORT", std::to_string(port)},
                                                                    {"SYNC_STATUS_TOKEN", "another-token-of-20-ch"}},
                                                                   std::filesystem::temp_directory_path()));
  CHECK(refused.exit_code == 2);
  CHECK_THAT(refused.err, Catch::Contains("asks for another SYNC_STATUS_TOKEN"));
  CHECK(node.running());
  CHECK(node.count_in_log(token) == 0);
  CHECK(node.count_in_log("a request was refused") > 0);
}

TEST_CASE("local port: who sends a byte now and then does not keep others out, and does not stay") {
  Fleet fleet;
  Node& node = fleet.add_node(Fleet::shared_cluster(), "slow", kSchema);
  node.start_ready();
  const auto port = node.local_port();
  std::list<HttpLine> slow;
  for (int i = 0; i < 40; ++i) {
    slow.emplace_back(port).say("GET /health HT");
  }
  const auto begun = std::chrono::steady_clock::now();
  CHECK(ask(port, "/health", "", {}, seconds{20}).status == 200);
  CHECK(since(begun) < seconds{10});
  CHECK(wait_until(seconds{30}, [&] {
    return std::all_of(slow.begin(), slow.end(), [](HttpLine& one) {
      one.say("T");
      return one.hear_all(milliseconds{20});
    });
  }));
  // A head without an end.
  HttpLine endless(port);
  for (int i = 0; i < 2'000; ++i) {
    endless.say(i == 0 ? "GET / HTTP/1.1\r\n" : "X-Filler: " + std::string(200, 'x') + "\r\n");
  }
  CHECK(endless.hear_all(seconds{5}));
  node.stop();
}

TEST_CASE("local port: one that is taken is said, and the node works without") {
  Pair pair;
  pair.b.set("SYNC_STATUS_PORT", std::to_string(pair.a.local_port()));
  pair.a.start_ready();
  pair.b.start();
  pair.fleet.await_met({&pair.a, &pair.b});
  pair.b.await_log("the node goes on without it");
  CHECK_THAT(pair.b.log(), Catch::Contains("node a (") && Catch::Contains("set SYNC_STATUS_PORT to a free port"));
  pair.a.execute("INSERT INTO item VALUES ('x', 'n', 1)");
  pair.fleet.await_converged({&pair.a, &pair.b});
  const auto said = run_program(
      mbsync_program(),
      clean_options({"status"},
                    {{"DATABASE_URL", pair.b.url()}, {"SYNC_STATUS_PORT", std::to_string(pair.a.local_port())}},
                    std::filesystem::temp_directory_path()));
  CHECK_THAT(said.out, Catch::Contains("is that of another node, a ("));
  CHECK(said.exit_code == 1);
  // The other way round: a node whose own port is the local port of another one.
  Node& third = pair.fleet.add_node(Fleet::shared_cluster(), "third", kSchema);
  third.set("SYNC_PORT", std::to_string(pair.a.local_port()));
  third.start();
  CHECK(third.wait(seconds{30}) == 4);
  CHECK_THAT(third.log(), Catch::Contains("it is the local port of node a ("));
  // When it is free, the node takes it.
  pair.a.stop();
  CHECK(wait_until(seconds{30}, [&] { return pair.b.count_in_log("local port open") == 1; }));
}
