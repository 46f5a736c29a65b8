// Starting and stopping, on both sides, at the worst moments.
#include <catch2/catch.hpp>

#include "fakes.h"
#include "wait_until.h"

using namespace mbsync;
using namespace mbsync::test;
using std::chrono::milliseconds;
using std::chrono::steady_clock;

namespace {

/// How long `action` takes.
milliseconds duration_of(const std::function<void()>& action) {
  const auto begun = steady_clock::now();
  action();
  return std::chrono::duration_cast<milliseconds>(steady_clock::now() - begun);
}

}  // namespace

TEST_CASE("lifecycle: 200 times started and stopped, some with a pull in between") {
  FakeService service;
  HttpServer same({"127.0.0.1", 0, std::filesystem::temp_directory_path(), nullptr}, our_key(), service);
  for (int i = 0; i < 100; ++i) {
    REQUIRE(same.start());
    REQUIRE(same.port() != 0);
    same.stop();
  }
  for (int i = 0; i < 100; ++i) {
    HttpServer server({"127.0.0.1", 0, std::filesystem::temp_directory_path(), nullptr}, our_key(), service);
    REQUIRE(server.start());
    if (i % 10 == 0) {
      PeerClient client({{"127.0.0.1", server.port()}}, our_key());
      RecordingSink sink;
      REQUIRE(client.pull(some_request(), sink));
    }
  }
  same.stop();  // harmless when repeated
  HttpServer never_started({"127.0.0.1", 0, {}, nullptr}, our_key(), service);
  never_started.stop();
}

TEST_CASE("lifecycle: a port that is taken is a matter of configuration, and named") {
  FakeService service;
  RunningServer first(service);
  HttpServer second({"127.0.0.1", first.address().port, {}, nullptr}, our_key(), service);
  const auto started = second.start();
  REQUIRE_FALSE(started);
  CHECK(started.error().kind == ErrorKind::kConfig);
  CHECK_THAT(started.error().message, Catch::Contains(std::to_string(first.address().port)));
  CHECK_THAT(started.error().hint, Catch::Contains("SYNC_PORT"));
  HttpServer nowhere({"203.0.113.77", 0, {}, nullptr}, our_key(), service);
  const auto not_ours = nowhere.start();
  REQUIRE_FALSE(not_ours);
  CHECK(not_ours.error().kind == ErrorKind::kConfig);
  CHECK_THAT(not_ours.error().hint, Catch::Contains("not an address of this machine") && Catch::Contains("SYNC_BIND"));
}

TEST_CASE("lifecycle: a port for which the rights are missing is a matter of configuration, and says which would do") {
  const auto low = listen_on("127.0.0.1", 79);
  if (low) {
    return;  // as root, or where the system lets everybody have such ports
  }
  CHECK(low.error().kind == ErrorKind::kConfig);
  CHECK_THAT(low.error().hint, Catch::Contains("1024") || Catch::Contains("another program has this port"));
}

TEST_CASE("lifecycle: the server stops promptly with long polls and idle connections open") {
  FakeService service;
  RunningServer server(service);
  PeerClient idle({server.address()}, our_key());
  RecordingSink sink;
  REQUIRE(idle.pull(some_request(), sink));
  std::vector<std::thread> polls;
  std::mutex mutex;
  std::vector<std::string> heard;
  for (int i = 0; i < 4; ++i) {
    polls.emplace_back([&] {
      PeerClient client({server.address()}, our_key());
      RecordingSink nothing;
      const auto result = client.pull(some_request(milliseconds{60'000}), nothing);
      const std::lock_guard lock(mutex);
      heard.push_back(result ? "ok" : std::string(to_string(result.error().kind)) + " " + result.error().message);
    });
  }
  REQUIRE(wait_until(milliseconds{5'000}, [&] { return service.accepts == 5; }));
  CHECK(duration_of([&] { (*server).stop(); }) < milliseconds{2'500});
  for (auto& poll : polls) {
    poll.join();
  }
  for (const std::string& outcome : heard) {
    CHECK_THAT(outcome, Catch::StartsWith("transient") && Catch::EndsWith("the peer says: this node is stopping"));
  }
  CHECK(service.answers == 1);
}

TEST_CASE("lifecycle: the server stops while an answer is being sent to somebody who does not read") {
  FakeService service;
  service.on_answer = [](PullSink& sink) -> Result<void> {
    MBSYNC_TRY(sink.header(some_header()));
    MBSYNC_TRY(sink.table(some_table()));
    std::uint64_t state = 1;
    std::string noise(1 << 20, '\0');
    for (int i = 0; i < 32; ++i) {
      for (char& c : noise) {
        state = state * 6364136223846793005U + 1442695040888963407U;
        c = static_cast<char>('0' + (state >> 59U));
      }
      noise.back() = '\n';
      MBSYNC_TRY(sink.rows(noise));
    }
    MBSYNC_TRY(sink.table_end(32));
    return sink.footer({1, 32});
  };
  RunningServer server(service);
  class StuckSink : public RecordingSink {
   public:
    Result<void> rows(std::string_view /*copy_text*/) override {
      reached = true;
      while (!release) {
        std::this_thread::yield();
      }
      return {};
    }
    std::atomic<bool> reached = false;
    std::atomic<bool> release = false;
  };
  StuckSink sink;
  std::thread asker([&] {
    PeerClient client({server.address()}, our_key());
    CHECK(client.pull(some_request(), sink).error().kind == ErrorKind::kTransient);
  });
  REQUIRE(wait_until(milliseconds{20'000}, [&] { return sink.reached.load(); }));
  CHECK(duration_of([&] { (*server).stop(); }) < milliseconds{2'500});
  sink.release = true;
  asker.join();
}

TEST_CASE("lifecycle: stop() ends a pull at once, wherever it is") {
  FakeService service;
  RunningServer server(service);
  const Socket silent = listen_on("127.0.0.1", 0).value();
  const PeerAddress nobody{"127.0.0.1", local_port(silent)};

  const auto stop_during = [&](const PeerAddress& address, const std::function<bool()>& reached) {
    PeerClient client({address}, our_key());
    Result<void> result;
    std::thread pull([&] {
      RecordingSink sink;
      result = client.pull(some_request(milliseconds{60'000}), sink);
    });
    CHECK(wait_until(milliseconds{5'000}, reached));
    CHECK(duration_of([&] {
            client.stop();
            pull.join();
          }) < milliseconds{1'000});
    REQUIRE_FALSE(result);
    CHECK(result.error().kind == ErrorKind::kCancelled);
    RecordingSink sink;
    CHECK(client.pull(some_request(), sink).error().kind == ErrorKind::kCancelled);
  };
  stop_during(server.address(), [&] { return service.waits > 0; });
  stop_during(nobody,
              [] { return true; });  // before, in or after connecting; in any case in the handshake at the latest
  CHECK(service.answers == 0);
}

TEST_CASE("lifecycle: the server notices that an asker has gone, long before the wait is over") {
  FakeService service;
  std::atomic<bool> answered = false;
  service.on_answer = [&](PullSink&) -> Result<void> {
    answered = true;
    return Error{};
  };
  RunningServer server(service);
  {
    PeerClient client({server.address()}, our_key());
    std::thread pull([&] {
      RecordingSink sink;
      CHECK_FALSE(client.pull(some_request(milliseconds{60'000}), sink));
    });
    CHECK(wait_until(milliseconds{5'000}, [&] { return service.waits > 0; }));
    client.stop();
    pull.join();
  }
  int last = service.waits;
  CHECK(wait_until(
      milliseconds{5'000},
      [&] {
        const int now = service.waits;
        return std::exchange(last, now) == now;
      },
      2 * tuning::kWaitSlice));
  CHECK_FALSE(answered);
}
