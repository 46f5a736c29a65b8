#include <catch2/catch.hpp>
#include <stdexcept>

#include "fakes.h"
#include "psk_tls.h"
#include "tls_stream.h"
#include "wait_until.h"

using namespace mbsync;
using namespace mbsync::test;
using std::chrono::milliseconds;
using std::chrono::steady_clock;

namespace {

/// A name service that answers when it is told to.
struct SlowNames {
  std::mutex mutex;
  std::condition_variable changed;
  bool answering = false;
  std::atomic<int> asked = 0;
  std::atomic<int> answered = 0;

  void answer() {
    const std::lock_guard lock(mutex);
    answering = true;
    changed.notify_all();
  }
};

NameLookup lookup_with(const std::shared_ptr<SlowNames>& names) {
  return [names](const std::string& /*host*/, std::uint16_t port, int flags, std::vector<Endpoint>& out) {
    ++names->asked;
    std::unique_lock lock(names->mutex);
    names->changed.wait(lock, [&] { return names->answering; });
    ++names->answered;
    return system_lookup("127.0.0.1", port, flags, out);
  };
}

}  // namespace

TEST_CASE("resolver: a name server that does not answer holds up neither a stop nor the end") {
  const auto names = std::make_shared<SlowNames>();
  const auto begun = steady_clock::now();
  {
    Resolver resolver(lookup_with(names));
    std::atomic<bool> stopped = false;
    std::thread stopper([&] {
      CHECK(wait_until(milliseconds{5'000}, [&] { return names->asked == 1; }));
      stopped = true;
    });
    const auto found = resolver.resolve("till", 8765, in(milliseconds{60'000}), [&] { return stopped.load(); });
    stopper.join();
    REQUIRE_FALSE(found);
    CHECK(found.error().kind == ErrorKind::kCancelled);
  }
  CHECK(steady_clock::now() - begun < milliseconds{6'000});
  CHECK(names->answered == 0);
  // The thread that is left behind comes to its end by itself.
  names->answer();
  CHECK(wait_until(milliseconds{5'000}, [&] { return names->answered == 1; }));
}

TEST_CASE("resolver: an answer that comes too late for one question serves for the next") {
  const auto names = std::make_shared<SlowNames>();
  Resolver resolver(lookup_with(names));
  const auto late = resolver.resolve("till", 8765, in(milliseconds{50}), never);
  REQUIRE_FALSE(late);
  CHECK(late.error().kind == ErrorKind::kTransient);
  CHECK_THAT(late.error().message, Catch::Contains("'till'") && Catch::Contains("takes too long"));
  names->answer();
  CHECK(resolver.resolve("till", 8765, in(milliseconds{5'000}), never).value().size() == 1);
  CHECK(names->asked == 1);
}

TEST_CASE("resolver: a lookup that runs out of memory is a lookup that failed") {
  Resolver resolver(
      [](const std::string&, std::uint16_t, int, std::vector<Endpoint>&) -> int { throw std::bad_alloc(); });
  const auto found = resolver.resolve("till", 8765, in(milliseconds{5'000}), never);
  REQUIRE_FALSE(found);
  CHECK(found.error().kind == ErrorKind::kTransient);
  CHECK_THAT(found.error().message, Catch::StartsWith("cannot find 'till'"));
}

TEST_CASE("tls stream: a stop ends reading even where the other side never lets it wait") {
  const SslContext server_context = make_server_context(our_keys());
  const SslContext client_context = make_client_context(our_keys());
  const Socket listener = listen_on("127.0.0.1", 0).value();
  const Socket client = dial(local_port(listener));
  REQUIRE(wait_for(listener.fd(), 0x001, in(milliseconds{5'000}), never) == Waited::kReady);
  const Accepted accepted = accept_from(listener);
  Result<SslConnection> server = Error{};
  std::thread other([&] { server = accept_tls(*server_context, accepted.socket, in(milliseconds{5'000}), never); });
  const auto connection = connect_tls(*client_context, client, in(milliseconds{5'000}), never);
  other.join();
  REQUIRE(connection);
  REQUIRE(server);
  const TlsStream::Limits limits{milliseconds{5'000}, milliseconds{5'000}};
  TlsStream sender(**server, accepted.socket.fd(), limits, never);
  REQUIRE(sender.write("abcdef", 6) == 6);

  bool stopped = false;
  TlsStream reader(**connection, client.fd(), limits, [&] { return stopped; });
  char byte = 0;
  REQUIRE(reader.read(&byte, 1) == 1);
  stopped = true;
  CHECK(reader.read(&byte, 1) == -1);
  REQUIRE(reader.failure());
  CHECK(reader.failure()->kind == ErrorKind::kCancelled);
}
