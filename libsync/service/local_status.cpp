#include "local_status.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>
#include <utility>

namespace mbsync {
namespace {

constexpr std::chrono::milliseconds kPatience{2'000};

}  // namespace

LocalTarget local_target(const Config& config) {
  auto host = config.status_bind.front();
  if (host == "0.0.0.0") {
    host = "127.0.0.1";
  } else if (host == "::") {
    host = "::1";
  }
  return {std::move(host), config.local_port(), config.status_token.reveal()};
}

NodeStatus find_status(const Config& config, std::string version) {
  NodeStatus status;
  status.settings = settings_of(config);
  status.settings.version = std::move(version);
  auto store = PgStore::read_status(config.database_url);
  if (store) {
    status.store = std::move(*store);
  } else {
    status.store_error = store.error().text();
  }
  auto target = local_target(config);
  // Whoever has not said where it listens may know its database alone.
  const auto told = status.store ? status.store->node_local_port : std::uint16_t{0};
  const bool guessed =
      config.source(ConfigKey::kStatusPort) == "default" && config.source(ConfigKey::kPort) == "default";
  if (told != 0 && guessed) {
    target.port = told;
    status.settings.local_port = told;
  }
  if (target.port == 0) {
    return status;
  }
  const auto reply = ask_local(target, "/api/sync/process", "", kPatience);
  if (!reply) {
    if (status.runs()) {
      status.local_trouble = fmt::format(
          "the running node does not answer on local port {}: it has another SYNC_STATUS_PORT or could not have this "
          "one (its log says)",
          target.port);
    }
    return status;
  }
  if (reply->status == 401) {
    status.local_trouble = fmt::format("the node on local port {} asks for another SYNC_STATUS_TOKEN", target.port);
    return status;
  }
  auto facts = process_facts(nlohmann::json::parse(reply->body, nullptr, false));
  if (!facts) {
    status.local_trouble = fmt::format("what answers on local port {} is no mbsync", target.port);
  } else if (status.store && facts->node.id.valid() && facts->node.id != status.store->self.id) {
    status.local_trouble = fmt::format("local port {} is that of another node, {} ({}): set SYNC_STATUS_PORT",
                                       target.port, facts->node.name, to_string(facts->node.id));
  } else {
    status.process = std::move(*facts);
  }
  return status;
}

}  // namespace mbsync
