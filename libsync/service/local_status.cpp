#include "local_status.h"

#include <fmt/format.h>

#include <atomic>
#include <condition_variable>
#include <mutex>
#include <nlohmann/json.hpp>
#include <thread>
#include <utility>

#include "status_reader.h"
#include "tuning.h"

namespace mbsync {
namespace {

constexpr std::chrono::milliseconds kPatience{2'000};
/// Longer than a large backlog takes to be counted; a database that hangs, or a lock on one of mbsync's tables, is not
/// waited for without end.
constexpr std::chrono::milliseconds kStorePatience{20'000};

Result<StoreStatus> read_store(const Config& config) {
  StatusReader reader(config.database_url);
  std::atomic<bool> late = false;
  std::mutex mutex;
  std::condition_variable_any changed;
  std::jthread watch([&](const std::stop_token& done) {
    std::unique_lock lock(mutex);
    auto patience = kStorePatience;
    while (!changed.wait_for(lock, done, patience, [] { return false; }) && !done.stop_requested()) {
      late = true;
      reader.interrupt();
      patience = kInterruptEvery;
    }
  });
  auto store = reader.read();
  if (!store && late) {
    return Error{ErrorKind::kTransient,
                 fmt::format("database {}: it has not answered within {} s", config.database_url.display,
                             std::chrono::duration_cast<std::chrono::seconds>(kStorePatience).count()),
                 "does it hang, or does a session hold a lock on a table of schema mbsync? pg_stat_activity says so"};
  }
  return store;
}

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
  auto store = read_store(config);
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
  // Anybody can listen there while the node does not, and is not to hear the token.
  const bool may_be_stranger = status.store && !status.store->node_runs;
  if (may_be_stranger) {
    target.token.clear();
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
    status.local_trouble =
        may_be_stranger
            ? fmt::format("what answers on local port {} is not at work on this database, so it is not asked",
                          target.port)
            : fmt::format("the node on local port {} asks for another SYNC_STATUS_TOKEN", target.port);
    return status;
  }
  auto facts = process_facts(nlohmann::json::parse(reply->body, nullptr, false));
  if (!facts) {
    status.local_trouble = fmt::format("what answers on local port {} is no mbsync", target.port);
  } else if (may_be_stranger && facts->phase == "running") {
    status.local_trouble = fmt::format(
        "what answers on local port {} says that it is at work, and is not the node of this database", target.port);
  } else if (status.store && facts->node.id.valid() && facts->node.id != status.store->self.id) {
    status.local_trouble = fmt::format("local port {} is that of another node, {} ({}): set SYNC_STATUS_PORT",
                                       target.port, facts->node.name, to_string(facts->node.id));
  } else {
    status.process = std::move(*facts);
  }
  return status;
}

}  // namespace mbsync
