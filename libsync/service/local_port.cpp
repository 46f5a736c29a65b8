#include "local_port.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <atomic>
#include <iterator>
#include <nlohmann/json.hpp>
#include <thread>
#include <utility>

#include "dashboard.h"
#include "local_api.h"
#include "local_client.h"
#include "local_http_server.h"
#include "log.h"
#include "status_keeper.h"
#include "tuning.h"

namespace mbsync {
namespace {

constexpr LogDomain kDomain{"local"};
constexpr std::chrono::milliseconds kLookAtOther{1'000};

LocalHttpOptions options_of(const Config& config) {
  LocalHttpOptions options;
  options.addresses = config.status_bind;
  options.port = config.local_port();
  options.hosts = config.status_hosts;
  options.token = config.status_token.reveal();
  options.on_warning = [](std::string_view line) {
    log_warning(kDomain, "of the local port what={}", log_value(line));
  };
  return options;
}

std::vector<LocalRoute> all_routes(LocalApi& api) {
  auto routes = api.routes();
  auto page = dashboard_routes();
  routes.insert(routes.end(), std::make_move_iterator(page.begin()), std::make_move_iterator(page.end()));
  return routes;
}

auto ask_for_process(std::uint16_t port) {
  return ask_local({"127.0.0.1", port, ""}, "/api/sync/process", "", kLookAtOther);
}

template <typename Reply>
std::optional<ProcessFacts> facts_of(const Reply& reply) {
  return reply ? process_facts(nlohmann::json::parse(reply->body, nullptr, false)) : std::nullopt;
}

}  // namespace

std::string node_at_local_port(std::uint16_t port) {
  const auto reply = ask_for_process(port);
  if (reply && reply->status == 401) {
    return "a node that asks for its token";
  }
  const auto facts = facts_of(reply);
  return facts ? fmt::format("node {} ({})", facts->node.name,
                             facts->node.id.valid() ? to_string(facts->node.id) : "starting")
               : "";
}

bool is_at_local_port(NodeId node, const Config& config) {
  const auto facts = facts_of(ask_for_process(config.local_port()));
  return facts && facts->node.id == node && facts->port == config.port;
}

struct LocalPort::Impl {
  Impl(const Config& config, std::string version, NodeActivity& node_activity, NodeControl& control, VerifyBoard& board)
      : port(config.local_port()),
        addresses(fmt::format("{}", fmt::join(config.status_bind, ","))),
        activity(node_activity),
        keeper(config, std::move(version), node_activity, [this] { often(); }),
        api({[this](std::chrono::steady_clock::time_point since) { return keeper.now(kStatusPatience, since); },
             node_activity, control, config.database_url, board}),
        server(options_of(config), all_routes(api), [&node_activity](std::string_view route, int status) {
          node_activity.metrics().served(route, status);
        }) {
    if (port == 0) {
      log_info(kDomain, "no local port: SYNC_STATUS_PORT is 0");
    }
    ready = true;
    if (port != 0) {
      open();
    }
  }

  // By the keeper's thread, which is there before the server.
  void often() {
    activity.look_after();
    if (ready && port != 0 && !server.running() && std::chrono::steady_clock::now() - tried.load() >= kLocalPortAgain) {
      open();
    }
  }

  void open() {
    const std::lock_guard lock(opening);
    if (server.running()) {
      return;
    }
    tried = std::chrono::steady_clock::now();
    const auto started = server.start();
    if (started) {
      keeper.local_trouble("");
      log_info(kDomain, "local port open address={} port={}", addresses, server.port());
      return;
    }
    const auto other = node_at_local_port(port);
    const auto trouble =
        fmt::format("the local port {} cannot be had: {}{}; set SYNC_STATUS_PORT to a free port", port,
                    started.error().message, other.empty() ? "" : fmt::format("; {} answers there", other));
    keeper.local_trouble(trouble);
    if (told != trouble) {
      told = trouble;
      log_warning(kDomain, "the node goes on without it, and tries again reason={}", log_value(trouble));
    }
  }

  const std::uint16_t port;
  const std::string addresses;
  NodeActivity& activity;
  std::atomic<bool> ready = false;
  std::mutex opening;  // guards the two below
  std::atomic<std::chrono::steady_clock::time_point> tried{};
  std::string told;
  StatusKeeper keeper;
  LocalApi api;
  LocalHttpServer server;
};

LocalPort::LocalPort(const Config& config, std::string version, NodeActivity& activity, NodeControl& control,
                     VerifyBoard& board)
    : impl_(std::make_unique<Impl>(config, std::move(version), activity, control, board)) {}

void LocalPort::adopt(const Config& config) {
  impl_->keeper.adopt(config);
}

LocalPort::~LocalPort() {
  impl_->ready = false;
  // Whoever waits in the database for an answer is set free; the server then has no thread left that waits.
  std::jthread interrupter([this](const std::stop_token& done) {
    while (!done.stop_requested()) {
      impl_->api.interrupt();
      std::this_thread::sleep_for(kInterruptEvery);
    }
  });
  impl_->keeper.stop();
  impl_->server.stop();
}

}  // namespace mbsync
