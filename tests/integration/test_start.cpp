// A start that cannot succeed ends, with the reason in log, stderr and exit code; one that only has to wait, waits.
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <catch2/catch.hpp>
#include <chrono>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <thread>

#include "child_process.h"
#include "free_port.h"
#include "node_pair.h"
#include "precheck.h"
#include "socket.h"
#include "wait_until.h"

using namespace mbsync;
using namespace mbsync::test;
using namespace std::chrono_literals;

namespace {

constexpr const char* kKey = "FJ2K-QW8E-ZX7C-VB6N-MA5S-DF4G-HJ3K-L2QW";

struct Place {
  std::filesystem::path path = std::filesystem::temp_directory_path() / ("mbsync-start-" + std::to_string(::getpid()));
  std::uint16_t port = free_port(2);
  Place() { std::filesystem::create_directories(path); }
  ~Place() { std::filesystem::remove_all(path); }
  [[nodiscard]] ChildOptions options(const std::string& url, const std::string& skip = "") const {
    return {.arguments = {"run"},
            .environment = {{"DATABASE_URL", url},
                            {"SYNC_REGISTRATION_KEY", kKey},
                            {"SYNC_PORT", std::to_string(port)},
                            {"SYNC_BIND", "127.0.0.1"},
                            {"SKIP_DB_PRECHECK", skip}},
            .working_directory = path};
  }
  [[nodiscard]] std::string log() const {
    std::ifstream file{path / "data/sync/sync-service.log"};
    return {std::istreambuf_iterator<char>{file}, std::istreambuf_iterator<char>{}};
  }
};

/// Speaks PostgreSQL as far as "no".
class SayNo {
 public:
  explicit SayNo(std::vector<std::string> answers)
      : answers_(std::move(answers)),
        listener_(*listen_on("127.0.0.1", 0)),
        thread_([this](const std::stop_token& stop) { serve(stop); }) {}
  [[nodiscard]] std::string url() const {
    return "postgres://u:TOPSECRET@127.0.0.1:" + std::to_string(local_port(listener_)) + "/d?sslmode=disable";
  }
  [[nodiscard]] std::size_t asked() const { return asked_; }

 private:
  void serve(const std::stop_token& stop) {
    while (!stop.stop_requested()) {
      const auto ready = wait_for(listener_.fd(), POLLIN, std::chrono::steady_clock::now() + 100ms,
                                  [&] { return stop.stop_requested(); });
      if (ready != Waited::kReady) {
        continue;
      }
      auto accepted = accept_from(listener_);
      char packet[1024];
      wait_for(accepted.socket.fd(), POLLIN, std::chrono::steady_clock::now() + 1s, [] { return false; });
      (void)::recv(accepted.socket.fd(), packet, sizeof packet, 0);
      const auto& text = answers_[std::min(asked_.load(), answers_.size() - 1)];
      std::string body = std::string("SFATAL") + '\0' + "VFATAL" + '\0' + "C57P03" + '\0' + "M" + text + '\0' + '\0';
      const auto bytes = static_cast<std::uint32_t>(body.size() + 4);
      std::string message = "E";
      for (const int shift : {24, 16, 8, 0}) {
        message += static_cast<char>((bytes >> shift) & 0xFF);
      }
      message += body;
      (void)::send(accepted.socket.fd(), message.data(), message.size(), MSG_NOSIGNAL);
      ++asked_;
    }
  }
  std::vector<std::string> answers_;
  std::atomic<std::size_t> asked_ = 0;
  Socket listener_;
  std::jthread thread_;
};

Config config_for(const std::string& url) {
  ConfigSources sources;
  sources.environment = {{"DATABASE_URL", url}};
  return *load_config(sources, ConfigNeeds::kDatabase);
}

}  // namespace

TEST_CASE("start: what only a person can mend ends it, in log, stderr and exit code", "[start]") {
  TempCluster cluster;
  cluster.create_database("shop");
  cluster.execute("shop", "CREATE ROLE locked LOGIN PASSWORD 'right'; CREATE TABLE item (id int PRIMARY KEY)");
  cluster.ask_password_of("locked");
  const auto with = [](std::string url, const std::string& from, const std::string& to) {
    return url.replace(url.find(from), from.size(), to);
  };
  const auto shop = cluster.url("shop");
  const std::vector<std::pair<std::string, std::string>> cases = {
      {with(shop, "postgres@", "locked:TOPSECRET@"), "password authentication failed for user \"locked\""},
      {cluster.url("shopp"), "database \"shopp\" does not exist"},
      {with(shop, "127.0.0.1", "no-such-host.invalid"), "no-such-host.invalid"},
  };
  for (const auto& [url, reason] : cases) {
    const Place place;
    const auto ended = run_program(MBSYNC_PROGRAM, place.options(url), 30s);
    INFO(ended.err);
    if (ended.err.find("Temporary failure in name resolution") != std::string::npos) {
      continue;  // a machine without a name server cannot tell
    }
    CHECK(ended.exit_code == 3);
    CHECK(ended.out.empty());
    CHECK_THAT(ended.err, Catch::Contains("\nmbsync: database ") && Catch::Contains(reason) &&
                              Catch::Contains("\n  what to do: ") && !Catch::Contains("TOPSECRET"));
    const auto logged = place.log();
    CHECK_THAT(logged, Catch::Contains("error start: mbsync ends reason=") && !Catch::Contains("TOPSECRET"));
    CHECK_THAT(logged, Catch::Contains(reason.substr(0, reason.find('"'))));
  }
}

TEST_CASE("start: what is missing stands in the log as well", "[start]") {
  const Place place;
  auto options = place.options("");
  const auto ended = run_program(MBSYNC_PROGRAM, options, 30s);
  CHECK(ended.exit_code == 2);
  CHECK_THAT(ended.err, Catch::StartsWith("mbsync: Missing DATABASE_URL\n"));
  CHECK_THAT(place.log(), Catch::Contains("error start: mbsync ends reason=\"Missing DATABASE_URL"));
}

TEST_CASE("start: a right that is missing ends it, with the statement that gives it; without the check it goes on",
          "[start]") {
  auto& cluster = shared_cluster();
  cluster.execute("postgres", "DO $$ BEGIN CREATE ROLE clerk LOGIN; EXCEPTION WHEN duplicate_object THEN END $$");
  PgNode node(cluster, fresh_database_name(), "CREATE TABLE item (id int PRIMARY KEY)");
  std::string url = node.url();
  url.replace(url.find("postgres@"), 9, "clerk@");
  const Place place;
  const auto ended = run_program(MBSYNC_PROGRAM, place.options(url), 30s);
  CHECK(ended.exit_code == 3);
  CHECK_THAT(ended.err, Catch::Contains("mbsync: role clerk may not create schema mbsync") &&
                            Catch::Contains("GRANT CREATE ON DATABASE"));
  // Nothing half done; and SKIP_DB_PRECHECK leaves it to what happens then.
  CHECK(node.scalar("SELECT to_regnamespace('mbsync')").empty());
  const auto skipped = run_program(MBSYNC_PROGRAM, place.options(url, "true"), 30s);
  CHECK(skipped.exit_code == 3);
  CHECK_THAT(skipped.err, Catch::Contains("preparing schema mbsync"));
}

TEST_CASE("start: a database that comes up later is waited for", "[start]") {
  TempCluster cluster;
  cluster.create_database("shop");
  cluster.execute("shop", "CREATE TABLE item (id int PRIMARY KEY)");
  cluster.stop();
  const Place place;
  ChildProcess node(MBSYNC_PROGRAM, place.options(cluster.url("shop")));
  REQUIRE(wait_until(20s,
                     [&] { return place.log().find("waiting for the database for up to 60 s") != std::string::npos; }));
  CHECK(node.running());
  cluster.start();
  REQUIRE(wait_until(20s, [&] { return place.log().find("listening") != std::string::npos; }));
  CHECK_THAT(place.log(), Catch::Contains("the database answers waited_s="));
  node.signal(SIGTERM);
  CHECK(node.wait(10s) == 0);
}

TEST_CASE("start: a server that says that it is starting is waited for as long as it takes", "[start]") {
  const SayNo server({"the database system is starting up", "the database system is starting up",
                      "the database system is starting up", "password authentication failed for user \"u\""});
  const auto ended = precheck(config_for(server.url()), {}, no_supervisor(), 0ms);
  REQUIRE_FALSE(ended);
  CHECK(server.asked() == 4);
  CHECK(ended.error().kind == ErrorKind::kConfig);
  CHECK(ended.error().area == ErrorArea::kDatabase);
  CHECK_THAT(ended.error().text(), Catch::Contains("password authentication failed") && !Catch::Contains("TOPSECRET"));
}

TEST_CASE("start: a server that does not come is given up, and a stop ends the wait", "[start]") {
  const auto config = config_for("postgres://u@127.0.0.1:1/d");
  const auto ended = precheck(config, {}, no_supervisor(), 0ms);
  REQUIRE_FALSE(ended);
  CHECK(ended.error().kind == ErrorKind::kTransient);
  CHECK(ended.error().area == ErrorArea::kDatabase);
  CHECK_THAT(ended.error().text(), Catch::Contains("Connection refused; waited for 0 s"));
  std::stop_source stop;
  std::jthread later([&] { stop.request_stop(); });
  CHECK(precheck(config, stop.get_token()));
}
