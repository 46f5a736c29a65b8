// A service and a sink without a database, keys that are derived once, and a proxy that counts and cuts connections.
#pragma once

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <atomic>
#include <catch2/catch.hpp>
#include <cerrno>
#include <condition_variable>
#include <functional>
#include <list>
#include <mutex>
#include <string>
#include <system_error>
#include <thread>
#include <vector>

#include "fleet_key.h"
#include "http_client.h"
#include "http_server.h"
#include "pull_service.h"
#include "socket.h"
#include "transport_tuning.h"

namespace mbsync::test {

/// Derived once a process, since that is slow on purpose.
inline const FleetKey& our_key() {
  static const FleetKey kKey = FleetKey::derive("0f9c1e7b52d84a63").value();
  return kKey;
}
/// The same for a TLS context, which borrows it.
inline const FleetKeys& our_keys() {
  static const FleetKeys kKeys = our_key();
  return kKeys;
}
inline const FleetKey& other_key() {
  static const FleetKey kKey = FleetKey::derive("7d1b60fae3c58492").value();
  return kKey;
}

inline const FleetKeys& other_keys() {
  static const FleetKeys kKeys = other_key();
  return kKeys;
}

inline PullRequest some_request(std::chrono::milliseconds wait = {}, std::int64_t sender = 0x1a) {
  PullRequest request;
  request.sender = {NodeId{sender}, "asker"};
  request.seen = VersionVector({{NodeId{0x1a}, 17}});
  request.members = {{NodeId{0x1a}, "asker"}};
  request.wait_ms = wait.count();
  request.sent_at_us = 1'700'000'000'000'000;
  return request;
}

inline PullHeader some_header() {
  PullHeader header;
  header.sender = {NodeId{0x2b}, "answerer"};
  header.seen = VersionVector({{NodeId{0x2b}, 4}});
  header.members = some_request().members;  // whoever asks is a member
  header.sent_at_us = 1'700'000'000'000'001;
  return header;
}

inline TableHeader some_table(std::string name = "orders") {
  return {"public", std::move(name), {"id"}, {{"id", "bigint"}, {"note", "text"}}, {1, 2}};
}

/// An answer of two tables with two rows and none.
inline Result<void> small_answer(PullSink& sink) {
  MBSYNC_TRY(sink.header(some_header()));
  MBSYNC_TRY(sink.table(some_table()));
  MBSYNC_TRY(sink.rows("1\t43\t4\t-infinity\t111\tf\t\\N\t\\N\t1\ta\n2\t43\t4\t"));
  MBSYNC_TRY(sink.rows("-infinity\t111\tf\t\\N\t\\N\t2\tb\n"));
  MBSYNC_TRY(sink.table_end(2));
  MBSYNC_TRY(sink.table(some_table("lines")));
  MBSYNC_TRY(sink.table_end(0));
  return sink.footer({2, 2});
}

class FakeService : public PullService {
 public:
  Result<void> accept(const PullRequest& request, const Caller& caller) override {
    ++accepts;
    const std::lock_guard lock(mutex_);
    last_caller_ = caller;
    return on_accept ? on_accept(request) : Result<void>();
  }
  bool wait(const PullRequest& /*request*/, std::chrono::milliseconds patience) override {
    ++waits;
    if (on_wait) {
      on_wait();
    }
    std::unique_lock lock(mutex_);
    return changed_.wait_for(lock, patience, [this] { return news_; });
  }
  Result<void> answer(const PullRequest& /*request*/, PullSink& sink) override {
    ++answers;
    return on_answer ? on_answer(sink) : small_answer(sink);
  }

  void announce() {
    const std::lock_guard lock(mutex_);
    news_ = true;
    changed_.notify_all();
  }
  [[nodiscard]] int calls() const { return accepts + waits + answers; }
  [[nodiscard]] std::string last_address() {
    const std::lock_guard lock(mutex_);
    return last_caller_.address;
  }
  [[nodiscard]] int last_port() {
    const std::lock_guard lock(mutex_);
    return last_caller_.port;
  }
  [[nodiscard]] KeyUse last_key() {
    const std::lock_guard lock(mutex_);
    return last_caller_.key;
  }

  std::function<Result<void>(const PullRequest&)> on_accept;
  std::function<void()> on_wait;
  std::function<Result<void>(PullSink&)> on_answer;
  std::atomic<int> accepts = 0;
  std::atomic<int> waits = 0;
  std::atomic<int> answers = 0;

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  bool news_ = false;
  Caller last_caller_;
};

/// Writes down what it is given.
class RecordingSink : public PullSink {
 public:
  Result<void> header(const PullHeader& header) override {
    headers.push_back(header);
    return fail_at == "header" ? failure() : Result<void>();
  }
  Result<void> table(const TableHeader& table) override {
    tables.push_back(table);
    texts.emplace_back();
    return fail_at == "table" ? failure() : Result<void>();
  }
  Result<void> rows(std::string_view copy_text) override {
    texts.back().append(copy_text);
    return fail_at == "rows" ? failure() : Result<void>();
  }
  Result<void> table_end(std::int64_t rows) override {
    counts.push_back(rows);
    return fail_at == "table_end" ? failure() : Result<void>();
  }
  Result<void> footer(const PullFooter& footer) override {
    footers.push_back(footer);
    return fail_at == "footer" ? failure() : Result<void>();
  }

  std::vector<PullHeader> headers;
  std::vector<TableHeader> tables;
  std::vector<std::string> texts;
  std::vector<std::int64_t> counts;
  std::vector<PullFooter> footers;
  std::string fail_at;

 private:
  static Result<void> failure() { return Error{ErrorKind::kConflict, "the sink is full", "empty it"}; }
};

/// A server on a free port of the loopback.
class RunningServer {
 public:
  explicit RunningServer(PullService& service, const std::string& address = "127.0.0.1", std::uint16_t port = 0,
                         const FleetKeys& keys = our_key(), const std::string& process_tag = "")
      : server_(HttpServerOptions{address, port, std::filesystem::temp_directory_path(),
                                  [this](std::string_view line) {
                                    const std::lock_guard lock(mutex_);
                                    warnings_.emplace_back(line);
                                  },
                                  process_tag},
                keys, service) {
    const auto started = server_.start();
    INFO((started ? "" : started.error().text()));
    REQUIRE(started);
  }

  [[nodiscard]] HttpServer& operator*() { return server_; }
  [[nodiscard]] PeerAddress address() const { return {"127.0.0.1", server_.port()}; }
  [[nodiscard]] std::vector<std::string> warnings() {
    const std::lock_guard lock(mutex_);
    return warnings_;
  }

 private:
  std::mutex mutex_;
  std::vector<std::string> warnings_;
  HttpServer server_;
};

inline Deadline in(std::chrono::milliseconds time) {
  return std::chrono::steady_clock::now() + time;
}
inline bool never() {
  return false;
}

inline Socket dial(std::uint16_t port, const std::string& host = "127.0.0.1") {
  Resolver resolver;
  return connect_to(resolver.resolve(host, port, in(std::chrono::seconds{5}), never).value(),
                    in(std::chrono::seconds{5}), never)
      .value();
}

/// From an address of its own, such as 127.0.0.2. Blocking until it is connected, as the loopback is quick. Any thread,
/// so a failure is thrown: Catch's assertions are for the test's own thread.
inline Socket dial_from(const std::string& source, std::uint16_t port) {
  const auto must = [](bool good, const char* what) {
    if (!good) {
      throw std::system_error(errno, std::generic_category(), what);
    }
  };
  Socket socket(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in own{};
  own.sin_family = AF_INET;
  must(::inet_pton(AF_INET, source.c_str(), &own.sin_addr) == 1, "address to dial from");
  must(::bind(socket.fd(), reinterpret_cast<const sockaddr*>(&own), sizeof(own)) == 0, "bind");
  sockaddr_in there{};
  there.sin_family = AF_INET;
  there.sin_port = htons(port);
  there.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  must(::connect(socket.fd(), reinterpret_cast<const sockaddr*>(&there), sizeof(there)) == 0, "connect");
  must(::fcntl(socket.fd(), F_SETFL, O_NONBLOCK) == 0, "fcntl");
  return socket;
}

/// Stands between client and server, counts the connections, can damage or cut what the server sends.
class Proxy {
 public:
  /// `source`: the address from which it turns to the server.
  explicit Proxy(std::uint16_t to, std::string source = "127.0.0.1")
      : to_(to), source_(std::move(source)), listener_(listen_on("127.0.0.1", 0).value()) {
    thread_ = std::thread([this] { accept_loop(); });
  }
  ~Proxy() {
    stopping_ = true;
    wake_acceptor(listener_);
    thread_.join();
    for (auto& pump : pumps_) {
      pump.join();
    }
  }

  [[nodiscard]] std::uint16_t port() const { return local_port(listener_); }
  [[nodiscard]] int connections() const { return connections_; }
  /// After so many bytes from the server the connection is closed.
  void cut_after(std::int64_t bytes) { budget_ = bytes; }

 private:
  void accept_loop() {
    while (!stopping_) {
      if (wait_for(listener_.fd(), kReadable, in(std::chrono::hours{1}), [this] { return stopping_.load(); }) !=
          Waited::kReady) {
        continue;
      }
      Accepted accepted = accept_from(listener_);
      if (accepted.socket) {
        ++connections_;
        pumps_.emplace_back([this, client = std::make_shared<Socket>(std::move(accepted.socket))] { pump(*client); });
      }
    }
  }

  void pump(const Socket& client) {
    const Socket server = dial_from(source_, to_);
    std::thread up([&] { copy(client, server, nullptr); });
    copy(server, client, &budget_);
    up.join();
  }

  /// Copies until one side ends, or the budget, then ends both.
  void copy(const Socket& from, const Socket& to, std::atomic<std::int64_t>* budget) {
    char buffer[4096];
    const auto stopped = [this] { return stopping_.load(); };
    while (wait_for(from.fd(), kReadable, in(std::chrono::hours{1}), stopped) == Waited::kReady) {
      const ssize_t taken = ::recv(from.fd(), buffer, sizeof(buffer), 0);
      if (taken <= 0 || (budget != nullptr && (*budget -= taken) < 0)) {
        break;
      }
      ssize_t sent = 0;
      while (sent < taken && wait_for(to.fd(), kWritable, in(std::chrono::hours{1}), stopped) == Waited::kReady) {
        const ssize_t step = ::send(to.fd(), buffer + sent, static_cast<std::size_t>(taken - sent), MSG_NOSIGNAL);
        if (step <= 0) {
          break;
        }
        sent += step;
      }
    }
    ::shutdown(from.fd(), SHUT_RDWR);
    ::shutdown(to.fd(), SHUT_RDWR);
  }

  static constexpr short kReadable = 0x001;  // POLLIN
  static constexpr short kWritable = 0x004;  // POLLOUT

  const std::uint16_t to_;
  const std::string source_;
  Socket listener_;
  std::atomic<bool> stopping_ = false;
  std::atomic<int> connections_ = 0;
  std::atomic<std::int64_t> budget_ = std::int64_t{1} << 50;
  std::list<std::thread> pumps_;
  std::thread thread_;
};

}  // namespace mbsync::test
