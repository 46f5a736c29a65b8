// The local port as a whole, over real sockets: what it answers, and what it puts up with.
#include <poll.h>

#include <catch2/catch.hpp>
#include <thread>

#include "local_client.h"
#include "local_http_server.h"
#include "socket.h"

using namespace mbsync;
using std::chrono::seconds;

namespace {

std::vector<LocalRoute> routes() {
  std::vector<LocalRoute> all;
  all.push_back({"GET", "/greet/{id}/now", [](const LocalRequest& request) {
                   LocalAnswer answer;
                   const auto from = request.query.find("from");
                   answer.body = "hello " + request.id + (from == request.query.end() ? "" : " from " + from->second);
                   return answer;
                 }});
  all.push_back({"POST", "/echo", [](const LocalRequest& request) {
                   LocalAnswer answer;
                   answer.status = 202;
                   answer.body = request.body;
                   return answer;
                 }});
  all.push_back({"GET", "/throw", [](const LocalRequest&) -> LocalAnswer { throw std::runtime_error("a secret"); }});
  all.push_back({"GET", "/stream", [](const LocalRequest&) {
                   LocalAnswer answer;
                   answer.type = "text/event-stream";
                   answer.stream = [left = 3](std::chrono::milliseconds) mutable -> std::optional<std::string> {
                     return left-- > 0 ? std::optional<std::string>("x") : std::nullopt;
                   };
                   return answer;
                 }});
  return all;
}

LocalReply told(const LocalHttpServer& server, const std::string& path, const std::string& body = "") {
  const auto reply = ask_local({"127.0.0.1", server.port(), ""}, path, body, seconds{10});
  if (!reply) {
    FAIL(reply.error().text());
  }
  return *reply;
}

}  // namespace

TEST_CASE("local http: routes, their parts, and what there is not") {
  LocalHttpServer server({}, routes());
  REQUIRE(server.start());
  CHECK(told(server, "/greet/ada/now").body == "hello ada");
  CHECK(told(server, "/greet/ada%20l/now?from=till%3D1").body == "hello ada l from till=1");
  CHECK(told(server, "/greet//now").status == 404);
  CHECK(told(server, "/greet/a/b/now").status == 404);
  CHECK(told(server, "/").status == 404);
  CHECK(told(server, "/echo", "{\"a\": 1}").body == "{\"a\": 1}");
  CHECK(told(server, "/echo", "{}").status == 202);
  CHECK(told(server, "/echo").status == 405);
  CHECK(told(server, "/greet/ada/now", "{}").status == 405);
  CHECK(told(server, "/stream").body == "xxx");
  const auto thrown = told(server, "/throw");
  CHECK(thrown.status == 500);
  CHECK_THAT(thrown.body, !Catch::Contains("a secret"));
  CHECK(told(server, "/echo", std::string(1'100'000, 'x')).status == 413);
  // Lines that httplib would take apart with std::regex, and paths that it could not.
  CHECK(told(server, "/" + std::string(3'900, 'a')).status == 404);
  CHECK(told(server, "/a%0Ab").status == 404);
}

TEST_CASE("local http: it starts and stops many times, and says what it cannot have") {
  LocalHttpServer first({}, routes());
  for (int i = 0; i < 50; ++i) {
    REQUIRE(first.start());
    CHECK(told(first, "/greet/ada/now").status == 200);
    first.stop();
    first.stop();
    CHECK_FALSE(first.running());
  }
  REQUIRE(first.start());
  LocalHttpServer second({.port = first.port()}, routes());
  const auto taken = second.start();
  REQUIRE_FALSE(taken);
  CHECK(taken.error().kind == ErrorKind::kConfig);
  CHECK_FALSE(second.running());
  first.stop();
  CHECK(second.start());
}

TEST_CASE("local http: whoever listens there cannot make the one who asks wait, or grow") {
  // Any user of the machine can have the port while the node has not.
  const auto listener = listen_on("127.0.0.1", 0);
  REQUIRE(listener);
  const auto asked_of = [&](const std::string& head, const std::string& again, std::chrono::milliseconds pause) {
    std::jthread stranger([&, fd = listener->fd()](const std::stop_token& done) {
      const StopCheck stopped = [&] { return done.stop_requested(); };
      wait_for(fd, POLLIN, Deadline::max(), stopped);
      const auto accepted = accept_from(*listener);
      ::send(accepted.socket.fd(), head.data(), head.size(), MSG_NOSIGNAL);
      while (!done.stop_requested() && !hung_up(accepted.socket.fd())) {
        ::send(accepted.socket.fd(), again.data(), again.size(), MSG_NOSIGNAL);
        std::this_thread::sleep_for(pause);
      }
    });
    const auto begun = std::chrono::steady_clock::now();
    const auto reply = ask_local({"127.0.0.1", local_port(*listener), ""}, "/", "", seconds{1});
    CHECK(std::chrono::steady_clock::now() - begun < seconds{4});
    REQUIRE_FALSE(reply);
    return reply.error().text();
  };
  const std::chrono::milliseconds now_and_then{100};
  CHECK_THAT(asked_of("HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n", " ", now_and_then),
             Catch::Contains("it has not answered in time"));
  CHECK_THAT(asked_of("H", "H", now_and_then), Catch::Contains("it has not answered in time"));
  const std::string much(100'000, 'x');
  CHECK_THAT(asked_of("HTTP/1.1 200 OK\r\nX: ", much, std::chrono::milliseconds{0}),
             Catch::Contains("it answers more than a node does"));
  CHECK_THAT(asked_of("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", much, std::chrono::milliseconds{0}),
             Catch::Contains("no answer at"));
}

TEST_CASE("local http: it is asked over IPv6 as well") {
  LocalHttpServer server({.addresses = {"::1"}}, routes());
  if (!listen_on("::1", 0)) {
    WARN("skipped: this machine has no IPv6");
    return;
  }
  REQUIRE(server.start());
  const auto reply = ask_local({"::1", server.port(), ""}, "/greet/ada/now", "", seconds{10});
  REQUIRE(reply);
  CHECK(reply->status == 200);
}
