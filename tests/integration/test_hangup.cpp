// SIGHUP: a running node reads its configuration again.
#include <unistd.h>

#include <catch2/catch.hpp>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <iterator>

#include "child_process.h"
#include "free_port.h"
#include "node_pair.h"
#include "wait_until.h"

using namespace mbsync::test;
using namespace std::chrono_literals;

TEST_CASE("hangup: what can change changes, what cannot is named, what is wrong changes nothing", "[hangup]") {
  PgNode database(shared_cluster(), fresh_database_name(), "CREATE TABLE item (id int PRIMARY KEY)");
  const auto place = std::filesystem::temp_directory_path() / ("mbsync-hangup-" + std::to_string(::getpid()));
  std::filesystem::create_directories(place);
  const auto port = free_port(2);
  const auto write = [&](const std::string& text) {
    std::ofstream file{place / "mbsync.toml"};
    file << "database_url = '" << database.url() << "'\nregistration_key = 'FJ2K-QW8E-ZX7C-VB6N-MA5S-DF4G-HJ3K-L2QW'\n"
         << "bind_address = '127.0.0.1'\nport = " << port << "\n"
         << text;
  };
  write("");
  ChildProcess node(MBSYNC_PROGRAM, {.arguments = {"run"}, .working_directory = place});
  const auto log = [&] {
    std::ifstream file{place / "data/sync/sync-service.log"};
    return std::string{std::istreambuf_iterator<char>{file}, std::istreambuf_iterator<char>{}};
  };
  const auto logged = [&](const std::string& text) {
    return wait_until(20s, [&] { return log().find(text) != std::string::npos; });
  };
  REQUIRE(logged("listening"));

  write("log_level = 'debug'\npeers = ['127.0.0.1:1']\nlog_files = 7\nnode_name = 'other'\n");
  node.signal(SIGHUP);
  CHECK(
      logged("info config: the configuration was read again changed=\"log_level (debug), peers (127.0.0.1:1), "
             "log_files (7)\""));
  CHECK(
      logged("warning config: some settings take effect when mbsync is started again settings=\"node_name (other)\""));
  CHECK(logged("127.0.0.1:1"));
  CHECK(logged("Connection refused"));  // the new peer is tried

  write("log_levl = 'error'\n");
  node.signal(SIGHUP);
  CHECK(logged("error config: the configuration was read again and is wrong, all stays as it was"));
  CHECK(log().find("did you mean 'log_level'?") != std::string::npos);
  write("log_level = 'error'\n");
  node.signal(SIGHUP);
  CHECK(logged("log_level (error), peers (), log_files (5)"));
  CHECK(node.running());
  node.signal(SIGTERM);
  CHECK(node.wait(10s) == 0);
  CHECK(log().find("info run: stopped") == std::string::npos);
  std::filesystem::remove_all(place);
}
