// A fleet that changes from one key to another: who can talk to whom meanwhile, and with what.
#include <catch2/catch.hpp>

#include "fakes.h"

using namespace mbsync;
using namespace mbsync::test;

namespace {

/// What a machine has in its configuration: the steps of README.md, in their order.
struct Stage {
  const char* name;
  FleetKeys keys;
};

const std::vector<Stage>& stages() {
  static const std::vector<Stage> kStages = {{"old", our_key()},
                                             {"old, next is new", {our_key(), other_key()}},
                                             {"new, next is old", {other_key(), our_key()}},
                                             {"new", other_key()}};
  return kStages;
}

}  // namespace

TEST_CASE("rotation: all stages talk to each other in both directions, but for the first and the last") {
  FakeService service;
  for (const Stage& answering : stages()) {
    RunningServer server(service, "127.0.0.1", 0, answering.keys);
    for (const Stage& asking : stages()) {
      INFO("answers: " << answering.name << "; asks: " << asking.name);
      PeerClient client({server.address()}, asking.keys);
      RecordingSink sink;
      const auto pulled = client.pull(some_request(), sink);
      const bool apart = !answering.keys.next && !asking.keys.next && &answering != &asking;
      REQUIRE(pulled.has_value() == !apart);
      CHECK(client.refused_in_handshake() == apart);
      if (apart) {
        CHECK(pulled.error().kind == ErrorKind::kRejected);
        CHECK_THAT(pulled.error().hint, Catch::Contains("SYNC_REGISTRATION_KEY differs"));
        continue;
      }
      // Both mean the same key, whatever each calls it.
      CHECK(asking.keys.of(client.key()).identity() == answering.keys.of(service.last_key()).identity());
    }
  }
}

TEST_CASE("rotation: the key that a peer has taken is the first to be tried there") {
  FakeService service;
  auto server = std::make_unique<RunningServer>(service, "127.0.0.1", 0, other_key());
  const std::uint16_t port = server->address().port;
  Proxy proxy(port);
  PeerClient client({{"127.0.0.1", proxy.port()}}, FleetKeys(our_key(), other_key()));
  RecordingSink sink;
  REQUIRE(client.pull(some_request(), sink));
  CHECK(client.key() == KeyUse::kNext);
  CHECK(proxy.connections() == 2);  // one refused

  const auto restart = [&](const FleetKeys& keys) {
    server.reset();
    server = std::make_unique<RunningServer>(service, "127.0.0.1", port, keys);
  };
  restart(FleetKeys(other_key(), our_key()));
  REQUIRE(client.pull(some_request(), sink));
  CHECK(client.key() == KeyUse::kNext);
  CHECK(proxy.connections() == 3);

  // It has gone back, and that is found out as well.
  restart(our_key());
  REQUIRE(client.pull(some_request(), sink));
  CHECK(client.key() == KeyUse::kCurrent);
  CHECK(proxy.connections() == 5);
}

TEST_CASE("rotation: a peer that takes neither key is asked twice and no more") {
  static const FleetKey kThird = FleetKey::derive("b7e2f90c4d1a8365").value();
  FakeService service;
  RunningServer server(service, "127.0.0.1", 0, kThird);
  Proxy proxy(server.address().port);
  PeerClient client({{"127.0.0.1", proxy.port()}}, FleetKeys(our_key(), other_key()));
  RecordingSink sink;
  const auto refused = client.pull(some_request(), sink);
  REQUIRE_FALSE(refused);
  CHECK(refused.error().kind == ErrorKind::kRejected);
  CHECK(client.refused_in_handshake());
  CHECK(proxy.connections() == 2);
  CHECK(service.calls() == 0);
}
