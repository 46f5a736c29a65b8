// What the server says to a holder of the key who does not speak as our client does.
#include <catch2/catch.hpp>

#include "fakes.h"
#include "psk_tls.h"
#include "tls_stream.h"
#include "wait_until.h"

using namespace mbsync;
using namespace mbsync::test;
using std::chrono::milliseconds;

namespace {

/// Sends text as it is and returns all that comes back until the server closes or falls silent.
std::string say(std::uint16_t port, std::string_view text) {
  const SslContext context = make_client_context(our_keys());
  const Socket socket = dial(port);
  const auto connection = connect_tls(*context, socket, in(milliseconds{2'000}), never);
  REQUIRE(connection);
  TlsStream stream(**connection, socket.fd(), {milliseconds{400}, milliseconds{2'000}}, never);
  while (!text.empty()) {
    const ssize_t sent = stream.write(text.data(), text.size());
    if (sent <= 0) {
      break;
    }
    text.remove_prefix(static_cast<std::size_t>(sent));
  }
  std::string answer;
  char buffer[4096];
  for (ssize_t taken = stream.read(buffer, sizeof(buffer)); taken > 0; taken = stream.read(buffer, sizeof(buffer))) {
    answer.append(buffer, static_cast<std::size_t>(taken));
  }
  return answer;
}

std::string post(std::string_view path, std::string_view body) {
  return "POST " + std::string(path) + " HTTP/1.1\r\nHost: x\r\nContent-Length: " + std::to_string(body.size()) +
         "\r\n\r\n" + std::string(body);
}

std::string body_of(const std::string& answer) {
  const std::size_t at = answer.find("\r\n\r\n");
  return at == std::string::npos ? "" : answer.substr(at + 4);
}

}  // namespace

TEST_CASE("http server: what it does not know gets a refusal that a program can read") {
  FakeService service;
  RunningServer server(service);
  const std::uint16_t port = server.address().port;

  for (const std::string& request :
       {std::string("GET / HTTP/1.1\r\n\r\n"), std::string("GET /sync/v1/pull HTTP/1.1\r\n\r\n"),
        post("/sync/v1/push", "{}"), post("/sync/v1/pull/", "{}"), post("/sync/version", "{}")}) {
    const std::string answer = say(port, request);
    INFO(answer);
    CHECK_THAT(answer, Catch::StartsWith("HTTP/1.1 404"));
    CHECK(parse_refusal(body_of(answer)).value().kind == ErrorKind::kNotFound);
  }

  const std::string future = say(port, post("/sync/v2/pull", "{}"));
  CHECK_THAT(future, Catch::StartsWith("HTTP/1.1 404"));
  const auto refusal = parse_refusal(body_of(future));
  REQUIRE(refusal);
  CHECK(refusal->kind == ErrorKind::kRejected);
  CHECK(refusal->message == "this node speaks protocol version 1, not version 2");
  CHECK(service.calls() == 0);
}

TEST_CASE("http server: a malformed request is refused before the service hears of it") {
  FakeService service;
  RunningServer server(service);
  const std::uint16_t port = server.address().port;
  for (const std::string& body : {std::string("{}"), std::string("hello"), std::string()}) {
    const std::string answer = say(port, post("/sync/v1/pull", body));
    INFO(answer);
    CHECK_THAT(answer, Catch::StartsWith("HTTP/1.1 400"));
    CHECK(parse_refusal(body_of(answer)).value().kind == ErrorKind::kCorrupt);
  }
  CHECK_THAT(say(port, "nonsense\r\n\r\n"), Catch::StartsWith("HTTP/1.1 400"));
  CHECK(service.calls() == 0);
}

TEST_CASE("http server: requests and headers without end are cut off") {
  FakeService service;
  RunningServer server(service);
  const std::uint16_t port = server.address().port;

  const std::string announced =
      say(port, "POST /sync/v1/pull HTTP/1.1\r\nContent-Length: 4000000000\r\n\r\n" + std::string(2 << 20, 'x'));
  CHECK((announced.empty() || announced.find("HTTP/1.1 413") == 0));

  std::string chunks = "POST /sync/v1/pull HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n";
  for (int i = 0; i < 64; ++i) {
    chunks += "10000\r\n" + std::string(0x10000, 'x') + "\r\n";
  }
  const std::string chunked = say(port, chunks);
  CHECK((chunked.empty() || chunked.find("HTTP/1.1 400") == 0));

  std::string headers = "POST /sync/v1/pull HTTP/1.1\r\n";
  for (int i = 0; i < 200'000; ++i) {
    headers += "X-" + std::to_string(i) + ": y\r\n";
  }
  const std::string flooded = say(port, headers);
  CHECK((flooded.empty() || flooded.find("HTTP/1.1 400") == 0));

  CHECK(service.calls() == 0);
  PeerClient client({server.address()}, our_key());
  RecordingSink sink;
  CHECK(client.pull(some_request(), sink));
}

TEST_CASE("http server: of a request's first line and headers 16 KiB are read, no more") {
  FakeService service;
  RunningServer server(service);
  const std::uint16_t port = server.address().port;
  const std::string body = to_json(some_request());
  const auto request = [&](std::size_t filling) {
    std::string text = "POST /sync/v1/pull HTTP/1.1\r\nContent-Length: " + std::to_string(body.size()) + "\r\n";
    for (int line = 0; filling > 0; ++line) {
      const std::string name = "X-" + std::to_string(line) + ": ";
      const std::size_t size = std::min<std::size_t>(filling, 900);
      text += name + std::string(size, 'y') + "\r\n";
      filling -= size;
    }
    return text + "\r\n" + body;
  };
  CHECK_THAT(say(port, request(15'000)), Catch::StartsWith("HTTP/1.1 200"));
  const std::string refused = say(port, request(17'000));
  CHECK((refused.empty() || refused.find("HTTP/1.1 400") == 0));
  CHECK(service.answers == 1);

  // httplib goes several calls deeper for each character of some lines.
  const std::string range =
      say(port, "POST /sync/v1/pull HTTP/1.1\r\nRange: bytes=" + std::string(2'000, '0') + "\r\n\r\n");
  CHECK((range.empty() || range.find("HTTP/1.1 400") == 0));

  // One line that never ends.
  const std::string endless = say(port, "POST /" + std::string(1 << 20, 'x'));
  CHECK((endless.empty() || endless.find("HTTP/1.1 4") == 0));
  CHECK(service.accepts == 1);
}

TEST_CASE("http server: a request that would have to be unpacked is refused") {
  FakeService service;
  RunningServer server(service);
  for (const char* encoding : {"gzip", "br", "deflate", "identity"}) {
    const std::string body = to_json(some_request());
    const std::string answer =
        say(server.address().port, "POST /sync/v1/pull HTTP/1.1\r\ncontent-encoding: " + std::string(encoding) +
                                       "\r\nContent-Length: " + std::to_string(body.size()) + "\r\n\r\n" + body);
    INFO(answer);
    CHECK_THAT(answer, Catch::StartsWith("HTTP/1.1 400") && Catch::Contains("Connection: close\r\n"));
    CHECK_THAT(parse_refusal(body_of(answer)).value().message, Catch::Contains("Content-Encoding"));
    // What was not read is not taken for a second request.
    CHECK(answer.find("HTTP/1.1", 1) == std::string::npos);
  }
  CHECK(service.calls() == 0);
}

TEST_CASE("http server: what is thrown while a connection is served costs that connection and nothing else") {
  FakeService service;
  std::atomic<int> lines = 0;
  HttpServer server({"127.0.0.1", 0, std::filesystem::temp_directory_path(),
                     [&](std::string_view /*line*/) {
                       ++lines;
                       throw std::runtime_error("the log is full");
                     }},
                    our_key(), service);
  REQUIRE(server.start());
  PeerClient stranger({{"127.0.0.1", server.port()}}, other_key());
  RecordingSink sink;
  REQUIRE_FALSE(stranger.pull(some_request(), sink));
  REQUIRE(wait_until(milliseconds{5'000}, [&] { return lines > 0; }));
  PeerClient client({{"127.0.0.1", server.port()}}, our_key());
  CHECK(client.pull(some_request(), sink));
}

TEST_CASE("http server: the status says what kind of refusal it is") {
  FakeService service;
  RunningServer server(service);
  const std::vector<std::pair<ErrorKind, std::string>> table = {
      {ErrorKind::kRejected, "403"}, {ErrorKind::kConflict, "409"},  {ErrorKind::kConfig, "409"},
      {ErrorKind::kNotFound, "404"}, {ErrorKind::kTransient, "503"}, {ErrorKind::kInternal, "500"}};
  for (const auto& [kind, status] : table) {
    service.on_accept = [kind = kind](const PullRequest&) -> Result<void> { return Error{kind, "m", "h"}; };
    const std::string answer = say(server.address().port, post("/sync/v1/pull", to_json(some_request())));
    CHECK_THAT(answer, Catch::StartsWith("HTTP/1.1 " + status));
    CHECK(parse_refusal(body_of(answer)).value() == Refusal{kind, "m", "h"});
  }
  service.on_accept = [](const PullRequest&) -> Result<void> { throw std::runtime_error("secret words"); };
  const std::string answer = say(server.address().port, post("/sync/v1/pull", to_json(some_request())));
  CHECK_THAT(answer, Catch::StartsWith("HTTP/1.1 500"));
  CHECK(answer.find("secret words") == std::string::npos);
}

TEST_CASE("http server: an answer is chunked, of its own type, and begins after any pings") {
  FakeService service;
  RunningServer server(service);
  const std::string answer = say(server.address().port, post("/sync/v1/pull", to_json(some_request())));
  CHECK_THAT(answer, Catch::StartsWith("HTTP/1.1 200"));
  CHECK_THAT(answer, Catch::Contains("Content-Type: application/vnd.mbsync.pull\r\n"));
  CHECK_THAT(answer, Catch::Contains("Transfer-Encoding: chunked\r\n"));
  CHECK_THAT(answer, Catch::EndsWith("\r\n0\r\n\r\n"));
}
