#include "local_http_server.h"

#include <fmt/format.h>
#include <poll.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <condition_variable>
#include <deque>
#include <map>
#include <mutex>
#include <system_error>
#include <thread>
#include <utility>

#include "local_http_front.h"
#include "plain_stream.h"
#include "transport_tuning.h"

namespace mbsync {
namespace {

using std::chrono::steady_clock;

bool is_every_address(const std::string& address) {
  return address == "0.0.0.0" || address == "::";
}

LocalGuard guard_of(const LocalHttpOptions& options) {
  LocalGuard guard;
  guard.hosts = options.hosts;
  for (const auto& address : options.addresses) {
    guard.hosts.push_back(address);
    guard.any_address = guard.any_address || is_every_address(address);
  }
  guard.token = options.token;
  return guard;
}

/// Its request is being read: the thread can be had for others if that takes long.
thread_local bool t_reading = false;
/// What it serves.
thread_local PlainStream* t_stream = nullptr;

void answer_begins(bool has_end) {
  if (has_end && t_stream != nullptr) {
    t_stream->limit_writes_until(steady_clock::now() + tuning::kLocalAnswerTimeMax);
  }
}

}  // namespace

struct LocalHttpServer::Impl {
  Impl(LocalHttpOptions given, std::vector<LocalRoute> routes, LocalHttpCounter counter)
      : options(std::move(given)),
        front({guard_of(options), [this] { return stopping.load(); }, [this] { return begin_stream(); },
               std::move(counter), [this](std::string_view why) { warn("a request was refused", why); },
               [this](std::string_view why) { warn("an answer could not be made", why); }, [] { t_reading = false; },
               answer_begins},
              std::move(routes)) {}

  Result<void> start();
  Result<std::vector<Socket>> listen();
  void stop();
  void accept_loop(const Socket& listener);
  void take(Socket connection);
  void worker_loop();
  void serve(const Socket& connection) noexcept;
  std::shared_ptr<void> begin_stream();
  void warn(std::string_view what, std::string_view why);
  [[nodiscard]] bool crowded() {
    const std::lock_guard lock(mutex);
    return !queue.empty();
  }

  const LocalHttpOptions options;
  LocalHttpFront front;
  std::mutex lifecycle;  // one start() or stop() at a time; guards listeners, acceptors
  std::vector<Socket> listeners;
  std::vector<std::thread> acceptors;
  std::atomic<std::uint16_t> port = 0;
  std::atomic<bool> running = false;
  std::atomic<bool> stopping = false;
  std::atomic<steady_clock::time_point> stopping_since{};  // valid while it stops

  std::mutex mutex;  // guards what follows
  std::condition_variable changed;
  std::deque<Socket> queue;
  std::size_t idle_workers = 0;
  std::size_t streams = 0;
  std::vector<std::thread> workers;                        // grows while acceptors run, joined after they have ended
  std::map<std::string, steady_clock::time_point> warned;  // what, when last
};

Result<std::vector<Socket>> LocalHttpServer::Impl::listen() {
  std::vector<Socket> opened;
  std::uint16_t wanted = options.port;
  for (const auto& address : options.addresses) {
    auto socket = listen_on(address, wanted);
    if (socket) {
      wanted = local_port(*socket);
      opened.push_back(std::move(*socket));
      continue;
    }
    const bool no_ipv6 = address == "::1" && !opened.empty() && !listen_on(address, 0);
    if (!no_ipv6) {
      return socket.error();
    }
  }
  if (opened.empty()) {
    return Error{ErrorKind::kConfig, "no address to listen on", "name one in SYNC_STATUS_BIND"};
  }
  port = wanted;
  return opened;
}

Result<void> LocalHttpServer::Impl::start() {
  const std::lock_guard one(lifecycle);
  MBSYNC_CHECK(listeners.empty(), "start() of a local HTTP server that runs");
  auto opened = listen();
  MBSYNC_TRY(opened);
  listeners = std::move(*opened);
  stopping = false;
  running = true;
  front.set_open(true);
  for (const Socket& listener : listeners) {
    acceptors.emplace_back([this, &listener] { accept_loop(listener); });
  }
  return {};
}

void LocalHttpServer::Impl::stop() {
  const std::lock_guard one(lifecycle);
  if (listeners.empty()) {
    return;
  }
  {
    const std::lock_guard lock(mutex);
    stopping_since = steady_clock::now();
    stopping = true;
  }
  changed.notify_all();
  for (const Socket& listener : listeners) {
    wake_acceptor(listener);
  }
  for (std::thread& acceptor : acceptors) {
    acceptor.join();
  }
  acceptors.clear();
  for (std::thread& worker : workers) {
    worker.join();
  }
  workers.clear();
  queue.clear();
  front.set_open(false);
  listeners.clear();
  running = false;
}

void LocalHttpServer::Impl::accept_loop(const Socket& listener) {
  const StopCheck stop_check = [this] { return stopping.load(); };
  while (!stopping) {
    if (wait_for(listener.fd(), POLLIN, steady_clock::now() + tuning::kKeepAliveTimeout, stop_check) !=
        Waited::kReady) {
      continue;
    }
    try {
      Accepted accepted = accept_from(listener);
      if (accepted.socket) {
        take(std::move(accepted.socket));
      } else if (accepted.error == EMFILE || accepted.error == ENFILE || accepted.error == ENOBUFS ||
                 accepted.error == ENOMEM) {
        warn("nobody can be accepted", std::generic_category().message(accepted.error));
        std::unique_lock lock(mutex);
        changed.wait_for(lock, tuning::kAcceptPause, stop_check);
      }
    } catch (const std::exception& thrown) {
      warn("a connection was closed", thrown.what());
    }
  }
}

void LocalHttpServer::Impl::take(Socket connection) {
  bool closed = false;
  {
    const std::lock_guard lock(mutex);
    closed = queue.size() >= tuning::kLocalQueuedMax;
    if (!closed) {
      queue.push_back(std::move(connection));
      if (queue.size() > idle_workers && workers.size() < tuning::kLocalThreadsMax) {
        workers.emplace_back([this] { worker_loop(); });
      }
    }
  }
  changed.notify_one();
  if (closed) {
    warn("a connection was closed at once", fmt::format("{} others are waiting", tuning::kLocalQueuedMax));
  }
}

void LocalHttpServer::Impl::worker_loop() {
  for (;;) {
    Socket connection;
    {
      std::unique_lock lock(mutex);
      ++idle_workers;
      changed.wait(lock, [&] { return stopping || !queue.empty(); });
      --idle_workers;
      if (stopping) {
        return;
      }
      connection = std::move(queue.front());
      queue.pop_front();
    }
    serve(connection);
  }
}

void LocalHttpServer::Impl::serve(const Socket& connection) noexcept {
  try {
    const auto begun = steady_clock::now();
    t_reading = true;
    // Who sends a byte now and then has this thread for a second where others wait for it, and for ten otherwise; the
    // same for who takes nothing of the answer. One that is on its way when the server stops is given a moment.
    PlainStream stream(
        connection.fd(), tuning::kLocalWriteSilenceMax,
        [&] {
          return stopping || (t_reading && steady_clock::now() - begun >= tuning::kPatienceWhenCrowded && crowded());
        },
        [&](Deadline since) {
          const auto now = steady_clock::now();
          return (stopping && now - stopping_since.load() >= tuning::kLocalStopGrace) ||
                 (now - since >= tuning::kPatienceWhenCrowded && crowded());
        });
    t_stream = &stream;
    stream.limit_reads_until(begun + tuning::kLocalRequestTimeMax);
    front.serve(stream);
    ::shutdown(connection.fd(), SHUT_WR);
    // What has not been read of a request that was refused would make the kernel take the answer back.
    char rest[1024];
    stream.limit_reads(tuning::kLocalHeadBytesMax);
    stream.limit_reads_until(steady_clock::now() + tuning::kLocalGoodbye);
    t_reading = true;
    while (!stream.exhausted() && stream.read(rest, sizeof(rest)) > 0) {
    }
  } catch (...) {
    // Memory has run out, and others will say so; this one connection is lost.
  }
  t_stream = nullptr;
}

std::shared_ptr<void> LocalHttpServer::Impl::begin_stream() {
  const std::lock_guard lock(mutex);
  if (streams >= tuning::kLocalStreamsMax) {
    return nullptr;
  }
  ++streams;
  // Not null, whatever it points to.
  return {this, [](Impl* server) {
            const std::lock_guard again(server->mutex);
            --server->streams;
          }};
}

void LocalHttpServer::Impl::warn(std::string_view what, std::string_view why) {
  if (!options.on_warning) {
    return;
  }
  {
    // Told apart by what it is, not by who asks: that is this machine itself, mostly.
    const std::lock_guard lock(mutex);
    const auto now = steady_clock::now();
    const auto [last, first] = warned.try_emplace(std::string(what), now);
    if (!first && now - last->second < tuning::kWarningInterval) {
      return;
    }
    last->second = now;
  }
  options.on_warning(fmt::format("{}: {}", what, why));
}

LocalHttpServer::LocalHttpServer(LocalHttpOptions options, std::vector<LocalRoute> routes, LocalHttpCounter counter)
    : impl_(std::make_unique<Impl>(std::move(options), std::move(routes), std::move(counter))) {}
LocalHttpServer::~LocalHttpServer() {
  stop();
}
Result<void> LocalHttpServer::start() {
  return impl_->start();
}
std::uint16_t LocalHttpServer::port() const {
  return impl_->port;
}
bool LocalHttpServer::running() const {
  return impl_->running;
}
void LocalHttpServer::stop() {
  impl_->stop();
}

}  // namespace mbsync
