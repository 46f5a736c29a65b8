#include "http_server.h"

#include <fmt/format.h>
#include <poll.h>

#include <atomic>
#include <cerrno>
#include <condition_variable>
#include <deque>
#include <map>
#include <mutex>
#include <optional>
#include <system_error>
#include <thread>
#include <vector>

#include "address_limiter.h"
#include "http_front.h"
#include "psk_tls.h"
#include "tls_stream.h"
#include "transport_tuning.h"
#include "warning_limiter.h"

namespace mbsync {
namespace {

using std::chrono::steady_clock;

struct Connection {
  Socket socket;
  std::string address;
  std::shared_ptr<void> counted;  ///< while it lives, the connection counts among its address's
};

}  // namespace

struct HttpServer::Impl {
  Impl(HttpServerOptions given, FleetKeys fleet_keys, PullService& pull_service)
      : options(std::move(given)),
        keys(std::move(fleet_keys)),
        tls(make_server_context(keys)),
        front({options.spool_directory, options.process_tag, stop_check(), [this] { return crowded(); },
               [this](const std::string& address) { return addresses.request(address, steady_clock::now()); },
               tuning::kSenderLimits, options.fleet_tags, options.digests},
              pull_service) {}

  Result<void> start();
  void stop();
  void accept_loop(int listener_fd);
  bool admits(Connection& connection);
  void take(Connection connection);
  std::optional<Connection> next();
  void worker_loop();
  void serve(const Connection& connection);
  void serve_whatever_happens(const Connection& connection) noexcept;
  Result<SslConnection> shake_hands(const Connection& connection);
  bool wait_for_request(TlsStream& stream);
  void warn(std::string_view address, std::string_view what);

  [[nodiscard]] StopCheck stop_check() {
    return [this] { return stopping.load(); };
  }
  [[nodiscard]] bool crowded() {
    const std::lock_guard lock(mutex);
    return waiting() > 0;
  }
  /// Under the mutex.
  [[nodiscard]] std::size_t waiting() const { return queue.size() + strangers.size(); }

  const HttpServerOptions options;
  const FleetKeys keys;
  SslContext tls;
  HttpFront front;
  WarningLimiter warnings{tuning::kWarningInterval, tuning::kWarningAddressesMax};
  WarningLimiter turned_away{tuning::kTurnedAwayWarningInterval, tuning::kWarningAddressesMax};
  AddressLimiter addresses{tuning::kAddressLimits};

  std::mutex lifecycle;  ///< one start() or stop() at a time; guards listener, acceptor, workers
  Socket listener;
  std::thread acceptor;
  std::atomic<std::uint16_t> port = 0;
  std::atomic<bool> stopping = false;

  std::mutex mutex;  ///< guards what follows
  std::condition_variable changed;
  std::deque<Connection> queue;      ///< from where somebody with the key has come lately; served first
  std::deque<Connection> strangers;  ///< all others
  std::size_t idle_workers = 0;
  std::map<std::string, std::size_t> served;      ///< connections that have a thread, by limit_group()
  std::map<std::string, std::size_t> handshakes;  ///< under way, by limit_group()
  std::vector<std::thread> workers;               ///< grows in accept_loop() only, joined in stop() after it has ended
};

Result<void> HttpServer::Impl::start() {
  const std::lock_guard one(lifecycle);
  MBSYNC_CHECK(!listener, "start() of an HTTP server that runs");
  auto opened = listen_on(options.bind_address, options.port);
  if (!opened) {
    return opened.error();
  }
  listener = std::move(*opened);
  port = local_port(listener);
  stopping = false;
  front.set_open(true);
  try {
    acceptor = std::thread([this, fd = listener.fd()] { accept_loop(fd); });
  } catch (const std::system_error& error) {
    listener.close();
    return Error{ErrorKind::kConfig, fmt::format("no thread can be started to accept connections: {}", error.what()),
                 "raise the limit on processes and threads of this user"};
  }
  return {};
}

void HttpServer::Impl::stop() {
  const std::lock_guard one(lifecycle);
  if (!listener) {
    return;
  }
  {
    const std::lock_guard lock(mutex);
    stopping = true;
  }
  changed.notify_all();
  wake_acceptor(listener);
  acceptor.join();
  for (std::thread& worker : workers) {
    worker.join();
  }
  // No thread is left that could use what follows.
  workers.clear();
  served.clear();
  queue.clear();
  strangers.clear();
  front.set_open(false);
  listener.close();
}

void HttpServer::Impl::accept_loop(int listener_fd) {
  while (!stopping) {
    const auto soon = steady_clock::now() + tuning::kKeepAliveTimeout;
    if (wait_for(listener_fd, POLLIN, soon, stop_check()) != Waited::kReady) {
      continue;
    }
    std::string trouble;
    try {
      Accepted accepted = accept_from(listener);
      if (accepted.socket) {
        std::string address = remote_address(accepted.socket.fd());
        Connection connection{std::move(accepted.socket), std::move(address), nullptr};
        if (admits(connection)) {
          take(std::move(connection));
        }
      } else if (accepted.error == EMFILE || accepted.error == ENFILE || accepted.error == ENOBUFS ||
                 accepted.error == ENOMEM) {
        trouble = std::generic_category().message(accepted.error);
      }
      // Every other error belongs to a connection that is gone already.
    } catch (const std::exception& thrown) {
      trouble = thrown.what();
    }
    if (!trouble.empty()) {
      warn("anybody", fmt::format("cannot be accepted: {}", trouble));
      std::unique_lock lock(mutex);
      changed.wait_for(lock, tuning::kAcceptPause, stop_check());
    }
  }
}

/// One that is not admitted has cost an accept() and a close().
bool HttpServer::Impl::admits(Connection& connection) {
  const auto turn_away = [&](std::string_view why) {
    if (const auto line = turned_away.admit(connection.address, why, steady_clock::now()); line && options.on_warning) {
      options.on_warning(*line);
    }
    return false;
  };
  switch (addresses.connected(connection.address, steady_clock::now())) {
    case AddressLimiter::Verdict::kTooManyFailures:
      return turn_away(
          "closed at once, as all others from there for a while, since too many handshakes with it have failed: it is "
          "a "
          "machine with another SYNC_REGISTRATION_KEY, or no mbsync");
    case AddressLimiter::Verdict::kTooManyConnections:
      return turn_away(
          fmt::format("closed at once, since {} others from there are open", tuning::kAddressLimits.connections));
    case AddressLimiter::Verdict::kAdmitted:
      break;
  }
  connection.counted = std::shared_ptr<void>(
      nullptr, [this, address = connection.address](void*) { addresses.closed(address, steady_clock::now()); });
  return true;
}

void HttpServer::Impl::take(Connection connection) {
  const std::string address = connection.address;
  auto& line = addresses.knows(address, steady_clock::now()) ? queue : strangers;
  std::string trouble;
  {
    const std::lock_guard lock(mutex);
    // Each has room of its own, so that strangers do not keep out those who have been here.
    if (line.size() >= tuning::kConnectionsQueuedMax) {
      trouble = fmt::format("closed at once, since {} others are waiting", line.size());
    } else {
      line.push_back(std::move(connection));
      if (waiting() > idle_workers && workers.size() < tuning::kServerThreadsMax) {
        try {
          workers.emplace_back([this] { worker_loop(); });
        } catch (const std::system_error& error) {
          trouble = fmt::format("has to wait for a thread: {}", error.what());
        }
      }
    }
  }
  changed.notify_one();
  if (!trouble.empty()) {
    warn(address, trouble);
  }
}

/// The first that may have a thread, which counts as served from now on. Under the mutex.
std::optional<Connection> HttpServer::Impl::next() {
  for (auto* line : {&queue, &strangers}) {
    for (auto place = line->begin(); place != line->end(); ++place) {
      std::size_t& count = served[limit_group(place->address)];
      if (count < tuning::kThreadsPerAddressMax) {
        ++count;
        Connection connection = std::move(*place);
        line->erase(place);
        return connection;
      }
    }
  }
  return std::nullopt;
}

void HttpServer::Impl::worker_loop() {
  for (;;) {
    std::optional<Connection> connection;
    {
      std::unique_lock lock(mutex);
      ++idle_workers;
      changed.wait(lock, [&] { return stopping || (connection = next()).has_value(); });
      --idle_workers;
      if (stopping) {
        return;
      }
    }
    serve_whatever_happens(*connection);
    const std::lock_guard lock(mutex);
    if (const auto entry = served.find(limit_group(connection->address)); --entry->second == 0) {
      served.erase(entry);
    }
    changed.notify_one();  // one that waited because of this one, perhaps
  }
}

/// An exception that left the thread would end the node. This one connection is lost, and its peer tries again.
void HttpServer::Impl::serve_whatever_happens(const Connection& connection) noexcept {
  try {
    try {
      serve(connection);
    } catch (const std::exception& thrown) {
      warn(connection.address, fmt::format("closed, since serving it failed: {}", thrown.what()));
    }
  } catch (...) {
    // Not even a line for the log could be made: memory has run out, and others will say so.
  }
}

Result<SslConnection> HttpServer::Impl::shake_hands(const Connection& connection) {
  const std::string group = limit_group(connection.address);
  {
    const std::lock_guard lock(mutex);
    std::size_t& count = handshakes[group];
    if (count >= tuning::kHandshakesPerAddressMax) {
      return Error{ErrorKind::kTransient, fmt::format("closed, since {} handshakes with it are under way", count), ""};
    }
    ++count;
  }
  struct Counted {
    Impl& server;
    const std::string& group;
    ~Counted() {
      const std::lock_guard lock(server.mutex);
      if (const auto entry = server.handshakes.find(group); --entry->second == 0) {
        server.handshakes.erase(entry);
      }
    }
  };
  const Counted counted{*this, group};
  const auto begun = steady_clock::now();
  bool crowded_out = false;
  const auto give_up = [&] {
    crowded_out = !stopping && steady_clock::now() - begun >= tuning::kPatienceWhenCrowded && crowded();
    return stopping || crowded_out;
  };
  auto shaken = accept_tls(*tls, connection.socket, begun + tuning::kHandshakeTimeout, give_up);
  if (!shaken && crowded_out) {
    shaken = Error{ErrorKind::kTransient, "no TLS handshake in time, while others are waiting", ""};
  }
  if (shaken) {
    addresses.handshake_done(connection.address, steady_clock::now());
  } else if (shaken.error().kind != ErrorKind::kCancelled) {
    addresses.handshake_failed(connection.address, steady_clock::now());
  }
  return shaken;
}

void HttpServer::Impl::serve(const Connection& connection) {
  const auto tls_connection = shake_hands(connection);
  if (!tls_connection) {
    if (tls_connection.error().kind != ErrorKind::kCancelled) {
      warn(connection.address, tls_connection.error().message);
    }
    return;
  }
  TlsStream stream(**tls_connection, connection.socket.fd(), {tuning::kRequestSilenceMax, tuning::kWriteTimeout},
                   stop_check());
  for (std::size_t left = tuning::kRequestsPerConnectionMax; left > 0 && wait_for_request(stream); --left) {
    stream.limit_reads_until(steady_clock::now() + tuning::kRequestTimeMax);
    const bool usable = front.serve(stream, key_of(**tls_connection), left == 1 || crowded());
    // When others wait, its peer has to queue again, or it would keep this thread with one pull after the other.
    if (!usable || stream.failure() || stream.exhausted() || crowded()) {
      break;
    }
  }
  if (!stream.failure()) {
    SSL_shutdown(tls_connection->get());
  }
}

bool HttpServer::Impl::wait_for_request(TlsStream& stream) {
  const auto begun = steady_clock::now();
  for (;;) {
    const auto now = steady_clock::now();
    switch (stream.wait_readable(now + tuning::kWaitSlice)) {
      case Waited::kReady:
        return true;
      case Waited::kStopped:
        return false;
      case Waited::kTimeout:
        break;
    }
    if (now - begun >= tuning::kKeepAliveTimeout || (now - begun >= tuning::kPatienceWhenCrowded && crowded())) {
      return false;
    }
  }
}

void HttpServer::Impl::warn(std::string_view address, std::string_view what) {
  if (const auto line = warnings.admit(address, what, steady_clock::now()); line && options.on_warning) {
    options.on_warning(*line);
  }
}

HttpServer::HttpServer(HttpServerOptions options, FleetKeys keys, PullService& service)
    : impl_(std::make_unique<Impl>(std::move(options), std::move(keys), service)) {}
HttpServer::~HttpServer() {
  stop();
}
Result<void> HttpServer::start() {
  return impl_->start();
}
std::uint16_t HttpServer::port() const {
  return impl_->port;
}
void HttpServer::stop() {
  impl_->stop();
}

}  // namespace mbsync
