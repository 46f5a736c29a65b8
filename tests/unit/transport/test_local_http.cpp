// The local port as a whole, over real sockets: what it answers, and what it puts up with.
#include <poll.h>

#include <algorithm>
#include <atomic>
#include <catch2/catch.hpp>
#include <map>
#include <mutex>
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
  all.push_back({"GET", "/much", [](const LocalRequest&) {
                   LocalAnswer answer;
                   answer.body = std::string(std::size_t{16} << 20, 'x');
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
  std::mutex mutex;
  std::string warned;
  LocalHttpServer server({.on_warning =
                              [&](std::string_view line) {
                                const std::lock_guard lock(mutex);
                                warned += line;
                              }},
                         routes());
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
  CHECK_THAT(thrown.body, !Catch::Contains("a secret") && Catch::Contains("see its log"));
  {
    const std::lock_guard lock(mutex);
    CHECK_THAT(warned, Catch::Contains("an answer could not be made: a secret"));
  }
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

TEST_CASE("local http: who does not take its answer holds up neither the end nor others") {
  LocalHttpServer server({}, routes());
  REQUIRE(server.start());
  const auto lazy = [&] {
    std::vector<Endpoint> endpoints;
    REQUIRE(system_lookup("127.0.0.1", server.port(), 0, endpoints) == 0);
    auto line = connect_to(endpoints, Deadline::max(), {});
    REQUIRE(line);
    const std::string asks = "GET /much HTTP/1.1\r\nHost: localhost\r\n\r\n";
    ::send(line->fd(), asks.data(), asks.size(), MSG_NOSIGNAL);
    wait_for(line->fd(), POLLIN, Deadline::max(), {});
    return std::move(*line);
  };
  // More than there are threads: others would wait for ten seconds.
  std::vector<Socket> lines;
  for (int i = 0; i < 16; ++i) {
    lines.push_back(lazy());
  }
  auto begun = std::chrono::steady_clock::now();
  CHECK(told(server, "/greet/ada/now").status == 200);
  CHECK(std::chrono::steady_clock::now() - begun < seconds{5});
  lines.push_back(lazy());
  // It takes some of it all the time, and will not have all of it for long.
  std::jthread sips([fd = lines.back().fd()](const std::stop_token& done) {
    std::string some(4'096, ' ');
    while (!done.stop_requested() && ::recv(fd, some.data(), some.size(), MSG_DONTWAIT) != 0) {
      std::this_thread::sleep_for(std::chrono::milliseconds{5});
    }
  });
  begun = std::chrono::steady_clock::now();
  server.stop();
  CHECK(std::chrono::steady_clock::now() - begun < seconds{4});
}

TEST_CASE("local http: each answer is counted once, also that there are too many streams") {
  std::mutex mutex;
  std::map<int, int> counted;
  std::atomic<bool> ended = false;
  std::vector<LocalRoute> endless;
  endless.push_back({"GET", "/events", [&](const LocalRequest&) {
                       LocalAnswer answer;
                       answer.stream = [&](std::chrono::milliseconds) {
                         return ended ? std::nullopt : std::optional<std::string>("x");
                       };
                       return answer;
                     }});
  LocalHttpServer server({}, std::move(endless), [&](std::string_view, int status) {
    const std::lock_guard lock(mutex);
    ++counted[status];
  });
  REQUIRE(server.start());
  std::vector<Socket> lines;
  std::string refused;
  for (int i = 0; i < 20 && refused.empty(); ++i) {
    std::vector<Endpoint> endpoints;
    REQUIRE(system_lookup("127.0.0.1", server.port(), 0, endpoints) == 0);
    auto line = connect_to(endpoints, Deadline::max(), {});
    REQUIRE(line);
    const std::string asks = "GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n";
    ::send(line->fd(), asks.data(), asks.size(), MSG_NOSIGNAL);
    wait_for(line->fd(), POLLIN, Deadline::max(), {});
    std::string head(4'096, '\0');
    head.resize(static_cast<std::size_t>(std::max<ssize_t>(0, ::recv(line->fd(), head.data(), head.size(), 0))));
    refused = head.starts_with("HTTP/1.1 503") ? head : "";
    lines.push_back(std::move(*line));
  }
  ended = true;
  server.stop();
  REQUIRE_FALSE(refused.empty());
  CHECK(refused.find("Cache-Control") == refused.rfind("Cache-Control"));
  CHECK(counted == std::map<int, int>{{200, static_cast<int>(lines.size()) - 1}, {503, 1}});
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
