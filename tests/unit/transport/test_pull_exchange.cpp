#include <catch2/catch.hpp>
#include <stdexcept>

#include "fakes.h"
#include "pull_exchange.h"
#include "pull_stream.h"
#include "wait_until.h"

using namespace mbsync;
using namespace mbsync::test;
using std::chrono::milliseconds;
using std::chrono::steady_clock;

namespace {

/// Collects what an exchange sends.
struct FakeWire {
  std::mutex mutex;
  std::string bytes;
  std::atomic<bool> open = true;

  PullExchange::Wire wire() {
    return {[this](std::string_view more) {
              const std::lock_guard lock(mutex);
              bytes.append(more);
              return open.load();
            },
            [this] { return open.load(); }};
  }
  std::string outcome(RecordingSink& sink) {
    PullDecoder decoder(sink, 1 << 30, some_request());
    auto result = decoder.feed(bytes);
    if (result) {
      result = decoder.finish();
    }
    return result ? "ok" : result.error().message;
  }
  std::string outcome() {
    RecordingSink sink;
    return outcome(sink);
  }
};

PullExchange make(FakeService& service, milliseconds wait = {}, StopCheck stopped = never,
                  const std::filesystem::path& directory = std::filesystem::temp_directory_path(),
                  StopCheck crowded = never) {
  return PullExchange(service, some_request(wait), directory, std::move(stopped), std::move(crowded));
}

}  // namespace

TEST_CASE("exchange: no wait, no news: the answer comes at once all the same") {
  FakeService service;
  FakeWire wire;
  CHECK(make(service).run(wire.wire()));
  CHECK(wire.outcome() == "ok");
  CHECK(service.answers == 1);
}

TEST_CASE("exchange: news end the wait") {
  FakeService service;
  FakeWire wire;
  const auto begun = steady_clock::now();
  std::thread news([&] {
    REQUIRE(wait_until(milliseconds{5'000}, [&] { return service.waits > 0; }));
    service.announce();
  });
  CHECK(make(service, milliseconds{30'000}).run(wire.wire()));
  news.join();
  CHECK(steady_clock::now() - begun < milliseconds{5'000});
  CHECK(wire.outcome() == "ok");
}

TEST_CASE("exchange: when the wait is over, the answer comes without news") {
  FakeService service;
  FakeWire wire;
  const auto begun = steady_clock::now();
  CHECK(make(service, milliseconds{300}).run(wire.wire()));
  CHECK(steady_clock::now() - begun >= milliseconds{300});
  CHECK(service.answers == 1);
}

TEST_CASE("exchange: when others wait for its thread, a long poll is answered soon") {
  FakeService service;
  FakeWire wire;
  const auto begun = steady_clock::now();
  CHECK(make(service, milliseconds{30'000}, never, std::filesystem::temp_directory_path(), [] {
          return true;
        }).run(wire.wire()));
  CHECK(steady_clock::now() - begun < milliseconds{5'000});
  CHECK(wire.outcome() == "ok");
}

TEST_CASE("exchange: pings go out during the wait and while the answer is made") {
  FakeService service;
  FakeWire wire;
  const auto has_pings = [&](std::size_t count) {
    const std::lock_guard lock(wire.mutex);
    return wire.bytes.size() >= count * encoded_ping().size();
  };
  service.on_answer = [&](PullSink& sink) -> Result<void> {
    const bool pinged = wait_until(milliseconds{10'000}, [&] { return has_pings(2); });
    return pinged ? small_answer(sink) : Result<void>(Error{ErrorKind::kInternal, "no ping came", ""});
  };
  std::thread news([&] {
    CHECK(wait_until(milliseconds{10'000}, [&] { return has_pings(1); }));
    service.announce();
  });
  CHECK(make(service, milliseconds{30'000}).run(wire.wire()));
  news.join();
  CHECK(wire.outcome() == "ok");
  CHECK(wire.bytes.find(encoded_ping() + encoded_ping()) == 0);
}

TEST_CASE("exchange: an answer that fails becomes a refusal, and nothing of it is sent") {
  FakeService service;
  service.on_answer = [](PullSink& sink) -> Result<void> {
    MBSYNC_TRY(small_answer(sink));
    return Error{ErrorKind::kTransient, "serialization failure", "again"};
  };
  FakeWire wire;
  RecordingSink sink;
  CHECK(make(service).run(wire.wire()));
  CHECK(wire.outcome(sink) == "the peer says: serialization failure");
  CHECK(sink.headers.empty());
}

TEST_CASE("exchange: what a service throws, or forgets, becomes a refusal") {
  FakeService service;
  service.on_answer = [](PullSink&) -> Result<void> { throw std::runtime_error("out of luck"); };
  FakeWire thrown;
  CHECK(make(service).run(thrown.wire()));
  CHECK(thrown.outcome() == "the peer says: the answer failed: out of luck");
  service.on_answer = [](PullSink& sink) { return sink.header(some_header()); };
  FakeWire forgotten;
  CHECK(make(service).run(forgotten.wire()));
  CHECK(forgotten.outcome() == "the peer says: the answer has no footer");
}

TEST_CASE("exchange: what is thrown before the answer begins becomes a refusal that asks to try again") {
  FakeService service;
  service.on_wait = [] { throw std::runtime_error("out of threads"); };
  FakeWire wire;
  RecordingSink sink;
  CHECK(make(service, milliseconds{30'000}).run(wire.wire()));
  PullDecoder decoder(sink, 1 << 30, some_request());
  const auto heard = decoder.feed(wire.bytes);
  REQUIRE_FALSE(heard);
  CHECK(heard.error().kind == ErrorKind::kTransient);
  CHECK(heard.error().message == "the peer says: this node failed before it could answer: out of threads");
  CHECK_FALSE(heard.error().hint.empty());
  CHECK(service.answers == 0);
}

TEST_CASE("exchange: what is thrown in the middle of the answer ends it") {
  FakeService service;
  FakeWire wire;
  int pieces = 0;
  PullExchange::Wire broken = wire.wire();
  broken.send = [&](std::string_view) -> bool {
    ++pieces;
    throw std::runtime_error("broken");
  };
  CHECK_FALSE(make(service).run(broken));
  CHECK(pieces == 1);
}

TEST_CASE("exchange: a spool that cannot be written becomes a refusal") {
  FakeService service;
  service.on_answer = [](PullSink& sink) -> Result<void> {
    MBSYNC_TRY(sink.header(some_header()));
    MBSYNC_TRY(sink.table(some_table()));
    std::uint64_t state = 1;
    for (int i = 0; i < 200; ++i) {
      std::string noise;
      while (noise.size() < 65'536) {
        state = state * 6364136223846793005U + 1442695040888963407U;
        noise.push_back(static_cast<char>(' ' + (state >> 58U)));
      }
      MBSYNC_TRY(sink.rows(noise));
    }
    return sink.rows("\n");
  };
  FakeWire wire;
  CHECK(make(service, {}, never, "/nonexistent").run(wire.wire()));
  CHECK_THAT(wire.outcome(), Catch::Contains("cannot make a temporary file in '/nonexistent'"));
}

TEST_CASE("exchange: an asker that hangs up ends the wait") {
  FakeService service;
  FakeWire wire;
  wire.open = false;
  CHECK_FALSE(make(service, milliseconds{30'000}).run(wire.wire()));
  CHECK(service.answers == 0);
}

TEST_CASE("exchange: an asker that hangs up ends the making of its answer") {
  FakeService service;
  FakeWire wire;
  service.on_answer = [&](PullSink& sink) -> Result<void> {
    MBSYNC_TRY(sink.header(some_header()));
    MBSYNC_TRY(sink.table(some_table()));
    wire.open = false;
    Result<void> last;
    CHECK(wait_until(milliseconds{5'000}, [&] {
      last = sink.rows("x\n");
      return !last;
    }));
    return last;
  };
  CHECK_FALSE(make(service).run(wire.wire()));
}

TEST_CASE("exchange: stopping ends wait and answer with a word of goodbye") {
  FakeService service;
  std::atomic<bool> stopping = false;
  FakeWire waiting;
  std::thread stop([&] {
    CHECK(wait_until(milliseconds{5'000}, [&] { return service.waits > 0; }));
    stopping = true;
  });
  CHECK(make(service, milliseconds{30'000}, [&] { return stopping.load(); }).run(waiting.wire()));
  stop.join();
  CHECK(waiting.outcome() == "the peer says: this node is stopping");
  CHECK(service.answers == 0);

  stopping = false;
  service.on_answer = [&](PullSink& sink) -> Result<void> {
    MBSYNC_TRY(sink.header(some_header()));
    stopping = true;
    return sink.footer({0, 0});
  };
  FakeWire making;
  CHECK(make(service, {}, [&] { return stopping.load(); }).run(making.wire()));
  CHECK(making.outcome() == "the peer says: this node is stopping");
}
