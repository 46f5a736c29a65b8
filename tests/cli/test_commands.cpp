// The programs as a user meets them: stdout, stderr and exit code.
#include <unistd.h>

#include <catch2/catch.hpp>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <regex>
#include <string>
#include <utility>
#include <vector>

#include "child_process.h"

using namespace mbsync::test;

namespace {

constexpr const char* kSecret = "TOPSECRET";
constexpr const char* kUrl = "postgres://u:TOPSECRET@127.0.0.1:1/d";

/// A directory without configuration, gone at the end.
struct EmptyDirectory {
  std::filesystem::path path = std::filesystem::temp_directory_path() / ("mbsync-cli-" + std::to_string(::getpid()));
  EmptyDirectory() { std::filesystem::create_directories(path); }
  ~EmptyDirectory() { std::filesystem::remove_all(path); }
};

Finished run(const char* program, std::vector<std::string> arguments,
             std::vector<std::pair<std::string, std::string>> environment = {}) {
  const EmptyDirectory directory;
  std::vector<std::string> unset{"DATABASE_URL",       "SYNC_REGISTRATION_KEY",
                                 "SYNC_PORT",          "SYNC_INTERVAL",
                                 "LOG_LEVEL",          "SYNC_DATA_DIR",
                                 "SYNC_NODE_NAME",     "SYNC_PEERS",
                                 "SYNC_BIND",          "SYNC_REGISTRATION_KEY_NEXT",
                                 "SYNC_ALLOWED_NODES", "SYNC_STATUS_PORT",
                                 "SYNC_STATUS_BIND",   "SYNC_STATUS_TOKEN",
                                 "SYNC_STATUS_HOSTS"};
  return run_program(program, {.arguments = std::move(arguments),
                               .environment = std::move(environment),
                               .unset = std::move(unset),
                               .working_directory = directory.path});
}

Finished run_mbsync(std::vector<std::string> arguments,
                    std::vector<std::pair<std::string, std::string>> environment = {}) {
  return run(MBSYNC_PROGRAM, std::move(arguments), std::move(environment));
}

}  // namespace

TEST_CASE("cli: version") {
  const Finished text = run_mbsync({"version"});
  CHECK(text.exit_code == 0);
  CHECK(std::regex_match(text.out, std::regex{R"(mbsync \d+\.\d+\.\d+\n)"}));
  CHECK(text.err.empty());

  const Finished flag = run_mbsync({"--version"});
  CHECK(flag.exit_code == 0);
  CHECK(flag.out == text.out);
  const Finished json = run_mbsync({"version", "--json"});
  CHECK(json.exit_code == 0);
  CHECK("mbsync " + nlohmann::json::parse(json.out).at("version").get<std::string>() + "\n" == text.out);
}

TEST_CASE("cli: keygen prints the key alone on stdout, another one every time") {
  const Finished first = run_mbsync({"keygen"});
  CHECK(first.exit_code == 0);
  CHECK(std::regex_match(first.out, std::regex{R"(([A-Z2-7]{4}-){12}[A-Z2-7]{4}\n)"}));
  CHECK_THAT(first.err, Catch::Contains("SYNC_REGISTRATION_KEY"));
  CHECK(run_mbsync({"keygen"}).out != first.out);

  const Finished json = run_mbsync({"keygen", "--json"});
  CHECK(nlohmann::json::parse(json.out).at("registration_key").get<std::string>().size() + 1 == first.out.size());
}

TEST_CASE("cli: what cannot be written is no success") {
  for (const std::string arguments : {"keygen", "keygen --json", "version", "--help", "run --help"}) {
    const Finished finished =
        run("/bin/sh", {"-c", std::string("exec '") + MBSYNC_PROGRAM + "' " + arguments + " > /dev/full"});
    INFO(arguments);
    CHECK(finished.exit_code == 1);
    CHECK_THAT(finished.err, Catch::StartsWith("mbsync: the result could not be written") &&
                                 Catch::Contains("what to do") && !Catch::Contains("SYNC_REGISTRATION_KEY"));
  }
}

TEST_CASE("cli: help lists commands and exit codes, and commands their flags") {
  const Finished all = run_mbsync({"--help"});
  CHECK(all.exit_code == 0);
  CHECK_THAT(all.out, Catch::Contains("keygen") && Catch::Contains("run") && Catch::Contains("Exit codes") &&
                          Catch::Contains("3  database"));
  const Finished one = run_mbsync({"run", "--help"});
  CHECK(one.exit_code == 0);
  CHECK_THAT(one.out, Catch::Contains("--peer") && Catch::Contains("SYNC_PORT") && Catch::Contains("Example") &&
                          !Catch::Contains("--key") && !Catch::Contains("--database-url"));
}

TEST_CASE("cli: mistakes in the command line end with 2") {
  CHECK(run_mbsync({}).exit_code == 2);
  const Finished command = run_mbsync({"frobnicate", "TOPSECRET"});
  CHECK(command.exit_code == 2);
  CHECK_THAT(command.err, Catch::StartsWith("mbsync: there is no command 'frobnicate'\n") && !Catch::Contains(kSecret));
  CHECK(run_mbsync({"stauts"}).err ==
        "mbsync: there is no command 'stauts'\n"
        "  what to do: did you mean 'status'? 'mbsync --help' lists what there is\n");
  CHECK_THAT(run_mbsync({"postgres://u:TOPSECRET@h/d"}).err, !Catch::Contains(kSecret));
  const Finished unknown = run_mbsync({"run", "--frobnicate=TOPSECRET", "TOPSECRET"});
  CHECK(unknown.exit_code == 2);
  CHECK(unknown.out.empty());
  CHECK_THAT(unknown.err, Catch::Contains("unknown option: --frobnicate") && !Catch::Contains(kSecret));
  for (const std::string argument : {"--frobnicate:", "--frobnicate", "-k", "-kX"}) {
    const Finished glued = run_mbsync({"keygen", argument + kSecret});
    INFO(glued.err);
    CHECK(glued.exit_code == 2);
    CHECK_THAT(glued.err, Catch::Contains("unknown option: ") && !Catch::Contains(kSecret));
  }
}

TEST_CASE("cli: secrets are refused on the command line, with the reason") {
  const std::vector<std::pair<const char*, std::string>> options = {{"--key", "SYNC_REGISTRATION_KEY"},
                                                                    {"--registration-key", "SYNC_REGISTRATION_KEY"},
                                                                    {"--key-next", "SYNC_REGISTRATION_KEY_NEXT"},
                                                                    {"--database-url", "DATABASE_URL"},
                                                                    {"--url", "DATABASE_URL"}};
  for (const auto& [option, variable] : options) {
    for (const std::vector<std::string>& arguments : {std::vector<std::string>{"run", option, kSecret},
                                                      {"run", std::string{option} + "=" + kSecret},
                                                      {"run", option}}) {
      const Finished refused = run_mbsync(arguments, {{"DATABASE_URL", kUrl}, {"SYNC_REGISTRATION_KEY", kSecret}});
      INFO(refused.err);
      CHECK(refused.exit_code == 2);
      CHECK_THAT(refused.err, Catch::StartsWith("mbsync: " + variable + " is not taken from the command line"));
      CHECK_THAT(refused.err, !Catch::Contains(kSecret));
    }
  }
}

TEST_CASE("cli: what run lacks is named, and ends with 2") {
  const Finished both = run_mbsync({"run"});
  CHECK(both.exit_code == 2);
  CHECK(both.out.empty());
  CHECK_THAT(both.err, Catch::StartsWith("mbsync: Missing DATABASE_URL; Missing SYNC_REGISTRATION_KEY\n") &&
                           Catch::Contains("mbsync keygen"));
  CHECK_THAT(run_mbsync({"run"}, {{"DATABASE_URL", kUrl}}).err,
             Catch::StartsWith("mbsync: Missing SYNC_REGISTRATION_KEY\n"));

  const Finished port =
      run_mbsync({"run", "--port", "70000"}, {{"DATABASE_URL", kUrl}, {"SYNC_REGISTRATION_KEY", kSecret}});
  CHECK(port.exit_code == 2);
  CHECK_THAT(port.err, Catch::Contains("--port: must be a whole number from 1 to 65535") && !Catch::Contains(kSecret));

  const Finished file = run_mbsync({"run", "--config", "none.toml"});
  CHECK(file.exit_code == 2);
  CHECK_THAT(file.err, Catch::Contains("'none.toml' cannot be read"));
}

TEST_CASE("cli: status without node and database says that, in exactly these words, and ends with 2") {
  const std::vector<std::pair<std::string, std::string>> environment{
      {"DATABASE_URL", kUrl}, {"SYNC_STATUS_PORT", "2"}, {"SYNC_NODE_NAME", "till"}, {"SYNC_PORT", "9000"}};
  const Finished text = run_mbsync({"status"}, environment);
  CHECK(text.exit_code == 2);
  CHECK(text.err.empty());
  const std::string failure =
      "database postgresql://u@127.0.0.1:1/d: connection to server at \"127.0.0.1\", port 1 failed: Connection refused "
      "(is the PostgreSQL server running and reachable?)";
  CHECK(text.out == "Node till (no id yet)\n\nStatus:    down\n  the database cannot be read: " + failure +
                        "\n  it cannot be seen whether a node runs: nothing answers on the local port\n"
                        "Service:   not running, as far as can be seen\n"
                        "Version:   0.1.0, configured by environment\n"
                        "Database:  postgresql://u@127.0.0.1:1/d, not reachable\n"
                        "Network:   port 9000 on ::, discovery on; local port 2 on 127.0.0.1, ::1\n"
                        "\n\nPeers Connected: 0\nNo other member is known yet.\n");
  const Finished json = run_mbsync({"status", "--json"}, environment);
  CHECK(json.exit_code == 2);
  const auto document = nlohmann::json::parse(json.out);
  CHECK(document["status"] == "down");
  CHECK(document["database"]["error"] == failure);
  CHECK_THAT(run_mbsync({"status", "--help"}).out,
             Catch::Contains("0  healthy") && Catch::Contains("1  degraded") && Catch::Contains("2  down"));

  const Finished sync = run_mbsync({"sync"}, environment);
  CHECK(sync.exit_code == 1);
  CHECK_THAT(sync.err, Catch::StartsWith("mbsync: no node answers on local port 2\n  what to do: "));
  const Finished none = run_mbsync({"sync"}, {{"DATABASE_URL", kUrl}, {"SYNC_STATUS_PORT", "0"}});
  CHECK(none.exit_code == 2);
}

TEST_CASE("cli: mbsyncd takes the same configuration and has no subcommands") {
  const Finished missing = run(MBSYNCD_PROGRAM, {});
  CHECK(missing.exit_code == 2);
  CHECK_THAT(missing.err, Catch::Contains("Missing DATABASE_URL"));
  CHECK(run(MBSYNCD_PROGRAM, {"run"}).exit_code == 2);
  CHECK(run(MBSYNCD_PROGRAM, {"--help"}).exit_code == 0);
}
