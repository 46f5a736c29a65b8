// Serves /sync/v1/... to the holders of the fleet's key: HTTP/1.1 inside TLS 1.3 with a pre-shared key, no
// certificates. A stranger gets no further than the handshake. (PROTOCOL.md)
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>

#include "digest_service.h"
#include "fleet_key.h"
#include "fleet_tags.h"
#include "pull_service.h"

namespace mbsync {

struct HttpServerOptions {
  std::string bind_address = "0.0.0.0";
  std::uint16_t port = 8765;              ///< 0: any free one
  std::filesystem::path spool_directory;  ///< answers too large for memory go through an unlinked file here
  /// One line for the log; called from the server's threads, already limited so that a flood of strangers makes no
  /// flood of lines. Never holds a secret.
  std::function<void(std::string_view line)> on_warning;
  std::string process_tag{};        ///< what this process's own clients call it (process_tag.h); empty: nothing
  FleetTags* fleet_tags = nullptr;  ///< said to those who ask, and heard from them; outlives the server; none: nothing
  /// Answers who compares rows; outlives the server. None: nobody does here, as in versions before it.
  DigestService* digests = nullptr;
};

class HttpServer {
 public:
  /// Both must outlive the server.
  HttpServer(HttpServerOptions options, FleetKeys keys, PullService& service);
  ~HttpServer();  ///< stops
  HttpServer(const HttpServer&) = delete;
  HttpServer& operator=(const HttpServer&) = delete;

  /// Binds and starts serving; returns once the port is listening. `config` when the port is taken, with the port.
  Result<void> start();
  [[nodiscard]] std::uint16_t port() const;  ///< the real one, after start()
  /// Ends all exchanges and returns when no thread is left, within a second or two. Harmless when repeated, or before
  /// start().
  void stop();

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace mbsync
