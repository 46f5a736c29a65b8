#include "reload.h"

#include <algorithm>
#include <catch2/catch.hpp>

#include "settings.h"

using namespace mbsync;

namespace {

Config with(std::map<std::string, std::string> environment) {
  ConfigSources sources;
  sources.host_name = "till";
  sources.environment = std::move(environment);
  return *load_config(sources, ConfigNeeds::kNothing);
}

}  // namespace

TEST_CASE("reload: a running node takes each setting that is said to be live, and no other") {
  const Config before = with({});
  const Config wanted = with({{"DATABASE_URL", "postgres://h/d"},
                              {"SYNC_REGISTRATION_KEY", "s3cret"},
                              {"SYNC_PORT", "1"},
                              {"SYNC_INTERVAL", "1000"},
                              {"LOG_LEVEL", "error"},
                              {"SYNC_DATA_DIR", "/x"},
                              {"SYNC_NODE_NAME", "x"},
                              {"SYNC_PEERS", "x:1"},
                              {"SYNC_BIND", "::1"},
                              {"SYNC_CONFLICT_RETENTION_DAYS", "1"},
                              {"SYNC_DISCOVERY", "off"},
                              {"SYNC_LIVE_PEERS", "2"},
                              {"SYNC_REGISTRATION_KEY_NEXT", "s3cret"},
                              {"SYNC_ALLOWED_NODES", "00000000000000ff"},
                              {"SYNC_AWAY_AFTER_DAYS", "1"},
                              {"SYNC_TABLES", "x"},
                              {"SYNC_TABLES_EXCEPT", "y"},
                              {"SYNC_LOG_SIZE_MB", "1"},
                              {"SYNC_LOG_FILES", "1"},
                              {"SKIP_DB_PRECHECK", "true"},
                              {"SYNC_STATUS_PORT", "1"},
                              {"SYNC_STATUS_BIND", "::1"},
                              {"SYNC_STATUS_TOKEN", "0123456789abcdef"},
                              {"SYNC_STATUS_HOSTS", "x"},
                              {"SYNC_VERIFY_INTERVAL_HOURS", "1"},
                              {"SYNC_VERIFY_ROWS_PER_S", "1"}});
  REQUIRE(changed_settings(before, wanted).size() == kConfigKeys);  // a new setting belongs in the list above
  Config now = before;
  const auto reloaded = take_live(now, wanted);
  CHECK(changed_settings(before, now) == reloaded.taken);
  CHECK(changed_settings(now, wanted) == reloaded.needs_restart);
  for (const auto& entry : all_settings()) {
    INFO(entry.toml);
    CHECK(reloaded.has(entry.key) == (entry.reload == Reload::kLive));
    CHECK(now.source(entry.key) == (reloaded.has(entry.key) ? "environment " + std::string(entry.env) : "default"));
  }
  CHECK(names_and_values({ConfigKey::kLogLevel, ConfigKey::kRegistrationKey}, wanted) ==
        "log_level (error), registration_key");
}
