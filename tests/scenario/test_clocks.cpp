// Machines whose clocks are off by a day, each with its database: rows do not depend on it, and people are told.
#include <fmt/format.h>

#include <catch2/catch.hpp>
#include <cstdlib>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "child_process.h"
#include "fleet.h"
#include "wait_until.h"

using namespace mbsync::test;

namespace {

constexpr const char* kSchema = "CREATE TABLE item (id text PRIMARY KEY, note text)";
using Environment = std::vector<std::pair<std::string, std::string>>;

std::filesystem::path faketime_library() {
  const std::filesystem::path libraries = "/usr/lib";
  for (const auto& entry : std::filesystem::directory_iterator(libraries)) {
    const auto file = entry.path() / "faketime" / "libfaketimeMT.so.1";
    if (std::filesystem::exists(file)) {
      return file;
    }
  }
  return {};
}

/// For programs whose wall clock is to be off; how long something takes stays as it is.
Environment clock_off_by(const std::string& offset) {
  return {{"LD_PRELOAD", faketime_library().string()}, {"FAKETIME", offset}, {"FAKETIME_DONT_FAKE_MONOTONIC", "1"}};
}

std::string status(Node& node, const Environment& clock, std::vector<std::string> arguments = {}) {
  arguments.insert(arguments.begin(), "status");
  Environment environment{{"DATABASE_URL", node.url()}};
  environment.insert(environment.end(), clock.begin(), clock.end());
  const auto finished = run_program(
      mbsync_program(), clean_options(std::move(arguments), environment, std::filesystem::temp_directory_path()));
  INFO(finished.err);
  REQUIRE(finished.exit_code <= 2);  // what it says of the node is not what is looked at here
  return finished.out;
}

void await_status(Node& node, const Environment& clock, const std::string& text) {
  const bool seen = wait_until(
      seconds{60}, [&] { return status(node, clock).find(text) != std::string::npos; }, milliseconds{200});
  INFO(status(node, clock) << node.log_end());
  CHECK(seen);
}

void write(Node& node, const std::string& id, const std::string& note) {
  node.execute(
      fmt::format("INSERT INTO item VALUES ('{0}', '{1}') ON CONFLICT (id) DO UPDATE SET note = '{1}'", id, note));
}

std::string note(Node& node, const std::string& id) {
  return node.scalar(fmt::format("SELECT note FROM item WHERE id = '{}'", id));
}

}  // namespace

TEST_CASE("clocks: one is a day ahead, one a day behind") {
  if (faketime_library().empty()) {
    fmt::print("skipped: there is no libfaketime\n");
    std::exit(77);
  }
  if (sanitized()) {
    fmt::print("skipped: libfaketime and the sanitizers do not go together\n");
    std::exit(77);
  }
  Fleet fleet;
  const Environment right;
  const auto ahead = clock_off_by("+1d");
  const auto behind = clock_off_by("-1d");
  const auto add = [&](const std::string& name, const Environment& clock) -> Node& {
    TempClusterOptions options;
    options.environment = clock;
    auto& node = fleet.add_node(clock.empty() ? Fleet::shared_cluster() : fleet.add_cluster(options), name, kSchema);
    for (const auto& [variable, value] : clock) {
      node.set(variable, value);
    }
    return node;
  };
  Node& a = add("right", right);
  Node& b = add("ahead", ahead);
  Node& c = add("behind", behind);
  const auto hours_apart = [&](Node& node) {
    return std::lround(std::stod(node.scalar("SELECT extract(epoch FROM clock_timestamp())")) -
                       std::stod(a.scalar("SELECT extract(epoch FROM clock_timestamp())"))) /
           3600;
  };
  REQUIRE(hours_apart(b) >= 23);
  REQUIRE(hours_apart(c) <= -23);
  auto& a_b = fleet.connect(a, b);
  auto& b_c = fleet.connect(b, c);
  fleet.connect(a, c);
  for (Node* node : {&a, &b, &c}) {
    node->start();
  }
  fleet.await_met({&a, &b, &c});
  for (Node* node : {&a, &b, &c}) {
    write(*node, node->name(), "first");
  }
  fleet.await_converged({&a, &b, &c});
  CHECK(a.scalar("SELECT count(*) FROM item") == "3");

  // Whoever has seen a write overwrites it, however late the one and early the other seem to be.
  write(c, "ahead", "by behind");
  fleet.await_converged({&a, &b, &c});
  CHECK(note(b, "ahead") == "by behind");

  // Of writes at once, the one whose clock says so stands, on all; the other is kept.
  a_b.cut();
  b_c.cut();
  write(b, "right", "by ahead");
  write(a, "right", "by right");
  write(c, "behind", "by behind");
  write(b, "behind", "by ahead");
  fleet.await_converged({&a, &c});
  CHECK(note(c, "right") == "by right");
  a_b.restore();
  b_c.restore();
  fleet.await_converged({&a, &b, &c});
  for (Node* node : {&a, &b, &c}) {
    CHECK(note(*node, "right") == "by ahead");
    CHECK(note(*node, "behind") == "by ahead");
    CHECK(node->scalar("SELECT count(DISTINCT id) FROM mbsync.conflict_value") == "2");
  }

  // What all have is forgotten, and people are told.
  fleet.await_quiet({&a, &b, &c});
  await_status(a, right, "ahead: its clock is 86400 s ahead of this one's");
  await_status(a, right, "behind: its clock is 86400 s behind this one's");
  await_status(b, ahead, "behind: its clock is 172800 s behind this one's");
  const auto clocks = nlohmann::json::parse(status(c, behind, {"--json"}))["clocks"];
  REQUIRE(clocks.size() == 2);
  for (const auto& clock : clocks) {
    const double hours = clock["ahead_ms"].get<double>() / 3'600'000;
    CHECK(hours == Approx(clock["name"] == "ahead" ? 48 : 24).epsilon(0.001));
  }
  CHECK(a.count_in_log("clocks differ peer=") == 2);

  // Set right, it goes on: its clock has gone back by a day for it.
  b.stop();
  b.set("LD_PRELOAD", "");
  b.start_ready();
  write(a, "again", "by right");
  write(b, "again too", "by ahead");
  fleet.await_converged({&a, &b, &c});
  CHECK(wait_until(seconds{30}, [&] { return status(a, right).find("s ahead of this") == std::string::npos; }));
  for (Node* node : {&a, &b, &c}) {
    node->stop();
  }
}
