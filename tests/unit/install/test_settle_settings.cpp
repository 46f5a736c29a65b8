#include "settle_settings.h"

#include <catch2/catch.hpp>

using namespace mbsync;

namespace {

constexpr const char* kUrl = "postgresql://shop:hush-hush@db:5433/shop";
constexpr const char* kKey = "J7pX-4mQz-9vRt-2kLw-8sBn-5cFh";

InstallInput told() {
  InstallInput input;
  input.environment = {{"DATABASE_URL", kUrl}, {"SYNC_REGISTRATION_KEY", kKey}, {"HOME", "/root"}};
  input.host_name = "till-1";
  input.data_dir = "/var/lib/mbsync";
  return input;
}

SettledSettings settled(const InstallInput& input, Differing differing = Differing::kRefuse) {
  auto result = settle_settings(input, differing);
  INFO((result ? "" : result.error().text()));
  REQUIRE(result);
  return std::move(*result);
}

/// The next time, with what the first has written.
InstallInput again(const SettledSettings& first) {
  auto input = told();
  input.toml = ConfigFile{"/etc/mbsync/mbsync.toml", first.toml, {}};
  input.service_env = ConfigFile{"/etc/mbsync/service.env", first.service_env, {}};
  return input;
}

std::string texts(const SettledSettings& settings) {
  std::string text;
  for (const auto& change : settings.changes) {
    text += change.text + "\n";
  }
  return text;
}

}  // namespace

TEST_CASE("settle: secrets go to service.env, the rest to mbsync.toml, and a node understands both") {
  auto input = told();
  input.flags = {{ConfigKey::kPort, "9000"}, {ConfigKey::kPeers, "a:1"}, {ConfigKey::kPeers, "b"}};
  input.environment["SYNC_TABLES_EXCEPT"] = "audit_*, tmp.*";
  input.told_by[ConfigKey::kRegistrationKey] = "a new one";
  const auto made = settled(input);
  CHECK_THAT(made.toml, Catch::EndsWith("port = 9000\ndata_dir = \"/var/lib/mbsync\"\nnode_name = \"till-1\"\n"
                                        "peers = [\"a:1\", \"b\"]\ntables_except = [\"audit_*\", \"tmp.*\"]\n"));
  CHECK_THAT(made.service_env,
             Catch::EndsWith(std::string("DATABASE_URL=") + kUrl + "\nSYNC_REGISTRATION_KEY=" + kKey + "\n"));
  CHECK_THAT(made.toml, !Catch::Contains("hush-hush") && !Catch::Contains(kKey));
  CHECK(made.config.port == 9000);
  CHECK(made.config.registration_key.reveal() == kKey);
  CHECK(made.config.data_dir == "/var/lib/mbsync");
  CHECK(texts(made) ==
        "DATABASE_URL = postgresql://shop@db:5433/shop (environment DATABASE_URL)\n"
        "SYNC_REGISTRATION_KEY = (set) (a new one)\nport = 9000 (--port)\ndata_dir = /var/lib/mbsync\n"
        "node_name = till-1\npeers = a:1, b:8765 (--peer)\n"
        "tables_except = audit_*, tmp.* (environment SYNC_TABLES_EXCEPT)\n");

  // With the same words again, nothing changes.
  auto second = again(made);
  second.flags = input.flags;
  second.environment = input.environment;
  const auto same = settled(second);
  CHECK(same.changes.empty());
  CHECK(same.toml == made.toml);
  CHECK(same.service_env == made.service_env);
  // Nor with none.
  second.flags.clear();
  second.environment.clear();
  CHECK(settled(second).changes.empty());
}

TEST_CASE("settle: what a person has written stays, and is completed") {
  auto input = told();
  input.toml = ConfigFile{
      "mbsync.toml", "# our shop\nnode_name = 'office'\nregistration_key = \"" + std::string(kKey) + "\"\n", {}};
  const auto made = settled(input);
  CHECK_THAT(made.toml, Catch::StartsWith(input.toml->text));
  CHECK(made.config.node_name == "office");
  CHECK(texts(made) ==
        "DATABASE_URL = postgresql://shop@db:5433/shop (environment DATABASE_URL)\nport = 8765\n"
        "data_dir = /var/lib/mbsync\n");
}

TEST_CASE("settle: another value is refused, kept, or written, as is asked for") {
  auto input = again(settled(told()));
  input.flags = {{ConfigKey::kPort, "9000"}};
  input.environment["DATABASE_URL"] = "postgresql://shop:other@db:5433/shop";
  const auto refused = settle_settings(input, Differing::kRefuse);
  REQUIRE_FALSE(refused);
  CHECK_THAT(refused.error().message, Catch::Contains("port is 8765 (mbsync.toml:2), and not 9000 (--port)") &&
                                          Catch::Contains("DATABASE_URL (service.env:2) is another one"));
  CHECK_THAT(refused.error().text(), !Catch::Contains("hush") && !Catch::Contains("other@"));

  const auto kept = settled(input, Differing::kKeep);
  CHECK(kept.changes.empty());
  CHECK(kept.kept.size() == 2);
  CHECK(kept.toml == input.toml->text);

  const auto changed = settled(input, Differing::kChange);
  CHECK(changed.config.port == 9000);
  CHECK_THAT(changed.service_env, Catch::Contains(":other@") && !Catch::Contains("hush"));
  CHECK(changed.changes.size() == 2);
  CHECK(changed.changes.front().replaces);
}

TEST_CASE("settle: what counts is replaced, whichever file it stands in") {
  auto input = told();
  input.toml = ConfigFile{"mbsync.toml", "port = 1000\n", {}};
  input.service_env = ConfigFile{"service.env", "SYNC_PORT=2000\n", {}};
  input.flags = {{ConfigKey::kPort, "9000"}};
  const auto changed = settled(input, Differing::kChange);
  CHECK(changed.config.port == 9000);
  CHECK_THAT(changed.service_env, Catch::StartsWith("SYNC_PORT=9000\n"));
}

TEST_CASE("settle: what is wrong is said with its place") {
  auto input = told();
  input.flags = {{ConfigKey::kPort, "nine"}};
  auto wrong = settle_settings(input, Differing::kChange);
  REQUIRE_FALSE(wrong);
  CHECK_THAT(wrong.error().message, Catch::StartsWith("--port: must be"));
  input = told();
  input.toml = ConfigFile{"/etc/mbsync/mbsync.toml", "prot = 1\n", {}};
  wrong = settle_settings(input, Differing::kChange);
  REQUIRE_FALSE(wrong);
  CHECK_THAT(wrong.error().message, Catch::StartsWith("/etc/mbsync/mbsync.toml:1: there is no setting 'prot'"));
}

TEST_CASE("settle: a variable that mbsync does not know is warned of") {
  auto input = told();
  input.environment["SYNC_PROT"] = "1";
  CHECK(settled(input).config.warnings ==
        std::vector<std::string>{"environment: mbsync knows no SYNC_PROT; did you mean 'SYNC_PORT'?"});
}

TEST_CASE("settle: what nobody has said yet") {
  const std::vector<ConfigKey> keys{ConfigKey::kDatabaseUrl, ConfigKey::kRegistrationKey, ConfigKey::kPort};
  auto input = told();
  auto missing = unanswered(input, keys);
  REQUIRE(missing);
  CHECK(*missing == std::vector<ConfigKey>{ConfigKey::kPort});
  input.environment["DATABASE_URL"] = "";
  input.flags = {{ConfigKey::kPort, "9000"}};
  missing = unanswered(input, keys);
  REQUIRE(missing);
  CHECK(*missing == std::vector<ConfigKey>{ConfigKey::kDatabaseUrl});
}
