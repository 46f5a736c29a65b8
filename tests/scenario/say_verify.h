// What `mbsync verify` says of a node of the fleet, for the scenarios that ask it.
#pragma once

#include <algorithm>
#include <catch2/catch.hpp>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "fleet.h"
#include "http_say.h"

namespace mbsync::test {

using nlohmann::json;

/// As an application never writes: no trigger sees it.
inline constexpr const char* kBehind = "SET session_replication_role = replica; ";

inline Finished say_verify(Node& node, std::vector<std::string> arguments) {
  arguments.insert(arguments.begin(), "verify");
  return run_program(mbsync_program(),
                     clean_options(std::move(arguments),
                                   {{"DATABASE_URL", node.url()},
                                    {"SYNC_REGISTRATION_KEY", kFleetKey},
                                    {"SYNC_PORT", std::to_string(node.port())},
                                    {"SYNC_STATUS_PORT", std::to_string(node.local_port())}},
                                   std::filesystem::temp_directory_path()),
                     seconds{180});
}

inline json verify(Node& node, int exit_code, std::vector<std::string> more = {}) {
  std::vector<std::string> arguments{"--json", "--rows-per-s", "0"};
  arguments.insert(arguments.end(), more.begin(), more.end());
  const auto said = say_verify(node, arguments);
  INFO(said.out << said.err);
  CHECK(said.exit_code == exit_code);
  return json::parse(said.out);
}

inline const json& table_of(const json& report, const std::string& name) {
  for (const auto& table : report["peers"][0]["tables"]) {
    if (table["table"] == name) {
      return table;
    }
  }
  FAIL("no table " + name + " in " + report.dump(2));
  return report;
}

inline json row(const std::string& key, const std::string& what, std::vector<std::string> columns = {}) {
  return {{"key", key}, {"what", what}, {"columns", columns}};
}

inline json health(Node& node) {
  return json::parse(ask(node.local_port(), "/health").body);
}

}  // namespace mbsync::test
