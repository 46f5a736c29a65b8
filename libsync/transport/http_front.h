// HTTP as the server speaks it, without sockets and threads: reads a request from a stream, has the service answer it,
// writes the answer. One object serves many connections at a time; each call of serve() belongs to one thread.
#pragma once

#include <filesystem>
#include <functional>
#include <memory>
#include <string>

#include "address_limiter.h"
#include "digest_service.h"
#include "fleet_tags.h"
#include "key_use.h"
#include "limited_stream.h"
#include "pull_service.h"
#include "socket.h"

namespace mbsync {

class HttpFront {
 public:
  struct Options {
    std::filesystem::path spool_directory;
    std::string process_tag;
    StopCheck stopped;
    StopCheck crowded;  ///< others wait for this thread
    /// Whether the address may ask once more; nothing: it may.
    std::function<bool(const std::string& address)> may_ask;
    SenderLimiter::Limits sender_limits;
    FleetTags* fleet_tags = nullptr;   ///< none: nothing is said or heard of the fleet's tag
    DigestService* digests = nullptr;  ///< none: there is nothing at that address
  };

  /// Borrows the service.
  HttpFront(Options options, PullService& service);
  ~HttpFront();
  HttpFront(const HttpFront&) = delete;
  HttpFront& operator=(const HttpFront&) = delete;

  /// One request. `key`: with which the connection was made. `last`: none will be read after it, and the client is told
  /// so. False: the connection cannot be used any further.
  bool serve(LimitedStream& stream, KeyUse key, bool last);

  /// Before the first serve(), and at the end.
  void set_open(bool open);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace mbsync
