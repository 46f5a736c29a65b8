// mbsync config, as a user meets it.
#include <unistd.h>

#include <catch2/catch.hpp>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "child_process.h"

using namespace mbsync::test;

namespace {

struct Place {
  std::filesystem::path path =
      std::filesystem::temp_directory_path() / ("mbsync-config-command-" + std::to_string(::getpid()));
  Place() { std::filesystem::create_directories(path); }
  ~Place() { std::filesystem::remove_all(path); }
  void write(const char* name, const std::string& text) const {
    std::ofstream{path / name} << text;
    std::filesystem::permissions(path / name, std::filesystem::perms{0600});
  }
  [[nodiscard]] Finished run(std::vector<std::string> arguments,
                             std::vector<std::pair<std::string, std::string>> environment = {}) const {
    arguments.insert(arguments.begin(), {"-i", "PATH=/usr/bin:/bin"});
    auto program = arguments.begin() + 2;
    for (const auto& [name, value] : environment) {
      program = arguments.insert(program, name + "=" + value) + 1;
    }
    arguments.insert(program, MBSYNC_PROGRAM);
    return run_program("env", {.arguments = arguments, .working_directory = path});
  }
};

}  // namespace

TEST_CASE("cli: config shows each value and where it comes from, and no secret") {
  const Place place;
  place.write("mbsync.toml", "port = 9000\nregistration_key = 'TOPSECRET'\nnode_name = 'office'\n");
  place.write("service.env", "DATABASE_URL=postgresql://shop:TOPSECRET@db:5433/shop\nSYNC_PORT=9001\n");
  const Finished shown = place.run({"config", "--peer", "till-2"}, {{"LOG_LEVEL", "debug"}});
  const auto directory = std::filesystem::canonical(place.path).string();
  CHECK(shown.exit_code == 0);
  CHECK(shown.err.empty());
  CHECK(shown.out ==
        directory + "/mbsync.toml: read\n" + directory +
            "/service.env: read\n"
            "\n"
            "Setting                  Value                           From                   To change it\n"
            "database_url             postgresql://shop@db:5433/shop  service.env:1          restart\n"
            "registration_key         (set)                           mbsync.toml:2          restart\n"
            "port                     9001                            service.env:2          restart\n"
            "interval_ms              30000                           default                SIGHUP\n"
            "log_level                debug                           environment LOG_LEVEL  SIGHUP\n"
            "data_dir                 data/sync                       default                restart\n"
            "node_name                office                          mbsync.toml:3          restart\n"
            "peers                    till-2:8765                     --peer                 SIGHUP\n"
            "bind_address             ::                              default                restart\n"
            "conflict_retention_days  90                              default                SIGHUP\n"
            "discovery                auto                            default                restart\n"
            "live_peers               8                               default                restart\n"
            "registration_key_next    (none)                          default                restart\n"
            "allowed_nodes            (none)                          default                SIGHUP\n"
            "away_after_days          180                             default                SIGHUP\n"
            "tables                   *                               default                restart\n"
            "tables_except            (none)                          default                restart\n"
            "log_size_mb              10                              default                SIGHUP\n"
            "log_files                5                               default                SIGHUP\n"
            "skip_db_precheck         false                           default                restart\n"
            "status_port              9002                            default                restart\n"
            "status_bind              127.0.0.1, ::1                  default                restart\n"
            "status_token             (none)                          default                restart\n"
            "status_hosts             (none)                          default                restart\n"
            "verify_interval_hours    24                              default                SIGHUP\n"
            "verify_rows_per_s        5000                            default                SIGHUP\n");
}

TEST_CASE("cli: config as JSON") {
  const Place place;
  const Finished shown = place.run({"config", "--json"}, {{"SYNC_REGISTRATION_KEY", "TOPSECRET"}, {"SYNC_PROT", "1"}});
  CHECK(shown.exit_code == 0);
  CHECK_THAT(shown.out, !Catch::Contains("TOPSECRET"));
  const auto document = nlohmann::json::parse(shown.out);
  CHECK(document.at("files").size() == 4);
  CHECK(document.at("files")[2] ==
        nlohmann::json{{"path", "/etc/mbsync/mbsync.toml"}, {"read", false}, {"found", false}});
  CHECK(document.at("settings")[1] == nlohmann::json{{"name", "registration_key"},
                                                     {"environment", "SYNC_REGISTRATION_KEY"},
                                                     {"value", "(set)"},
                                                     {"source", "environment SYNC_REGISTRATION_KEY"},
                                                     {"reloadable", false}});
  CHECK(document.at("warnings")[0] == "environment: mbsync knows no SYNC_PROT; did you mean 'SYNC_PORT'?");
}

TEST_CASE("cli: what is wrong in a file ends with 2, and says where and what is allowed") {
  const Place place;
  place.write("mbsync.toml", "\ndatabse_url = 'TOPSECRET'\n");
  Finished refused = place.run({"config"});
  CHECK(refused.exit_code == 2);
  CHECK(refused.out.empty());
  CHECK_THAT(refused.err, Catch::StartsWith("mbsync: mbsync.toml:2: there is no setting 'databse_url'\n"
                                            "  what to do: did you mean 'database_url'? There are database_url, ") &&
                              !Catch::Contains("TOPSECRET"));
  place.write("mbsync.toml", "port = 70000\n");
  refused = place.run({"config"});
  CHECK(refused.exit_code == 2);
  CHECK(refused.err == "mbsync: mbsync.toml:1: port: must be a whole number from 1 to 65535, not '70000'\n");
}

TEST_CASE("cli: config --example is a mbsync.toml") {
  const Place place;
  const Finished example = place.run({"config", "--example"});
  CHECK(example.exit_code == 0);
  CHECK_THAT(example.out, Catch::StartsWith("# Settings of mbsync.") && Catch::Contains("\n#port = 8765\n"));
  place.write("mbsync.toml", example.out);
  CHECK(place.run({"config"}).exit_code == 0);
}
