// Client and server together over the loopback.
#include <fmt/format.h>

#include <catch2/catch.hpp>
#include <fstream>
#include <iostream>

#include "fakes.h"
#include "free_port.h"
#include "process_tag.h"
#include "psk_tls.h"
#include "pull_stream.h"
#include "tls_stream.h"
#include "wait_until.h"

using namespace mbsync;
using namespace mbsync::test;
using std::chrono::milliseconds;
using std::chrono::steady_clock;

namespace {

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr bool kMemoryMeansSomething = false;
#else
constexpr bool kMemoryMeansSomething = true;
#endif

/// Memory in use, bytes.
std::size_t resident_bytes() {
  std::ifstream file("/proc/self/statm");
  std::size_t total = 0;
  std::size_t resident = 0;
  file >> total >> resident;
  return resident * 4096;
}

/// Rows of 64 KiB that hardly compress, from a generator that the receiver runs as well.
class Noise {
 public:
  std::string_view next() {
    for (std::size_t at = 0; at + kPerStep <= line_.size(); at += kPerStep) {
      state_ ^= state_ << 13U;
      state_ ^= state_ >> 7U;
      state_ ^= state_ << 17U;
      for (std::size_t i = 0; i < kPerStep; ++i) {
        line_[at + i] = kLetters[(state_ >> (6U * i)) % kLetters.size()];
      }
    }
    line_.back() = '\n';
    return line_;
  }

 private:
  static constexpr std::size_t kPerStep = 8;
  static constexpr std::string_view kLetters = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ-_";
  std::uint64_t state_ = 88172645463325252U;
  std::string line_ = std::string(64 * 1024, '\0');
};

std::function<Result<void>(PullSink&)> noisy_answer(int rows) {
  return [rows](PullSink& sink) -> Result<void> {
    MBSYNC_TRY(sink.header(some_header()));
    MBSYNC_TRY(sink.table(some_table()));
    Noise noise;
    for (int i = 0; i < rows; ++i) {
      MBSYNC_TRY(sink.rows(noise.next()));
    }
    MBSYNC_TRY(sink.table_end(rows));
    return sink.footer({1, rows});
  };
}

/// Holds the key and answers one request with bytes of its own, as long as anybody takes them.
class RawServer {
 public:
  RawServer(std::string head, std::string without_end)
      : head_(std::move(head)), without_end_(std::move(without_end)), thread_([this] { run(); }) {}
  ~RawServer() { thread_.join(); }
  RawServer(const RawServer&) = delete;
  RawServer& operator=(const RawServer&) = delete;
  [[nodiscard]] PeerAddress address() const { return {"127.0.0.1", local_port(listener_)}; }
  [[nodiscard]] std::size_t taken() const { return taken_; }

 private:
  void run() {
    constexpr short kReadable = 0x001;  // POLLIN
    REQUIRE(wait_for(listener_.fd(), kReadable, in(milliseconds{10'000}), never) == Waited::kReady);
    const Accepted accepted = accept_from(listener_);
    const auto connection = accept_tls(*context_, accepted.socket, in(milliseconds{5'000}), never);
    REQUIRE(connection);
    TlsStream stream(**connection, accepted.socket.fd(), {milliseconds{5'000}, milliseconds{5'000}}, never);
    std::string request(1 << 16, '\0');
    REQUIRE(stream.read(request.data(), request.size()) > 0);
    const auto write = [&](std::string_view text) {
      while (!text.empty()) {
        const ssize_t sent = stream.write(text.data(), text.size());
        if (sent <= 0) {
          return false;
        }
        taken_ += static_cast<std::size_t>(sent);
        text.remove_prefix(static_cast<std::size_t>(sent));
      }
      return true;
    };
    bool open = write(head_);
    while (open && taken_ < kBytesMax) {
      open = write(without_end_);
    }
  }

  static constexpr std::size_t kBytesMax = std::size_t{32} << 20;
  const SslContext context_ = make_server_context(our_keys());
  const Socket listener_ = listen_on("127.0.0.1", 0).value();
  const std::string head_;
  const std::string without_end_;
  std::atomic<std::size_t> taken_ = 0;
  std::thread thread_;
};

/// Compares with the same noise, keeps nothing, and watches the memory.
class NoiseSink : public RecordingSink {
 public:
  Result<void> table(const TableHeader& /*table*/) override { return {}; }
  Result<void> rows(std::string_view copy_text) override {
    bytes += copy_text.size();
    while (!copy_text.empty()) {
      if (expected_.empty()) {
        expected_ = noise_.next();
      }
      const std::size_t taken = std::min(expected_.size(), copy_text.size());
      same = same && expected_.substr(0, taken) == copy_text.substr(0, taken);
      expected_.remove_prefix(taken);
      copy_text.remove_prefix(taken);
    }
    peak = std::max(peak, resident_bytes());
    return {};
  }

  std::size_t bytes = 0;
  std::size_t peak = 0;
  bool same = true;

 private:
  Noise noise_;
  std::string_view expected_;
};

}  // namespace

TEST_CASE("http: a pull crosses the network whole") {
  FakeService service;
  PullRequest heard;
  service.on_accept = [&](const PullRequest& request) -> Result<void> {
    heard = request;
    return {};
  };
  RunningServer server(service);
  PeerClient client({server.address()}, our_key());
  RecordingSink sink;
  const auto result = client.pull(some_request(), sink);
  INFO((result ? "" : result.error().text()));
  REQUIRE(result);
  CHECK(heard == some_request());
  CHECK(service.last_address() == "127.0.0.1");
  CHECK(sink.headers == std::vector<PullHeader>{some_header()});
  CHECK(sink.tables == std::vector<TableHeader>{some_table(), some_table("lines")});
  CHECK(sink.footers == std::vector<PullFooter>{{2, 2}});
  CHECK(server.warnings().empty());
}

TEST_CASE("http: what a large fleet's node says again in short is heard in full, also by a server that knows nothing") {
  std::vector<PullRequest> heard;
  FakeService service;
  service.on_accept = [&](const PullRequest& request) -> Result<void> {
    heard.push_back(request);
    return {};
  };
  auto request = some_request();
  for (int i = 0; i < 1000; ++i) {
    request.seen.advance({NodeId{1000 + i}, 5});
  }
  std::vector<PullRequest> said;
  const auto pull_from = [&](PeerClient& client) {
    RecordingSink sink;
    const auto result = client.pull(request, sink);
    INFO((result ? "" : result.error().text()));
    REQUIRE(result);
    CHECK(sink.headers == std::vector<PullHeader>{some_header()});
    said.push_back(request);
    request.seen.advance({NodeId{1500}, 10 + static_cast<std::int64_t>(said.size())});
  };
  RunningServer server(service);
  PeerClient client({server.address()}, our_key());
  pull_from(client);
  pull_from(client);
  RunningServer another(service);
  client.set_addresses({another.address()});
  (*server).stop();
  pull_from(client);
  pull_from(client);
  PeerClient newcomer({another.address()}, our_key());
  pull_from(newcomer);
  CHECK(heard == said);
}

TEST_CASE("http: two pulls share one connection and one handshake") {
  FakeService service;
  RunningServer server(service);
  Proxy proxy(server.address().port);
  PeerClient client({{"127.0.0.1", proxy.port()}}, our_key());
  for (int i = 0; i < 2; ++i) {
    RecordingSink sink;
    REQUIRE(client.pull(some_request(), sink));
  }
  CHECK(service.answers == 2);
  CHECK(proxy.connections() == 1);
}

TEST_CASE("http: of a peer's addresses the first that answers with the key is used, and another when it fails") {
  FakeService service;
  FakeService strange;
  RunningServer stranger(strange, "127.0.0.1", 0, other_key());
  auto first = std::make_unique<RunningServer>(service);
  RunningServer second(service);
  const PeerAddress nobody{"127.0.0.1", free_port()};
  PeerClient client({nobody, stranger.address(), first->address(), second.address()}, our_key());
  CHECK_FALSE(client.reached());
  RecordingSink sink;
  REQUIRE(client.pull(some_request(), sink));
  CHECK(client.reached() == first->address());
  const auto gone = first->address();
  first.reset();
  REQUIRE(client.pull(some_request(), sink));
  CHECK(client.reached() == second.address());
  CHECK(strange.answers == 0);

  // A connection that works stays, whatever addresses there are by now.
  client.set_addresses({nobody, stranger.address()});
  REQUIRE(client.pull(some_request(), sink));

  // Each is named, and what a person can do something about decides.
  PeerClient other({nobody, stranger.address(), gone}, our_key());
  const auto refused = other.pull(some_request(), sink);
  REQUIRE_FALSE(refused);
  CHECK(refused.error().kind == ErrorKind::kRejected);
  for (const auto& address : {nobody, stranger.address(), gone}) {
    CHECK_THAT(refused.error().message, Catch::Contains(to_string(address) + ": "));
  }
  PeerClient lost({}, our_key());
  CHECK_THAT(lost.pull(some_request(), sink).error().text(),
             Catch::Contains("no address of it is known") && Catch::Contains("--peer"));
}

TEST_CASE("http: a connection that was closed while idle is made anew without fuss") {
  FakeService service;
  auto server = std::make_unique<RunningServer>(service);
  const std::uint16_t port = server->address().port;
  PeerClient client({server->address()}, our_key());
  RecordingSink sink;
  REQUIRE(client.pull(some_request(), sink));
  server.reset();
  server = std::make_unique<RunningServer>(service, "127.0.0.1", port);
  const auto again = client.pull(some_request(), sink);
  INFO((again ? "" : again.error().text()));
  CHECK(again);
  server.reset();
  CHECK(client.pull(some_request(), sink).error().kind == ErrorKind::kTransient);
}

TEST_CASE("http: 64 MB stream through both sides without being held in memory") {
  constexpr int kRows = 1024;
  FakeService service;
  RunningServer server(service);
  PeerClient client({server.address()}, our_key());
  RecordingSink warm_up;
  REQUIRE(client.pull(some_request(), warm_up));
  service.on_answer = noisy_answer(kRows);

  const std::size_t before = resident_bytes();
  const auto begun = steady_clock::now();
  NoiseSink sink;
  const auto result = client.pull(some_request(), sink);
  const std::chrono::duration<double> took = steady_clock::now() - begun;
  INFO((result ? "" : result.error().text()));
  REQUIRE(result);
  CHECK(sink.same);
  CHECK(sink.bytes == std::size_t{kRows} * 64 * 1024);
  const std::size_t grown = sink.peak - std::min(before, sink.peak);
  if (kMemoryMeansSomething) {
    CHECK(grown < 40'000'000);
  }
  std::cout << "64 MB in " << took.count() << " s, memory grew by " << grown / 1'000'000 << " MB\n";
}

TEST_CASE("http: a refusal before the answer arrives with its words") {
  FakeService service;
  RunningServer server(service);
  PeerClient client({server.address()}, our_key());
  const std::vector<std::pair<ErrorKind, ErrorKind>> kinds = {{ErrorKind::kRejected, ErrorKind::kRejected},
                                                              {ErrorKind::kConflict, ErrorKind::kRejected},
                                                              {ErrorKind::kConfig, ErrorKind::kRejected},
                                                              {ErrorKind::kTransient, ErrorKind::kTransient}};
  for (const auto& [said, heard] : kinds) {
    service.on_accept = [kind = said](const PullRequest&) -> Result<void> {
      return Error{kind, "schema of 'orders' differs", "migrate 'asker'"};
    };
    RecordingSink sink;
    const auto result = client.pull(some_request(), sink);
    REQUIRE_FALSE(result);
    CHECK(result.error().kind == heard);
    CHECK(result.error().message ==
          "peer '" + to_string(server.address()) + "': the peer says: schema of 'orders' differs");
    CHECK(result.error().hint == "migrate 'asker'");
  }
  CHECK(service.answers == 0);
}

TEST_CASE("http: a refusal in place of the answer arrives with its words") {
  FakeService service;
  service.on_answer = [](PullSink& sink) -> Result<void> {
    MBSYNC_TRY(sink.header(some_header()));
    return Error{ErrorKind::kRejected, "no", "yes"};
  };
  RunningServer server(service);
  PeerClient client({server.address()}, our_key());
  RecordingSink sink;
  const auto result = client.pull(some_request(), sink);
  REQUIRE_FALSE(result);
  CHECK(result.error().kind == ErrorKind::kRejected);
  CHECK_THAT(result.error().message, Catch::EndsWith("the peer says: no"));
  CHECK(sink.headers.empty());
  service.on_answer = nullptr;
  CHECK(client.pull(some_request(), sink));
}

TEST_CASE("http: the sink's own error comes back unchanged, and the client can go on") {
  FakeService service;
  RunningServer server(service);
  PeerClient client({server.address()}, our_key());
  for (const char* call : {"header", "table", "rows", "table_end", "footer"}) {
    RecordingSink sink;
    sink.fail_at = call;
    const auto result = client.pull(some_request(), sink);
    REQUIRE_FALSE(result);
    CHECK(result.error().kind == ErrorKind::kConflict);
    CHECK(result.error().message == "the sink is full");
  }
  RecordingSink sink;
  CHECK(client.pull(some_request(), sink));
}

TEST_CASE("http: an answer that breaks off is transient and has no footer") {
  FakeService service;
  service.on_answer = noisy_answer(128);
  RunningServer server(service);
  for (const std::int64_t bytes : {100, 500, 10'000, 5'000'000}) {
    Proxy proxy(server.address().port);
    proxy.cut_after(bytes);
    PeerClient client({{"127.0.0.1", proxy.port()}}, our_key());
    NoiseSink sink;
    const auto result = client.pull(some_request(), sink);
    REQUIRE_FALSE(result);
    INFO(result.error().text());
    CHECK(result.error().kind == ErrorKind::kTransient);
    CHECK(sink.footers.empty());
  }
}

TEST_CASE("http: a long poll with pings outlasts the client's patience with silence") {
  FakeService service;
  RunningServer server(service);
  PeerClient client({server.address()}, our_key(), {milliseconds{1'000}, milliseconds{1'000}, milliseconds{2'900}});
  RecordingSink sink;
  const auto begun = steady_clock::now();
  const auto result = client.pull(some_request(milliseconds{3'500}), sink);
  INFO((result ? "" : result.error().text()));
  CHECK(result);
  CHECK(steady_clock::now() - begun >= milliseconds{3'500});
}

TEST_CASE("http: a peer that falls silent is given up") {
  FakeService service;
  RunningServer server(service);
  PeerClient client({server.address()}, our_key(), {milliseconds{1'000}, milliseconds{1'000}, milliseconds{300}});
  RecordingSink sink;
  const auto result = client.pull(some_request(milliseconds{20'000}), sink);
  REQUIRE_FALSE(result);
  CHECK(result.error().kind == ErrorKind::kTransient);
  CHECK_THAT(result.error().message, Catch::Contains("fallen silent"));
}

TEST_CASE("http: what a service throws while an asker waits is told, and the server lives on") {
  FakeService service;
  RunningServer server(service);
  PeerClient client({server.address()}, our_key());
  service.on_wait = [] { throw std::runtime_error("out of threads"); };
  RecordingSink sink;
  const auto result = client.pull(some_request(milliseconds{5'000}), sink);
  REQUIRE_FALSE(result);
  CHECK(result.error().kind == ErrorKind::kTransient);
  CHECK_THAT(result.error().message, Catch::Contains("out of threads"));
  service.on_wait = nullptr;
  CHECK(client.pull(some_request(), sink));
}

TEST_CASE("http: a node recognises itself, and nobody else") {
  FakeService service;
  const std::string tag = make_process_tag();
  REQUIRE(tag.size() == 32);
  REQUIRE(make_process_tag() != tag);
  RunningServer server(service, "127.0.0.1", 0, our_key(), tag);
  RecordingSink sink;
  PeerClient itself({server.address()}, our_key(), {}, {tag, 0});
  const auto refused = itself.pull(some_request(), sink);
  REQUIRE_FALSE(refused);
  CHECK(refused.error().kind == ErrorKind::kRejected);
  CHECK(itself.leads_to_itself());
  CHECK(service.calls() == 0);

  PeerClient other({server.address()}, our_key(), {}, {make_process_tag(), 0});
  CHECK(other.pull(some_request(), sink));
  CHECK_FALSE(other.leads_to_itself());
  PeerClient nameless({server.address()}, our_key());
  CHECK(nameless.pull(some_request(), sink));
  CHECK_FALSE(nameless.leads_to_itself());
}

TEST_CASE("http: who asks may say where it listens itself") {
  FakeService service;
  RunningServer server(service);
  RecordingSink sink;
  REQUIRE(PeerClient({server.address()}, our_key(), {}, {"", 8765}).pull(some_request(), sink));
  CHECK(service.last_port() == 8765);
  REQUIRE(PeerClient({server.address()}, our_key()).pull(some_request(), sink));
  CHECK(service.last_port() == 0);
}

TEST_CASE("http: lines without end in an answer are not collected") {
  const std::string chunked =
      "HTTP/1.1 200 OK\r\nContent-Type: application/vnd.mbsync.pull\r\nTransfer-Encoding: chunked\r\n\r\n";
  const std::string ping = encoded_ping();
  const std::string first_chunk = fmt::format("{:x}\r\n{}", ping.size(), ping);
  for (const auto& [what, head] :
       std::vector<std::pair<std::string, std::string>>{{"the status line", "HTTP/1.1 200 "},
                                                        {"a header", "HTTP/1.1 200 OK\r\nX: "},
                                                        {"the size of the first chunk", chunked},
                                                        {"the size of a later chunk", chunked + first_chunk + "\r\n"},
                                                        {"the end of a chunk", chunked + first_chunk},
                                                        {"a trailer", chunked + first_chunk + "\r\n0\r\nX: "}}) {
    INFO(what);
    RawServer server(head, std::string(4096, '1'));
    PeerClient client({server.address()}, our_key());
    RecordingSink sink;
    const auto result = client.pull(some_request(), sink);
    REQUIRE_FALSE(result);
    CHECK(result.error().kind == ErrorKind::kCorrupt);
    CHECK_THAT(result.error().message, Catch::Contains("than is allowed"));
  }
}

TEST_CASE("http: a request that is too large is not sent") {
  FakeService service;
  RunningServer server(service);
  PeerClient client({server.address()}, our_key());
  PullRequest request = some_request();
  for (std::int64_t i = 1; i <= 9'000; ++i) {
    request.members.push_back({NodeId{i}, std::string(200, 'x')});
  }
  RecordingSink sink;
  CHECK(client.pull(request, sink).error().kind == ErrorKind::kRejected);
  CHECK(service.calls() == 0);
}

TEST_CASE("http: several peers at once, more than there are threads, all get their answer") {
  FakeService service;
  RunningServer server(service);
  std::atomic<int> good = 0;
  std::vector<std::thread> peers;
  constexpr int kPeers = 40;
  for (int i = 0; i < kPeers; ++i) {
    peers.emplace_back([&, i] {
      PeerClient client({server.address()}, our_key());
      // Only so many handshakes of one address are let in at a time; a peer simply tries again.
      const bool done = wait_until(milliseconds{20'000}, [&] {
        RecordingSink sink;
        return client.pull(some_request({}, 100 + i), sink).has_value();
      });
      good += done ? 1 : 0;
    });
  }
  for (auto& peer : peers) {
    peer.join();
  }
  CHECK(good == kPeers);
}

TEST_CASE("http: more long polls than there are threads take turns") {
  FakeService service;
  RunningServer server(service);
  std::atomic<int> good = 0;
  std::vector<std::thread> peers;
  const int count = static_cast<int>(tuning::kServerThreadsMax) + 6;
  const auto begun = steady_clock::now();
  for (int i = 0; i < count; ++i) {
    peers.emplace_back([&, i] {
      PeerClient client({server.address()}, our_key());
      const bool done = wait_until(milliseconds{20'000}, [&] {
        RecordingSink sink;
        return client.pull(some_request(milliseconds{30'000}, 100 + i), sink).has_value();
      });
      good += done ? 1 : 0;
    });
  }
  // Nothing is new, yet the first are answered, so that the last are let in. Then all the others get their news.
  CHECK(wait_until(milliseconds{15'000}, [&] { return service.accepts >= count; }));
  service.announce();
  for (auto& peer : peers) {
    peer.join();
  }
  CHECK(good == count);
  CHECK(steady_clock::now() - begun < milliseconds{20'000});
}

TEST_CASE("http: one node that asks over and over leaves room for others") {
  FakeService service;
  RunningServer server(service);
  const auto greedy = some_request(milliseconds{30'000});
  std::vector<std::unique_ptr<PeerClient>> clients;
  std::vector<std::thread> threads;
  for (std::size_t i = 0; i < tuning::kSenderLimits.exchanges; ++i) {
    clients.push_back(std::make_unique<PeerClient>(std::vector<PeerAddress>{server.address()}, our_key()));
    threads.emplace_back([&greedy, client = clients.back().get()] {
      RecordingSink sink;
      static_cast<void>(client->pull(greedy, sink));
    });
  }
  REQUIRE(wait_until(milliseconds{10'000},
                     [&] { return service.accepts == static_cast<int>(tuning::kSenderLimits.exchanges); }));
  PeerClient one_more({server.address()}, our_key());
  RecordingSink sink;
  const auto refused = one_more.pull(greedy, sink);
  REQUIRE_FALSE(refused);
  CHECK(refused.error().kind == ErrorKind::kTransient);
  CHECK_THAT(refused.error().text(),
             Catch::Contains("too many requests of this node at a time") && Catch::Contains("two have one identity"));
  CHECK(one_more.pull(some_request({}, 0x2b), sink));  // another one
  service.announce();
  for (auto& thread : threads) {
    thread.join();
  }
  CHECK(one_more.pull(greedy, sink));  // those have ended

  // Nor without waiting, faster than there can be news; a machine may be too slow to ask so fast.
  const auto limit = tuning::kSenderLimits.requests;
  const auto quick = some_request({}, 0x3c);
  const auto begun = steady_clock::now();
  int asked = 0;
  bool turned_down = false;
  double patience_s = 0;
  while (!turned_down && patience_s < 10) {
    const auto pulled = one_more.pull(quick, sink);
    ++asked;
    patience_s = std::chrono::duration<double>(steady_clock::now() - begun).count();
    turned_down = !pulled;
    if (!pulled) {
      CHECK(pulled.error().kind == ErrorKind::kTransient);
      CHECK_THAT(pulled.error().message, Catch::EndsWith("too many requests of this node"));
    }
  }
  INFO(asked << " asked in " << patience_s << " s");
  CHECK((turned_down || asked < limit.burst + limit.each_second * patience_s));
}

TEST_CASE("http: idle connections make room when others are waiting") {
  FakeService service;
  RunningServer server(service);
  std::vector<std::unique_ptr<PeerClient>> peers;
  for (std::size_t i = 0; i < tuning::kServerThreadsMax + 3; ++i) {
    peers.push_back(std::make_unique<PeerClient>(std::vector<PeerAddress>{server.address()}, our_key()));
    RecordingSink sink;
    const auto result = peers.back()->pull(some_request(), sink);
    INFO("peer " << i << ": " << (result ? "" : result.error().text()));
    REQUIRE(result);
  }
}

TEST_CASE("http: IPv6") {
  FakeService service;
  const auto available = listen_on("::1", 0);
  if (!available) {
    WARN("no IPv6 here: " << available.error().text());
    return;
  }
  RunningServer six(service, "::1");
  PeerClient client({{"::1", six.address().port}}, our_key());
  RecordingSink sink;
  CHECK(client.pull(some_request(), sink));
  CHECK(service.last_address() == "::1");

  RunningServer both(service, "::");
  PeerClient four({{"127.0.0.1", both.address().port}}, our_key());
  CHECK(four.pull(some_request(), sink));
  CHECK(service.last_address() == "127.0.0.1");
  PeerClient over_six({{"::1", both.address().port}}, our_key());
  CHECK(over_six.pull(some_request(), sink));
  PeerClient by_name({{"localhost", both.address().port}}, our_key());
  CHECK(by_name.pull(some_request(), sink));
}
