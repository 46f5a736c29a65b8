#include <sys/types.h>
#include <unistd.h>

#include <catch2/catch.hpp>
#include <csignal>
#include <filesystem>
#include <stdexcept>

#include "temp_cluster.h"

using namespace mbsync::test;

TEST_CASE("temporary cluster: starts, survives a power cut and leaves nothing behind") {
  skip_without_postgres();
  std::filesystem::path directory;
  pid_t server = -1;
  {
    TempCluster cluster{{.conf = {"max_connections = 17"}}};
    directory = cluster.directory();
    CHECK(cluster.scalar("postgres", "SHOW max_connections") == "17");
    CHECK(cluster.scalar("postgres", "SHOW fsync") == "off");

    cluster.create_database("sh\"op 1");
    cluster.execute("sh\"op 1", "CREATE TABLE item (id int PRIMARY KEY); INSERT INTO item VALUES (1)");
    const pid_t first = cluster.postmaster_pid();
    cluster.kill9();
    CHECK_FALSE(cluster.running());
    CHECK_THROWS_AS(cluster.execute("postgres", "SELECT 1"), std::runtime_error);
    cluster.start();
    CHECK(cluster.postmaster_pid() != first);
    CHECK(cluster.scalar("sh\"op 1", "SELECT count(*) FROM item") == "1");

    cluster.add_conf("max_connections = 18");
    const auto port = cluster.port();
    cluster.restart();
    CHECK(cluster.port() == port);
    CHECK(cluster.scalar("postgres", "SHOW max_connections") == "18");
    CHECK_THROWS_AS(cluster.execute("postgres", "SELECT nonsense"), std::runtime_error);
    server = cluster.postmaster_pid();
  }
  CHECK_FALSE(std::filesystem::exists(directory));
  CHECK(::kill(server, 0) != 0);
}
