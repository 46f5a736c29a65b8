// mbsync smoke-check as a script meets it: what it prints, and what it ends with. The database is a real one.
#include <poll.h>
#include <unistd.h>

#include <algorithm>

#include <catch2/catch.hpp>
#include <chrono>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <map>
#include <nlohmann/json.hpp>
#include <sstream>
#include <thread>

#include "child_process.h"
#include "free_port.h"
#include "node_pair.h"
#include "readiness.h"
#include "socket.h"
#include "wait_until.h"

using namespace mbsync;
using namespace mbsync::test;
using namespace std::chrono_literals;

namespace {

constexpr const char* kKey = "FJ2K-QW8E-ZX7C-VB6N-MA5S-DF4G-HJ3K-L2QW";
constexpr const char* kSchema =
    "CREATE TABLE item (id int PRIMARY KEY, name text); CREATE TABLE loose (name text); CREATE TABLE "
    "_prisma_migrations "
    "(id int PRIMARY KEY)";

using Environment = std::vector<std::pair<std::string, std::string>>;

struct Looked {
  int exit_code = 0;
  std::string out;
  std::string err;
  std::map<std::string, nlohmann::json> checks;
  [[nodiscard]] std::string verdict(const std::string& name) const { return checks.at(name).at("verdict"); }
  [[nodiscard]] std::string what(const std::string& name) const { return checks.at(name).at("what"); }
  [[nodiscard]] std::string next(const std::string& name) const { return checks.at(name).at("next"); }
};

/// A directory of its own; everything from the environment, so that nothing of the machine takes part.
struct Place {
  std::filesystem::path path = std::filesystem::temp_directory_path() / ("mbsync-smoke-" + std::to_string(::getpid()));
  std::uint16_t port = free_port(2);
  Place() { std::filesystem::create_directories(path); }
  ~Place() { std::filesystem::remove_all(path); }

  [[nodiscard]] ChildOptions options(std::vector<std::string> arguments, const std::string& url,
                                     const Environment& more = {}) const {
    ChildOptions child{.arguments = std::move(arguments),
                       .environment = {{"DATABASE_URL", url},
                                       {"SYNC_REGISTRATION_KEY", kKey},
                                       {"SYNC_PORT", std::to_string(port)},
                                       {"SYNC_DATA_DIR", (path / "data").string()},
                                       {"SYNC_BIND", "127.0.0.1"}},
                       .unset = {"SKIP_DB_PRECHECK"},
                       .working_directory = path};
    for (const auto& [name, value] : more) {
      std::erase_if(child.environment, [&, &given = name](const auto& entry) { return entry.first == given; });
      child.environment.emplace_back(name, value);
    }
    return child;
  }
  [[nodiscard]] Finished run(std::vector<std::string> arguments, const std::string& url,
                             const Environment& more = {}) const {
    return run_program(MBSYNC_PROGRAM, options(std::move(arguments), url, more));
  }
  [[nodiscard]] Looked look(const std::string& url, const Environment& more = {},
                            std::vector<std::string> arguments = {}) const {
    arguments.insert(arguments.begin(), {"smoke-check", "--json"});
    auto finished = run(std::move(arguments), url, more);
    CHECK(finished.err.empty());
    CHECK_THAT(finished.out, !Catch::Contains(kKey) && !Catch::Contains("TOPSECRET"));
    Looked looked{finished.exit_code, finished.out, finished.err, {}};
    const auto document = nlohmann::json::parse(finished.out);
    CHECK(document.at("exit_code") == finished.exit_code);
    for (const auto& check : document.at("checks")) {
      looked.checks[check.at("name")] = check;
    }
    INFO(finished.out);
    return looked;
  }
};

std::string url_of(const std::string& url, const std::string& role) {
  std::string changed = url;
  return changed.replace(changed.find("postgres@"), 9, role + "@");
}

}  // namespace

TEST_CASE("smoke-check: all is well before the first start, after it, and while the node runs", "[smoke]") {
  const Place place;
  PgNode node(shared_cluster(), fresh_database_name(), kSchema);
  const auto begun = std::chrono::steady_clock::now();
  auto looked = place.look(node.url());
  std::cout << "smoke-check took "
            << std::chrono::duration_cast<std::chrono::milliseconds>(std::chrono::steady_clock::now() - begun).count()
            << " ms\n";
  CHECK(looked.exit_code == 0);
  CHECK(looked.verdict("environment") == "ok");
  CHECK(looked.verdict("key") == "ok");
  CHECK_THAT(looked.what("database"), Catch::Contains(" answers, PostgreSQL "));
  CHECK(looked.what("rights") == "role postgres has all that is needed");
  CHECK(looked.what("schema") == "schema mbsync is not there yet; the first start makes it");
  CHECK(looked.verdict("tables") == "warning");
  CHECK_THAT(looked.what("tables"), Catch::StartsWith("1 take part, 2 do not: ") &&
                                        Catch::Contains("public.loose has no primary key") &&
                                        Catch::Contains("public._prisma_migrations is Prisma's"));
  CHECK(looked.verdict("port") == "ok");
  CHECK(looked.verdict("health port") == "ok");
  CHECK(looked.verdict("discovery") == "skipped");
  CHECK(looked.verdict("disk") == "ok");
  CHECK_THAT(looked.what("disk"), Catch::Contains("MB free for the database"));

  ChildProcess running(MBSYNC_PROGRAM, place.options({"run"}, node.url()));
  REQUIRE(wait_until(20s, [&] { return running.err().find("listening") != std::string::npos; }));
  looked = place.look(node.url());
  CHECK(looked.exit_code == 0);
  CHECK_THAT(looked.what("port"), Catch::Contains("held by this node's own mbsync"));
  CHECK_THAT(looked.what("schema"), Catch::Contains("triggers in place, a node is at work"));

  // Who does not know which node it is asks nobody: the fleet would have a member that never comes.
  const auto apart = place.look(node.url(), {}, {"--skip-db"});
  CHECK(apart.what("port") == std::to_string(place.port) + " is held by an mbsync with this registration key");
  CHECK(node.scalar("SELECT count(*) FROM mbsync.node") == "1");

  // As text, a line a check; the same with a terminal.
  const auto text = place.run({"smoke-check"}, node.url());
  CHECK(text.exit_code == 0);
  CHECK(text.err.empty());
  std::istringstream lines(text.out);
  std::size_t count = 0;
  for (std::string line; std::getline(lines, line); ++count) {
    CHECK_THAT(line, Catch::Contains("ok") || Catch::Contains("skipped") || Catch::Contains("warning"));
  }
  CHECK(count == looked.checks.size());
  const auto terminal = run_program("script", [&] {
    auto options = place.options({"-qec", std::string(MBSYNC_PROGRAM) + " smoke-check", "/dev/null"}, node.url());
    return options;
  }());
  CHECK(terminal.exit_code == 0);
  std::string shown = terminal.out;
  shown.erase(std::remove(shown.begin(), shown.end(), '\r'), shown.end());
  CHECK_THAT(shown, Catch::Contains("\nport        ok      " + std::to_string(place.port) + " is held by"));
  running.signal(SIGTERM);
  CHECK(running.wait(10s) == 0);

  node.execute("DROP TRIGGER mbsync_insert ON item");
  CHECK_THAT(place.look(node.url()).what("schema"), Catch::Contains("what is written to public.item is not captured"));
  node.execute(
      "DROP TRIGGER mbsync_update ON item; DROP TRIGGER mbsync_delete ON "
      "item; DROP TRIGGER mbsync_truncate ON item");
  looked = place.look(node.url());
  CHECK(looked.verdict("schema") == "warning");
  CHECK_THAT(looked.what("schema"), Catch::Contains("what is written to public.item is not captured"));
}

TEST_CASE("smoke-check: configuration that is missing or weak ends with 2", "[smoke]") {
  const Place place;
  auto looked =
      place.look("postgres://u:TOPSECRET@127.0.0.1:1/d", {{"SYNC_REGISTRATION_KEY", "changeme"}}, {"--skip-db"});
  CHECK(looked.exit_code == 2);
  CHECK(looked.verdict("key") == "failed");
  CHECK(looked.verdict("database") == "skipped");
  looked = place.look("", {{"SYNC_REGISTRATION_KEY", ""}});
  CHECK(looked.exit_code == 2);
  CHECK(looked.what("environment") == "Missing DATABASE_URL");
  CHECK(looked.what("key") == "Missing SYNC_REGISTRATION_KEY");
  std::ofstream{place.path / "mbsync.toml"} << "prot = 1\n";
  looked = place.look("postgres://u:TOPSECRET@127.0.0.1:1/d");
  CHECK(looked.exit_code == 2);
  CHECK(looked.checks.size() == 1);
  CHECK(looked.what("environment") == "mbsync.toml:1: there is no setting 'prot'");
  CHECK_THAT(looked.next("environment"), Catch::StartsWith("did you mean 'port'?"));
}

TEST_CASE("smoke-check: a database that cannot be had ends with 3, and says why", "[smoke]") {
  const Place place;
  TempCluster cluster;
  cluster.create_database("shop");
  cluster.execute("shop", "CREATE ROLE locked LOGIN PASSWORD 'right'");
  cluster.ask_password_of("locked");

  auto looked = place.look(url_of(cluster.url("shop"), "locked:TOPSECRET"));
  CHECK(looked.exit_code == 3);
  CHECK(looked.verdict("database") == "failed");
  CHECK_THAT(looked.what("database"), Catch::Contains("password authentication failed for user \"locked\""));
  CHECK(looked.next("database") == "check the user's name and the password in DATABASE_URL");
  looked = place.look(cluster.url("shopp"));
  CHECK(looked.exit_code == 3);
  CHECK_THAT(looked.what("database"), Catch::Contains("database \"shopp\" does not exist"));
  CHECK(place.look(cluster.url("shopp"), {{"SKIP_DB_PRECHECK", "true"}}).exit_code == 0);
  CHECK_THAT(place.look(cluster.url("shop") + "?pgbouncer=true").what("connection"), Catch::Contains("pgbouncer=true"));

  const auto url = cluster.url("shop");
  cluster.stop();
  looked = place.look(url);
  CHECK(looked.exit_code == 3);
  CHECK_THAT(looked.what("database"), Catch::Contains("Connection refused"));
}

TEST_CASE("smoke-check: a server that accepts and never answers is not waited for for ever", "[smoke]") {
  const Place place;
  const auto silent = listen_on("127.0.0.1", 0);
  REQUIRE(silent);
  const auto looked = place.look("postgres://u:TOPSECRET@127.0.0.1:" + std::to_string(local_port(*silent)) + "/d");
  CHECK(looked.exit_code == 3);
  CHECK_THAT(looked.what("database"), Catch::Contains("no answer within 5.0 s"));
}

TEST_CASE("smoke-check: rights that are missing, with the statements that give them", "[smoke]") {
  const Place place;
  auto& cluster = shared_cluster();
  cluster.execute("postgres", "DO $$ BEGIN CREATE ROLE clerk LOGIN; EXCEPTION WHEN duplicate_object THEN END $$");
  PgNode node(cluster, fresh_database_name(), kSchema);
  const auto url = url_of(node.url(), "clerk");
  auto looked = place.look(url);
  CHECK(looked.exit_code == 3);
  CHECK(looked.what("rights") ==
        "role clerk may not create schema mbsync; role clerk does not own \"public\".\"item\"");
  const auto next = looked.next("rights");
  CHECK_THAT(next, Catch::Contains("GRANT CREATE ON DATABASE ") &&
                       Catch::Contains("; ALTER TABLE \"public\".\"item\" OWNER TO clerk;"));
  // What it says does it.
  node.execute(next.substr(next.find("GRANT")));
  looked = place.look(url);
  CHECK(looked.exit_code == 0);
  CHECK(looked.verdict("rights") == "warning");
  CHECK(looked.next("rights") == "as a superuser: GRANT SET ON PARAMETER session_replication_role TO clerk;");
  node.execute("GRANT SET ON PARAMETER session_replication_role TO clerk");
  CHECK(place.look(url).verdict("rights") == "ok");
  node.execute("REVOKE SET ON PARAMETER session_replication_role FROM clerk");
}

TEST_CASE("smoke-check: a port that another program has ends with 4", "[smoke]") {
  const Place place;
  const auto other = listen_on("127.0.0.1", place.port);
  REQUIRE(other);
  // It is asked who it is; this one hangs up.
  std::jthread hangs_up([&](const std::stop_token& done) {
    while (!done.stop_requested()) {
      const auto ready = wait_for(other->fd(), POLLIN, std::chrono::steady_clock::now() + 100ms,
                                  [&] { return done.stop_requested(); });
      if (ready == Waited::kReady) {
        accept_from(*other);
      }
    }
  });
  const auto looked = place.look("postgres://u:TOPSECRET@127.0.0.1:1/d", {}, {"--skip-db"});
  CHECK(looked.exit_code == 4);
  CHECK(looked.verdict("port") == "failed");
  CHECK_THAT(looked.what("port"), Catch::Contains("held by another program"));
  CHECK_THAT(looked.next("port"), Catch::Contains("sudo ss -ltnp") && Catch::Contains("SYNC_PORT"));
}

TEST_CASE("smoke-check: a server that is too old, or a standby, or says nothing of its texts", "[smoke]") {
  ConfigSources sources;
  sources.environment = {{"DATABASE_URL", "postgres://h/d"}};
  const auto config = load_config(sources, ConfigNeeds::kDatabase);
  REQUIRE(config);
  DatabaseFacts facts;
  facts.server_version = 110022;
  facts.server_text = "11.22";
  facts.encoding = "UTF8";
  const auto judged = [&] { return check_database(*config, facts); };
  REQUIRE(judged().size() == 1);
  CHECK(judged()[0].what == "postgresql://h/d is PostgreSQL 11.22");
  CHECK(judged()[0].next == "mbsync needs PostgreSQL 12 or later");
  facts.server_version = kServerVersionMin;
  CHECK(judged().size() > 1);
  facts.standby = true;
  CHECK(judged()[0].verdict == Verdict::kFailed);
  facts.standby = false;
  facts.encoding = "SQL_ASCII";
  CHECK(worst_area(judged()) == CheckArea::kDatabase);
}
