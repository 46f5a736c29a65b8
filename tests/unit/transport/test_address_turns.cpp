// So many answers are made at a time for one address.
#include "address_turns.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <poll.h>

#include "fakes.h"
#include "psk_tls.h"
#include "pull_exchange.h"
#include "pull_stream.h"
#include "tls_stream.h"
#include "wait_until.h"

using namespace mbsync;
using namespace mbsync::test;
using std::chrono::milliseconds;

namespace {

/// Has sent a request from `address` and waits for what comes back.
class Asker {
 public:
  Asker(std::uint16_t port, const char* address, const PullRequest& request) {
    sockaddr_in own{};
    own.sin_family = AF_INET;
    REQUIRE(inet_pton(AF_INET, address, &own.sin_addr) == 1);
    REQUIRE(::bind(socket_.fd(), reinterpret_cast<const sockaddr*>(&own), sizeof(own)) == 0);
    sockaddr_in server = own;
    server.sin_port = htons(port);
    REQUIRE(inet_pton(AF_INET, "127.0.0.1", &server.sin_addr) == 1);
    REQUIRE(::connect(socket_.fd(), reinterpret_cast<const sockaddr*>(&server), sizeof(server)) == 0);
    REQUIRE(::fcntl(socket_.fd(), F_SETFL, O_NONBLOCK) == 0);
    thread_ = std::thread([this, request] { run(request); });
  }
  ~Asker() {
    ::shutdown(socket_.fd(), SHUT_RDWR);
    thread_.join();
  }
  Asker(const Asker&) = delete;
  Asker& operator=(const Asker&) = delete;
  [[nodiscard]] bool answered() const { return answered_; }

 private:
  void run(const PullRequest& request) {
    const auto connection = connect_tls(*context_, socket_, in(milliseconds{60'000}), never);
    if (!connection) {
      return;
    }
    TlsStream stream(**connection, socket_.fd(), {milliseconds{60'000}, milliseconds{5'000}}, never);
    const std::string body = to_json(request);
    const std::string text =
        "POST /sync/v1/pull HTTP/1.1\r\nContent-Length: " + std::to_string(body.size()) + "\r\n\r\n" + body;
    char byte = 0;
    if (stream.write(text.data(), text.size()) > 0 && stream.read(&byte, 1) == 1) {
      answered_ = true;
    }
  }

  const SslContext context_ = make_client_context(our_keys());
  const Socket socket_{::socket(AF_INET, SOCK_STREAM, 0)};
  std::atomic<bool> answered_ = false;
  std::thread thread_;
};

}  // namespace

TEST_CASE("address turns: so many at a time, each address by itself") {
  AddressTurns turns(2);
  const auto enter = [&](const char* address) { return turns.enter(address, milliseconds{0}); };
  CHECK(enter("a"));
  CHECK(enter("a"));
  CHECK_FALSE(enter("a"));
  CHECK(enter("b"));
  turns.leave("a");
  CHECK(enter("a"));
  CHECK_FALSE(enter("a"));

  // Who waits is told.
  std::atomic<bool> entered = false;
  std::thread waiter([&] { entered = turns.enter("a", milliseconds{60'000}); });
  turns.leave("a");
  waiter.join();
  CHECK(entered);
}

TEST_CASE("http server: one address has few answers made at a time, and gets the others after them") {
  FakeService service;
  std::mutex mutex;
  std::condition_variable changed;
  bool released = false;
  std::atomic<std::size_t> making = 0;
  service.on_answer = [&](PullSink& sink) -> Result<void> {
    ++making;
    std::unique_lock lock(mutex);
    changed.wait(lock, [&] { return released; });
    lock.unlock();
    return small_answer(sink);
  };
  RunningServer server(service);
  std::list<Asker> askers;
  for (std::size_t i = 0; i < tuning::kAnswersPerAddressMax + 3; ++i) {
    auto request = some_request();
    request.sender.id.value += static_cast<std::int64_t>(i);  // a name for each, so that no other limit is met
    askers.emplace_back(server.address().port, "127.0.0.1", request);
    REQUIRE(wait_until(milliseconds{20'000}, [&] { return service.accepts == static_cast<int>(i) + 1; }));
  }
  REQUIRE(wait_until(milliseconds{20'000}, [&] { return making == tuning::kAnswersPerAddressMax; }));
  Asker other(server.address().port, "127.0.0.2", some_request());
  REQUIRE(wait_until(milliseconds{20'000}, [&] { return making == tuning::kAnswersPerAddressMax + 1; }));
  // Those that wait for their turn do not take all threads either.
  for (auto i = askers.size(); i < tuning::kServerThreadsMax + 3; ++i) {
    auto request = some_request();
    request.sender.id.value += static_cast<std::int64_t>(i);
    askers.emplace_back(server.address().port, "127.0.0.1", request);
  }
  REQUIRE(wait_until(milliseconds{20'000},
                     [&] { return service.accepts == static_cast<int>(tuning::kThreadsPerAddressMax) + 1; }));
  Asker another(server.address().port, "127.0.0.2", some_request(milliseconds{0}, 0x2b));
  REQUIRE(wait_until(milliseconds{20'000}, [&] { return making == tuning::kAnswersPerAddressMax + 2; }));
  {
    const std::lock_guard lock(mutex);
    released = true;
  }
  changed.notify_all();
  for (const auto& asker : askers) {
    CHECK(wait_until(milliseconds{20'000}, [&] { return asker.answered(); }));
  }
}
