// README.md says which messages mean what: here each of them is provoked, as it happens to a user, and what it says is
// looked at. A row of the tables that nobody provokes fails the test.
#include <catch2/catch.hpp>
#include <fstream>
#include <functional>
#include <map>
#include <thread>

#include "fleet.h"
#include "free_port.h"
#include "listener.h"
#include "readme_table.h"
#include "wait_until.h"

using namespace mbsync::test;

namespace {

constexpr const char* kSchema = "CREATE TABLE item (id text PRIMARY KEY, name text)";

using Environment = std::map<std::string, std::string>;

/// What a user sees: what was printed, and the exit code.
struct Seen {
  std::string text;
  std::optional<int> exit_code{};
};
using Provoke = std::function<Seen()>;

class Shop {
 public:
  Shop() {
    cluster_.create_database("shop");
    cluster_.execute("shop", kSchema);
    cluster_.execute("shop", "CREATE ROLE clerk LOGIN PASSWORD 'right'");
  }

  [[nodiscard]] TempCluster& cluster() { return cluster_; }
  /// Of the database shop, as somebody else.
  [[nodiscard]] std::string url_as(const std::string& who) const {
    auto url = cluster_.url("shop");
    return url.replace(url.find("postgres@"), std::string_view("postgres@").size(), who + "@");
  }

  /// `mbsync run`, which has to end by itself.
  Seen run(const Environment& given) const { return say({"run"}, given); }
  Seen say(std::vector<std::string> arguments, const Environment& given) const {
    Environment all{{"DATABASE_URL", cluster_.url("shop")},
                    {"SYNC_REGISTRATION_KEY", kFleetKey},
                    {"SYNC_PORT", std::to_string(free_port(2))},
                    {"SYNC_BIND", "127.0.0.1"}};
    for (const auto& [name, value] : given) {
      all[name] = value;
    }
    const auto finished =
        run_program(mbsync_program(),
                    clean_options(std::move(arguments), {all.begin(), all.end()}, cluster_.directory()), seconds{120});
    return {finished.out + finished.err, finished.exit_code};
  }

 private:
  TempCluster cluster_;
};

/// Provokes each message of the table, and looks whether it is said.
void provoke_all(const std::vector<std::vector<std::string>>& table, const std::map<std::string, Provoke>& provoked) {
  for (const auto& row : table) {
    REQUIRE(row.size() == 4);
    for (const auto& message : quoted_in(row[0])) {
      INFO("README.md: " << message);
      const auto place = provoked.find(message);
      REQUIRE(place != provoked.end());
      const auto seen = place->second();
      INFO(seen.text);
      CHECK(says(seen.text, message));
      CHECK_THAT(seen.text, !Catch::Contains(kFleetKey) && !Catch::Contains("TOPSECRET"));
      if (seen.exit_code) {
        CHECK(std::to_string(*seen.exit_code) == row[1]);
      }
    }
  }
}

}  // namespace

TEST_CASE("troubles: whatever keeps a node from starting is said as README.md has it") {
  skip_without_postgres();
  Shop shop;
  const auto with = [&](const char* name, const std::string& value) { return shop.run({{name, value}}); };
  provoke_all(
      readme_table("When it does not start"),
      {{"Missing DATABASE_URL", [&] { return with("DATABASE_URL", ""); }},
       {"Missing SYNC_REGISTRATION_KEY", [&] { return with("SYNC_REGISTRATION_KEY", ""); }},
       {"there is no setting '...'",
        [&] {
          const auto file = shop.cluster().directory() / "mbsync.toml";
          std::ofstream{file} << "prot = 8765\n";
          auto seen = with("SYNC_PORT", "8765");
          std::filesystem::remove(file);
          return seen;
        }},
       {"must be ...", [&] { return with("SYNC_PORT", "70000"); }},
       {"password authentication failed for user \"...\"",
        [&] {
          shop.cluster().ask_password_of("clerk");
          return with("DATABASE_URL", shop.url_as("clerk:TOPSECRET"));
        }},
       {"database \"...\" does not exist", [&] { return with("DATABASE_URL", shop.cluster().url("shopp")); }},
       {"could not translate host name \"...\"",
        [&] { return with("DATABASE_URL", "postgres://clerk:TOPSECRET@no-such-host.invalid/shop"); }},
       {"no pg_hba.conf entry for host ...",
        [&] {
          const auto hba = shop.cluster().data_directory() / "pg_hba.conf";
          const auto before = std::filesystem::file_size(hba);
          std::stringstream rules;
          rules << std::ifstream{hba}.rdbuf();
          std::ofstream{hba} << "local all all trust\n";
          shop.cluster().restart();
          auto seen = with("DATABASE_URL", shop.url_as("clerk:TOPSECRET"));
          std::ofstream{hba} << rules.str();
          shop.cluster().restart();
          CHECK(std::filesystem::file_size(hba) == before);
          return seen;
        }},
       {"Connection refused; waited for ... s",
        [&] {
          return with("DATABASE_URL", "postgres://clerk:TOPSECRET@127.0.0.1:" + std::to_string(free_port()) + "/shop");
        }},
       {"no answer within 5.0 s",
        [&] {
          const SilentListener silent;
          return shop.say(
              {"smoke-check"},
              {{"DATABASE_URL", "postgres://clerk:TOPSECRET@127.0.0.1:" + std::to_string(silent.port()) + "/shop"}});
        }},
       {"role ... may not create schema mbsync", [&] { return with("DATABASE_URL", shop.url_as("clerk:right")); }},
       {"does not own ...", [&] { return with("DATABASE_URL", shop.url_as("clerk:right")); }},
       {"has the encoding SQL_ASCII",
        [&] {
          shop.cluster().execute("postgres",
                                 "CREATE DATABASE ascii ENCODING 'SQL_ASCII' TEMPLATE template0 LOCALE 'C'");
          return with("DATABASE_URL", shop.cluster().url("ascii"));
        }},
       {"cannot listen on '...' port ...: Address already in use", [&] {
          const SilentListener other;
          return with("SYNC_PORT", std::to_string(other.port()));
        }}});
}

TEST_CASE("troubles: why machines do not meet is said as README.md has it") {
  Fleet fleet;
  const auto status_of = [](Node& node, std::string_view says_so, const Environment& given = {}) {
    Environment all{{"DATABASE_URL", node.url()}};
    all.insert(given.begin(), given.end());
    const auto look = [&] {
      const auto finished = run_program(
          mbsync_program(), clean_options({"status"}, {all.begin(), all.end()}, node.cluster().directory()));
      return Seen{finished.out + finished.err, finished.exit_code};
    };
    Seen seen;
    const bool said = wait_until(
        seconds{60},
        [&] {
          seen = look();
          return says(seen.text, says_so);
        },
        milliseconds{250});
    CHECK(said);
    seen.exit_code.reset();
    return seen;
  };
  const auto two = [&](const std::string& schema_of_b, const std::string& key_of_b, std::string_view says_so) {
    Node& a = fleet.add_node(Fleet::shared_cluster(), "a", kSchema);
    Node& b = fleet.add_node(Fleet::shared_cluster(), "b", schema_of_b);
    b.set("SYNC_REGISTRATION_KEY", key_of_b);
    fleet.connect(a, b);
    a.execute("INSERT INTO item (id) VALUES ('from a')");
    b.execute("INSERT INTO item (id) VALUES ('from b')");
    a.start_ready();
    b.start_ready();
    auto seen = status_of(a, says_so);
    a.stop();
    b.stop();
    return seen;
  };
  provoke_all(readme_table("When machines do not meet"),
              {{"no node runs on this database",
                [&] {
                  Node& node = fleet.add_node(Fleet::shared_cluster(), "once", kSchema);
                  node.start_ready();
                  node.stop();
                  return status_of(node, "no node runs");
                }},
               {"its SYNC_REGISTRATION_KEY differs",
                [&] { return two(kSchema, "MK2W-7PDX-T4QZ-H9CB-3VNR-L6FJ", "its SYNC_REGISTRATION_KEY differs"); }},
               {"table ... differs between here and ...: column \"...\" is missing ...",
                [&] {
                  return two("CREATE TABLE item (id text PRIMARY KEY, name text, price int)", kFleetKey,
                             "differs between here and");
                }},
               {"nobody has answered yet at ...: ...Connection refused",
                [&] {
                  Node& node = fleet.add_node(Fleet::shared_cluster(), "alone", kSchema);
                  node.add_peer(free_port());
                  node.start_ready();
                  auto seen = status_of(node, "Connection refused");
                  node.stop();
                  return seen;
                }},
               {"Peers are not found by themselves here, only where they are named or have been met: ...", [&] {
                  Node& node = fleet.add_node(Fleet::shared_cluster(), "deaf", kSchema);
                  node.set("SYNC_DISCOVERY", "on");
                  node.set("DBUS_SYSTEM_BUS_ADDRESS", "unix:path=/nonexistent");
                  node.start_ready();
                  auto seen = status_of(node, "Peers are not found by themselves");
                  node.stop();
                  return seen;
                }}});
}
