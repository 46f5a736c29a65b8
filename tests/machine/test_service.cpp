// The service as systemd runs it, on a machine with a systemd of its own: start, stop, restart, what happens to a node
// that dies, that has nothing to start with, or whose configuration changes; and what the unit keeps it from doing.
#include <fmt/format.h>

#include <catch2/catch.hpp>
#include <chrono>
#include <nlohmann/json.hpp>

#include "machine.h"
#include "service_unit.h"
#include "wait_until.h"

using namespace mbsync;
using namespace mbsync::test;
using std::chrono::milliseconds;
using std::chrono::seconds;

namespace {

constexpr const char* kUrl = "postgresql://shop:hush-hush@127.0.0.1/shop";
constexpr const char* kUnitFile = "/etc/systemd/system/mbsync.service";

/// With a database, a user for the service, the programs, and the unit; the service is not started.
struct Shop {
  Machine machine;

  Shop() {
    machine.start_postgres();
    machine.sh("psql -h 127.0.0.1 -U postgres -q -c \"CREATE ROLE shop LOGIN\" -c 'CREATE DATABASE shop OWNER shop'");
    machine.sh("psql -h 127.0.0.1 -U shop -d shop -q -c 'CREATE TABLE item (id text PRIMARY KEY, note text)'");
    machine.install_program(MBSYNC_PROGRAM);
    machine.install_program(MBSYNCD_PROGRAM);
    machine.sh("useradd --system --user-group --no-create-home mbsync");
    machine.write(kUnitFile, systemd_unit({.program = "/usr/local/bin/mbsyncd",
                                           .config = "/etc/mbsync/mbsync.toml",
                                           .user = "mbsync",
                                           .data_dir = "/var/lib/mbsync",
                                           .growing_pauses = knows_growing_pauses(machine.sh("systemctl --version"))}));
    machine.write("/etc/mbsync/mbsync.toml", "data_dir = \"/var/lib/mbsync\"\nnode_name = \"till\"\n");
    configure(kUrl);
    machine.sh("systemctl daemon-reload");
  }

  void configure(const std::string& url) {
    machine.write("/etc/mbsync/service.env",
                  fmt::format("DATABASE_URL={}\nSYNC_REGISTRATION_KEY=J7pX-4mQz-9vRt-2kLw-8sBn-5cFh\n", url));
    machine.sh("chown -R mbsync: /etc/mbsync; chmod 0600 /etc/mbsync/service.env");
  }

  std::string property(const std::string& name) {
    return machine.sh(fmt::format("systemctl show mbsync.service --property={} --value", name));
  }
  nlohmann::json mbsync(const std::string& command) {
    const auto finished = machine.run({"mbsync", command, "--json"});
    INFO(command << ": " << finished.err << machine.sh("journalctl -u mbsync --no-pager -n 20"));
    REQUIRE(finished.exit_code == 0);
    return nlohmann::json::parse(finished.out);
  }
  bool await(const std::string& name, const std::string& value) {
    return wait_until(
        seconds{60}, [&] { return property(name) == value; }, milliseconds{100});
  }
};

}  // namespace

TEST_CASE("service: starts, stops and restarts, and systemd knows when it is ready") {
  skip_without_machine();
  Shop shop;
  auto state = shop.mbsync("start");
  CHECK(state["runs"] == "running");
  CHECK(state["installed"] == true);
  // Ready means that the node is there: prepared, and listening.
  CHECK(shop.machine.scalar("shop", "SELECT count(*) FROM mbsync.node") == "1");
  CHECK_THAT(shop.machine.sh("ss -Hltn 'sport = :8765'"), Catch::Contains("8765"));
  CHECK(shop.property("StatusText") == "running: no peer connected");
  CHECK(shop.property("Type") == "notify");
  const auto pid = state["pid"].get<int>();
  CHECK(shop.machine.sh(fmt::format("stat -c %U /proc/{}", pid)) == "mbsync");

  // Neither is anything of what only its files should say in what every user can see.
  CHECK_THAT(shop.machine.sh(fmt::format("tr '\\0' ' ' </proc/{}/cmdline", pid)),
             !Catch::Contains("hush-hush") && !Catch::Contains("J7pX"));

  state = shop.mbsync("restart");
  CHECK(state["runs"] == "running");
  CHECK(state["pid"].get<int>() != pid);

  auto status = shop.mbsync("status");
  CHECK(status["service"]["state"] == "running");
  CHECK(status["process"]["pid"] == state["pid"]);
  CHECK(status["status"] == "healthy");

  state = shop.mbsync("stop");
  CHECK(state["runs"] == "stopped");
  const auto down = shop.machine.run({"mbsync", "status"});
  CHECK(down.exit_code == 2);
  CHECK_THAT(down.out,
             Catch::Contains("\n  no node runs on this database\n  the service is stopped: 'sudo mbsync start' starts "
                             "it, or says why it does not start\nService:   installed, "));
  CHECK(shop.property("Result") == "success");
  CHECK(shop.mbsync("stop")["runs"] == "stopped");  // again is no error
}

TEST_CASE("service: who dies is started again; who lacks a setting is not, and the command says why") {
  skip_without_machine();
  Shop shop;
  const auto pid = shop.mbsync("start")["pid"].get<int>();
  shop.machine.sh(fmt::format("kill -9 {}", pid));
  CHECK(shop.await("NRestarts", "1"));
  CHECK(shop.await("SubState", "running"));
  CHECK(shop.property("MainPID") != std::to_string(pid));
  shop.mbsync("stop");

  shop.configure("");
  const auto finished = shop.machine.run({"mbsync", "start"});
  CHECK(finished.exit_code == 2);
  CHECK_THAT(finished.err, Catch::Contains("the service has not started (exit code 2)") &&
                               Catch::Contains("DATABASE_URL") && Catch::Contains("mbsync smoke-check"));
  CHECK(shop.property("NRestarts") == "0");
  CHECK(shop.property("ActiveState") == "failed");

  // What systemd tries again by itself does not keep a mended service waiting, nor is its old reason told.
  shop.configure("postgresql://shop@127.0.0.1/none");
  const auto wrong = shop.machine.run({"mbsync", "start"});
  CHECK(wrong.exit_code == 3);
  CHECK_THAT(wrong.err, Catch::Contains("the service has not started (exit code 3)"));
  shop.configure("postgresql://shop@127.0.0.1:9/shop");  // nobody there, which is waited for
  CHECK(wait_until(
      seconds{60}, [&] { return shop.property("ActiveState") == "activating" && shop.property("SubState") == "start"; },
      milliseconds{100}));
  shop.configure(kUrl);
  CHECK(shop.mbsync("start")["runs"] == "running");
}

TEST_CASE("service: a reload is taken by the running process, and a hung process is noticed") {
  skip_without_machine();
  Shop shop;
  shop.machine.write("/etc/systemd/system/mbsync.service.d/soon.conf", "[Service]\nWatchdogSec=3\n");
  shop.machine.sh("systemctl daemon-reload");
  const auto pid = shop.mbsync("start")["pid"].get<int>();
  shop.machine.write("/etc/mbsync/mbsync.toml",
                     "data_dir = \"/var/lib/mbsync\"\nnode_name = \"till\"\nlog_level = \"debug\"\n");
  shop.machine.sh("chown mbsync: /etc/mbsync/mbsync.toml; systemctl reload mbsync");
  CHECK(wait_until(
      seconds{30},
      [&] {
        return shop.machine.run({"grep", "-q", "log_level", "/var/lib/mbsync/sync-service.log"}).exit_code == 0;
      },
      milliseconds{100}));
  CHECK(shop.property("MainPID") == std::to_string(pid));

  // It has outlived several times the watchdog's patience by signs of life, and does not without them.
  CHECK(shop.property("NRestarts") == "0");
  shop.machine.sh(fmt::format("kill -STOP {}", pid));
  CHECK(shop.await("NRestarts", "1"));
  CHECK(shop.await("SubState", "running"));
}

TEST_CASE("service: systemd says that the database is waited for, at the start and later") {
  skip_without_machine();
  Shop shop;
  const auto says = [&](const std::string& begin) {
    return wait_until(
        seconds{60}, [&] { return shop.property("StatusText").starts_with(begin); }, milliseconds{100});
  };
  shop.machine.stop_postgres();
  shop.machine.sh("systemctl start --no-block mbsync");
  CHECK(says("waiting for the database: "));
  CHECK(shop.property("ActiveState") == "activating");
  shop.machine.start_postgres();
  CHECK(says("running"));
  CHECK(shop.property("ActiveState") == "active");

  const auto pid = shop.property("MainPID");
  shop.machine.stop_postgres();
  CHECK(says("waiting for the database: "));
  shop.machine.start_postgres();
  CHECK(says("running"));
  CHECK(shop.property("MainPID") == pid);
}

TEST_CASE("service: the unit keeps it to its own directory") {
  skip_without_machine();
  Shop shop;
  const auto verified = shop.machine.run({"systemd-analyze", "verify", "--man=no", kUnitFile});
  CHECK(verified.exit_code == 0);
  // "0.0" is best, "10.0" is a program that may do anything; 2 is where systemd says "OK".
  const auto table = shop.machine.sh("systemd-analyze security --no-pager mbsync.service | tail -1");
  INFO(table);
  CHECK_THAT(table, Catch::Contains(" OK "));
  CHECK(shop.machine.sh("stat -c '%a %U' /etc/mbsync/service.env") == "600 mbsync");
  shop.mbsync("start");
  CHECK(shop.machine.sh("stat -c '%a %U' /var/lib/mbsync") == "700 mbsync");
}
