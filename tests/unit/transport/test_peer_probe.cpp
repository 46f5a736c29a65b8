#include "peer_probe.h"

#include <catch2/catch.hpp>

#include "fakes.h"
#include "free_port.h"

using namespace mbsync;
using namespace mbsync::test;

namespace {

PullHeader header_of_an_hour_ahead() {
  auto header = some_header();
  header.sent_at_us = std::chrono::duration_cast<std::chrono::microseconds>(
                          (std::chrono::system_clock::now() + std::chrono::hours{1}).time_since_epoch())
                          .count();
  return header;
}

}  // namespace

TEST_CASE("probe: a name that nobody knows") {
  const auto report = probe_peer({"no-such-machine.invalid", 8765}, our_keys(), some_request());
  REQUIRE(report.steps.size() == 1);
  CHECK(report.steps[0].step == ProbeStep::kName);
  CHECK(report.trouble == PeerTrouble::kNameUnknown);
  CHECK_FALSE(report.passed());
  CHECK_FALSE(report.steps[0].next.empty());
}

TEST_CASE("probe: a machine on which nothing listens") {
  const auto report = probe_peer({"127.0.0.1", free_port()}, our_keys(), some_request());
  REQUIRE(report.steps.size() == 2);
  CHECK(report.steps[0].passed);
  CHECK(report.steps[1].step == ProbeStep::kPort);
  CHECK(report.trouble == PeerTrouble::kPortClosed);
  CHECK_THAT(report.steps[1].next, Catch::Contains("start mbsync on it"));
  CHECK_FALSE(report.passed());
}

TEST_CASE("probe: another key, and one of two") {
  FakeService service;
  RunningServer server(service, "127.0.0.1", 0, other_key());
  const auto refused = probe_peer(server.address(), our_keys(), some_request());
  REQUIRE(refused.steps.size() == 3);
  CHECK(refused.steps[2].step == ProbeStep::kKey);
  CHECK_FALSE(refused.passed());
  CHECK_FALSE(refused.key);
  CHECK(refused.trouble == PeerTrouble::kOtherKey);
  CHECK_THAT(refused.steps[2].next, Catch::Contains("same SYNC_REGISTRATION_KEY on both"));
  CHECK(service.calls() == 0);

  const FleetKeys both(our_key(), other_key());
  const auto taken = probe_peer(server.address(), both, some_request());
  CHECK(taken.passed());
  CHECK_FALSE(taken.trouble);
  CHECK(taken.key == KeyUse::kNext);
}

TEST_CASE("probe: a refusal says what the peer says, and what to do") {
  FakeService service;
  service.on_accept = [](const PullRequest&) -> Result<void> {
    return Error{ErrorKind::kRejected, "this node is not on the list", "put it there"};
  };
  RunningServer server(service);
  const auto report = probe_peer(server.address(), our_keys(), some_request());
  REQUIRE(report.steps.size() == 4);
  CHECK_FALSE(report.passed());
  CHECK_THAT(report.steps[3].detail, Catch::Contains("not on the list"));
  CHECK(report.steps[3].next == "put it there");
}

TEST_CASE("probe: who answers, and what its clock says") {
  FakeService service;
  service.on_answer = [](PullSink& sink) -> Result<void> {
    MBSYNC_TRY(sink.header(header_of_an_hour_ahead()));
    return sink.footer(PullFooter{});
  };
  RunningServer server(service);
  const auto report = probe_peer(server.address(), our_keys(), some_request());
  REQUIRE(report.passed());
  CHECK(report.steps.size() == 4);
  CHECK(report.key == KeyUse::kCurrent);
  CHECK(report.node == some_header().sender);
  REQUIRE(report.clock_ahead);
  CHECK(*report.clock_ahead > std::chrono::minutes{59});
  CHECK(*report.clock_ahead < std::chrono::minutes{61});
}

TEST_CASE("probe: another program, and one that closes at once") {
  const Socket listener = listen_on("127.0.0.1", 0).value();
  const auto probe_while = [&](const std::string& says) {
    std::thread program([&] {
      constexpr short kReadable = 0x001;  // POLLIN
      REQUIRE(wait_for(listener.fd(), kReadable, in(std::chrono::seconds{5}), never) == Waited::kReady);
      const Accepted accepted = accept_from(listener);
      ::send(accepted.socket.fd(), says.data(), says.size(), MSG_NOSIGNAL);
      ::shutdown(accepted.socket.fd(), SHUT_WR);
      char byte = 0;
      REQUIRE(wait_for(accepted.socket.fd(), kReadable, in(std::chrono::seconds{5}), never) == Waited::kReady);
      while (::recv(accepted.socket.fd(), &byte, 1, 0) > 0) {
      }
    });
    auto report = probe_peer({"127.0.0.1", local_port(listener)}, our_keys(), some_request());
    program.join();
    return report;
  };
  const auto other = probe_while("220 mail.example ESMTP\r\n");
  CHECK(other.trouble == PeerTrouble::kNotMbsync);
  REQUIRE(other.steps.size() == 3);
  CHECK_THAT(other.steps[2].next, Catch::Contains("another program"));
  const auto closed = probe_while("");
  CHECK(closed.trouble == PeerTrouble::kTurnedAway);
  REQUIRE(closed.steps.size() == 3);
  CHECK_THAT(closed.steps[2].next, Catch::Contains("look at the log of mbsync there"));
}

TEST_CASE("probe: refusals that the peer words are known by their reason") {
  for (const auto& [words, trouble] : std::vector<std::pair<std::string, PeerTrouble>>{
           {"this node speaks protocol version 2, not version 1", PeerTrouble::kOtherProtocol},
           {"node 000000000000002b ('till') is not among those that 'office' exchanges with", PeerTrouble::kNotAllowed},
           {"the disk is full", PeerTrouble::kOther}}) {
    FakeService service;
    service.on_accept = [text = words](const PullRequest&) -> Result<void> {
      return Error{ErrorKind::kRejected, text, ""};
    };
    RunningServer server(service);
    const auto report = probe_peer(server.address(), our_keys(), some_request());
    CHECK(report.trouble == trouble);
  }
}

TEST_CASE("probe: one that says that this node is banned") {
  FakeService service;
  service.on_answer = [](PullSink& sink) -> Result<void> {
    auto header = some_header();
    header.standing = Standing::kBanned;
    MBSYNC_TRY(sink.header(header));
    return sink.footer(PullFooter{});
  };
  RunningServer server(service);
  const auto report = probe_peer(server.address(), our_keys(), some_request());
  CHECK_FALSE(report.passed());
  CHECK(report.trouble == PeerTrouble::kBanned);
  REQUIRE(report.steps.size() == 4);
  CHECK_THAT(report.steps[3].next, Catch::Contains("peers unban"));
}
