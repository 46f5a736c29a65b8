#include "fleet_tags.h"

#include "fakes.h"

using namespace mbsync;
using namespace mbsync::test;

namespace {

constexpr const char* kLow = "0123456789abcdef";
constexpr const char* kMiddle = "7000000000000000";
constexpr const char* kHigh = "fedcba9876543210";

/// A pull that is to go through, by whoever has these tags, to a server that has those.
struct Exchange {
  FleetTags asker;
  FleetTags answerer;
  FakeService service;

  Result<void> run(const FleetKeys& asks_with, const FleetKeys& answers_with) {
    HttpServerOptions options;
    options.bind_address = "127.0.0.1";
    options.port = 0;
    options.spool_directory = std::filesystem::temp_directory_path();
    options.fleet_tags = &answerer;
    HttpServer server(options, answers_with, service);
    REQUIRE(server.start());
    PeerClient client({{"127.0.0.1", server.port()}}, asks_with, PeerPatience{}, OwnProcess{"", 0, &asker});
    RecordingSink sink;
    return client.pull(some_request(), sink);
  }
};

}  // namespace

TEST_CASE("fleet tags: made by chance, and of one form") {
  CHECK(is_fleet_tag(make_fleet_tag()));
  CHECK(make_fleet_tag() != make_fleet_tag());
  for (const char* wrong : {"", "0123456789abcde", "0123456789abcdef0", "0123456789ABCDEF", "0123456789abcde\n"}) {
    CHECK_FALSE(is_fleet_tag(wrong));
  }
}

TEST_CASE("fleet tags: of two the smaller one stands, whoever says it first") {
  FleetTags tags(kMiddle, kHigh);
  const auto before = tags.version();
  tags.heard(KeyUse::kCurrent, kHigh);
  CHECK(tags.of(KeyUse::kCurrent) == kMiddle);
  CHECK(tags.version() == before);
  tags.heard(KeyUse::kCurrent, kLow);
  CHECK(tags.of(KeyUse::kCurrent) == kLow);
  CHECK(tags.version() != before);
  CHECK(tags.of(KeyUse::kNext) == kHigh);  // of another key nothing was said
  CHECK(tags.has(kLow));
  CHECK(tags.has(kHigh));
  CHECK_FALSE(tags.has(kMiddle));
  CHECK_FALSE(tags.has(""));

  tags.heard(KeyUse::kCurrent, "0");
  tags.heard(KeyUse::kCurrent, "../../etc/passwd");
  CHECK(tags.of(KeyUse::kCurrent) == kLow);
  FleetTags none("nonsense");
  CHECK(none.of(KeyUse::kCurrent).empty());
  none.heard(KeyUse::kCurrent, kHigh);
  CHECK(none.of(KeyUse::kCurrent) == kHigh);
}

TEST_CASE("fleet tags: who asks and who answers come to have one, in one exchange, either way") {
  SECTION("the answerer's is smaller") {
    Exchange exchange{FleetTags(kHigh), FleetTags(kLow), {}};
    REQUIRE(exchange.run(our_key(), our_key()));
    CHECK(exchange.asker.of(KeyUse::kCurrent) == kLow);
    CHECK(exchange.answerer.of(KeyUse::kCurrent) == kLow);
  }
  SECTION("the asker's is") {
    Exchange exchange{FleetTags(kLow), FleetTags(kHigh), {}};
    REQUIRE(exchange.run(our_key(), our_key()));
    CHECK(exchange.asker.of(KeyUse::kCurrent) == kLow);
    CHECK(exchange.answerer.of(KeyUse::kCurrent) == kLow);
  }
  SECTION("one has none") {
    Exchange exchange{FleetTags(), FleetTags(kHigh), {}};
    REQUIRE(exchange.run(our_key(), our_key()));
    CHECK(exchange.asker.of(KeyUse::kCurrent) == kHigh);
  }
}

TEST_CASE("fleet tags: each belongs to the key of the connection") {
  Exchange exchange{FleetTags(kHigh), FleetTags(kLow, kMiddle), {}};
  SECTION("the asker's current key is the answerer's next one") {
    REQUIRE(exchange.run(other_key(), FleetKeys(our_key(), other_key())));
    CHECK(exchange.asker.of(KeyUse::kCurrent) == kMiddle);
    CHECK(exchange.answerer.of(KeyUse::kCurrent) == kLow);
    CHECK(exchange.answerer.of(KeyUse::kNext) == kMiddle);
  }
  SECTION("with another key nothing is said or heard") {
    CHECK_FALSE(exchange.run(other_key(), our_key()));
    CHECK(exchange.asker.of(KeyUse::kCurrent) == kHigh);
  }
}

TEST_CASE("fleet tags: who is reached with the next key hears and is told the next one's") {
  Exchange exchange{FleetTags(kLow, kMiddle), FleetTags(kHigh), {}};
  REQUIRE(exchange.run(FleetKeys(our_key(), other_key()), other_key()));
  CHECK(exchange.answerer.of(KeyUse::kCurrent) == kMiddle);
  CHECK(exchange.asker.of(KeyUse::kCurrent) == kLow);
  CHECK(exchange.asker.of(KeyUse::kNext) == kMiddle);
}

TEST_CASE("fleet tags: of the next key a smaller one is heard as well") {
  Exchange exchange{FleetTags(kHigh, kMiddle), FleetTags(kLow), {}};
  REQUIRE(exchange.run(FleetKeys(our_key(), other_key()), other_key()));
  CHECK(exchange.asker.of(KeyUse::kCurrent) == kHigh);
  CHECK(exchange.asker.of(KeyUse::kNext) == kLow);
}

TEST_CASE("fleet tags: nothing is heard from one who is not answered, nor from an answer that is not taken") {
  Exchange exchange{FleetTags(kHigh), FleetTags(kMiddle), {}};
  SECTION("the request is refused") {
    exchange.asker.heard(KeyUse::kCurrent, kLow);
    exchange.service.on_accept = [](const PullRequest&) -> Result<void> {
      return Error{ErrorKind::kRejected, "not on the list", ""};
    };
    CHECK_FALSE(exchange.run(our_key(), our_key()));
    CHECK(exchange.answerer.of(KeyUse::kCurrent) == kMiddle);
  }
  SECTION("the answer breaks off") {
    exchange.service.on_answer = [](PullSink& sink) -> Result<void> {
      MBSYNC_TRY(sink.header(some_header()));
      return Error{ErrorKind::kTransient, "the database is away", ""};
    };
    CHECK_FALSE(exchange.run(our_key(), our_key()));
    CHECK(exchange.asker.of(KeyUse::kCurrent) == kHigh);
  }
}
