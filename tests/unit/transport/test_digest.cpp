// Client and server compare rows over the loopback: answers, refusals, a peer that takes its time, and one of a version
// that does not know the question.
#include <catch2/catch.hpp>
#include <thread>

#include "fakes.h"
#include "protocol_limits.h"
#include "wait_until.h"

using namespace mbsync;
using namespace mbsync::test;
using std::chrono::milliseconds;

namespace {

class FakeDigests : public DigestService {
 public:
  Result<DigestAnswer> digest(const DigestRequest& request, const Caller& caller) override {
    ++asked;
    CHECK(caller.address == "127.0.0.1");
    if (on_digest) {
      return on_digest(request);
    }
    DigestAnswer answer;
    answer.sender = {NodeId{0x2b}, "answerer"};
    answer.rows = 7;
    return answer;
  }
  std::function<Result<DigestAnswer>(const DigestRequest&)> on_digest;
  std::atomic<int> asked = 0;
};

DigestRequest which_tables() {
  DigestRequest request;
  request.sender = {NodeId{0x1a}, "asker"};
  return request;
}

struct Pair {
  explicit Pair(DigestService* digests) {
    HttpServerOptions options;
    options.bind_address = "127.0.0.1";
    options.port = 0;
    options.spool_directory = "/tmp";
    options.digests = digests;
    server = std::make_unique<HttpServer>(options, our_keys(), pulls);
    REQUIRE(server->start());
    PeerPatience patience;
    patience.silence = milliseconds{3'000};
    client =
        std::make_unique<PeerClient>(std::vector<PeerAddress>{{"127.0.0.1", server->port()}}, our_keys(), patience);
  }
  FakeService pulls;
  std::unique_ptr<HttpServer> server;
  std::unique_ptr<PeerClient> client;
};

}  // namespace

TEST_CASE("digest: a question is answered, again and again over one connection, beside pulls") {
  FakeDigests digests;
  Pair pair(&digests);
  for (int i = 0; i < 3; ++i) {
    const auto answer = pair.client->digest(which_tables());
    REQUIRE(answer);
    CHECK(answer->rows == 7);
  }
  CHECK(digests.asked == 3);
  CHECK(pair.pulls.calls() == 0);
}

TEST_CASE("digest: a version without digests is named, with what to do, and pulls go on") {
  Pair pair(nullptr);
  const auto answer = pair.client->digest(which_tables());
  REQUIRE_FALSE(answer);
  CHECK(answer.error().kind == ErrorKind::kNotFound);
  CHECK(answer.error().message.find("its version of mbsync cannot compare rows") != std::string::npos);
  CHECK(answer.error().hint == "install the same version there as here");
}

TEST_CASE("digest: refusals of every kind arrive with their words, also behind signs of life") {
  FakeDigests digests;
  Pair pair(&digests);
  digests.on_digest = [](const DigestRequest&) -> Result<DigestAnswer> {
    return Error{ErrorKind::kRejected, "you are banned here", "ask somebody"};
  };
  auto answer = pair.client->digest(which_tables());
  REQUIRE_FALSE(answer);
  CHECK(answer.error().kind == ErrorKind::kRejected);
  CHECK(answer.error().message.find("you are banned here") != std::string::npos);
  CHECK(answer.error().hint == "ask somebody");
  digests.on_digest = [](const DigestRequest&) -> Result<DigestAnswer> { throw std::runtime_error("no memory"); };
  answer = pair.client->digest(which_tables());
  REQUIRE_FALSE(answer);
  CHECK(answer.error().kind == ErrorKind::kTransient);
  // Longer than the client puts up with silence.
  digests.on_digest = [](const DigestRequest&) -> Result<DigestAnswer> {
    std::this_thread::sleep_for(milliseconds{4'500});
    return Error{ErrorKind::kTransient, "locked", ""};
  };
  answer = pair.client->digest(which_tables());
  REQUIRE_FALSE(answer);
  CHECK(answer.error().message.find("locked") != std::string::npos);
}

TEST_CASE("digest: a malformed question and a question too many are refused before anything is asked") {
  FakeDigests digests;
  Pair pair(&digests);
  auto request = which_tables();
  request.kind = DigestKind::kLook;
  auto answer = pair.client->digest(request);
  REQUIRE_FALSE(answer);
  CHECK(answer.error().kind == ErrorKind::kRejected);
  CHECK(digests.asked == 0);

  std::mutex mutex;
  std::condition_variable changed;
  bool over = false;
  digests.on_digest = [&](const DigestRequest&) -> Result<DigestAnswer> {
    std::unique_lock lock(mutex);
    changed.wait(lock, [&] { return over; });
    return Error{ErrorKind::kTransient, "over", ""};
  };
  std::list<PeerClient> clients;
  std::vector<std::jthread> threads;
  for (int i = 0; i < tuning::kDigestsMax; ++i) {
    auto& client = clients.emplace_back(std::vector<PeerAddress>{{"127.0.0.1", pair.server->port()}}, our_keys());
    threads.emplace_back([&client] { (void)client.digest(which_tables()); });
  }
  const bool all_asked = wait_until(milliseconds{20'000}, [&] { return digests.asked >= tuning::kDigestsMax; });
  answer = pair.client->digest(which_tables());
  {
    const std::lock_guard lock(mutex);
    over = true;
  }
  changed.notify_all();
  threads.clear();
  REQUIRE(all_asked);
  REQUIRE_FALSE(answer);
  CHECK(answer.error().kind == ErrorKind::kTransient);
  CHECK(answer.error().message.find("too many comparisons at a time") != std::string::npos);
  CHECK(digests.asked == tuning::kDigestsMax);
}

TEST_CASE("digest: an answer beyond all limits is said, and a stop ends a wait") {
  FakeDigests digests;
  Pair pair(&digests);
  digests.on_digest = [](const DigestRequest&) -> Result<DigestAnswer> {
    DigestAnswer answer;
    answer.sender = {NodeId{0x2b}, "answerer"};
    answer.list.assign(200, {std::string(100'000, 'x'), std::string(kRowHashDigits, 'a')});
    return answer;
  };
  auto answer = pair.client->digest(which_tables());
  REQUIRE_FALSE(answer);
  CHECK(answer.error().kind == ErrorKind::kRejected);
  std::atomic<bool> over = false;
  digests.on_digest = [&](const DigestRequest&) -> Result<DigestAnswer> {
    static_cast<void>(wait_until(milliseconds{20'000}, [&] { return over.load(); }));
    return Error{ErrorKind::kTransient, "over", ""};
  };
  std::jthread stopper([&] {
    static_cast<void>(wait_until(milliseconds{20'000}, [&] { return digests.asked >= 2; }));
    pair.client->stop();
  });
  answer = pair.client->digest(which_tables());
  over = true;
  REQUIRE_FALSE(answer);
  CHECK(answer.error().kind == ErrorKind::kCancelled);
}
