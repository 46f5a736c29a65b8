// The node's local port: plain HTTP for programs of this machine, for a browser on it, and for what collects figures.
// Bounded in every way: connections, threads, bytes and time of a request, streams without an end. What is answered is
// given by routes; who may ask is decided here (local_guard.h).
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "local_http.h"
#include "result.h"

namespace mbsync {

struct LocalHttpOptions {
  /// Listened on, all with one port. Of several, "::1" may be missing on a machine without IPv6.
  std::vector<std::string> addresses{"127.0.0.1", "::1"};
  std::uint16_t port = 0;            ///< 0: any free one
  std::vector<std::string> hosts{};  ///< names that it may be asked by, beside the loopback's and `addresses`
  std::string token{};               ///< empty: none is needed
  /// One line for the log, at most one a minute of each kind. Never holds a secret.
  std::function<void(std::string_view line)> on_warning{};
};

/// What it has answered so far, by the status code; for figures.
using LocalHttpCounter = std::function<void(std::string_view route, int status)>;

class LocalHttpServer {
 public:
  LocalHttpServer(LocalHttpOptions options, std::vector<LocalRoute> routes, LocalHttpCounter counter = {});
  ~LocalHttpServer();  ///< stops
  LocalHttpServer(const LocalHttpServer&) = delete;
  LocalHttpServer& operator=(const LocalHttpServer&) = delete;

  /// `config` if an address or the port cannot be had; may be tried again.
  Result<void> start();
  [[nodiscard]] std::uint16_t port() const;  ///< the real one, after start()
  [[nodiscard]] bool running() const;
  /// Ends streams, lets answers that are being made finish, and returns when no thread is left.
  void stop();

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace mbsync
