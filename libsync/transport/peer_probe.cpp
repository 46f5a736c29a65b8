#include "peer_probe.h"

#include <fmt/format.h>

#include <filesystem>
#include <utility>

#include "http_client.h"
#include "psk_tls.h"
#include "socket.h"

namespace mbsync {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;
using std::chrono::system_clock;

constexpr milliseconds kStepMax{5'000};

StopCheck never() {
  return [] { return false; };
}

/// Whoever has read the header knows enough.
class HeaderSink : public PullSink {
 public:
  Result<void> header(const PullHeader& header) override {
    header_ = header;
    return Error{ErrorKind::kCancelled, "enough is known", ""};
  }
  Result<void> table(const TableHeader& /*table*/) override { return {}; }
  Result<void> rows(std::string_view /*copy_text*/) override { return {}; }
  Result<void> table_end(std::int64_t /*rows*/) override { return {}; }
  Result<void> footer(const PullFooter& /*footer*/) override { return {}; }

  [[nodiscard]] const std::optional<PullHeader>& seen() const { return header_; }

 private:
  std::optional<PullHeader> header_;
};

ProbeReport::Step failed(ProbeStep step, const Error& error, const std::string& next = "") {
  return {step, false, error.message, next.empty() ? error.hint : next};
}

// "Refused" comes from the machine itself: it is there, and nobody listens. Silence is what a firewall does.
std::string next_for_port(const Error& error, std::uint16_t port) {
  if (error.message.find("refused") != std::string::npos) {
    return fmt::format(
        "that machine is there, but nothing listens: start mbsync on it, with SYNC_PORT={} and a SYNC_BIND that is not "
        "127.0.0.1",
        port);
  }
  return fmt::format(
      "is that machine on, and is this its address? Then its firewall holds the connection back; on a machine like "
      "this "
      "one it is opened with: {}",
      firewall_command(port));
}

Result<KeyUse> try_keys(const std::vector<Endpoint>& endpoints, Socket first, const FleetKeys& keys) {
  const auto context = make_client_context(keys);
  auto secured = connect_tls(*context, first, steady_clock::now() + kStepMax, never(), KeyUse::kCurrent);
  if (secured) {
    return KeyUse::kCurrent;
  }
  if (!keys.next || secured.error().kind != ErrorKind::kRejected) {
    return secured.error();
  }
  const auto again = connect_to(endpoints, steady_clock::now() + kStepMax, never());
  MBSYNC_TRY(again);
  const auto other = connect_tls(*context, *again, steady_clock::now() + kStepMax, never(), KeyUse::kNext);
  if (!other) {
    return secured.error();
  }
  return KeyUse::kNext;
}

}  // namespace

std::string_view to_string(ProbeStep step) {
  switch (step) {
    case ProbeStep::kName:
      return "name";
    case ProbeStep::kPort:
      return "port";
    case ProbeStep::kKey:
      return "key";
    case ProbeStep::kAnswer:
      return "answer";
  }
  return "answer";
}

std::string firewall_command(std::uint16_t port) {
  const auto is_there = [](std::initializer_list<const char*> places) {
    for (const char* place : places) {
      std::error_code error;
      if (std::filesystem::exists(place, error)) {
        return true;
      }
    }
    return false;
  };
  if (is_there({"/usr/sbin/ufw", "/sbin/ufw"})) {
    return fmt::format("sudo ufw allow {}/tcp", port);
  }
  if (is_there({"/usr/bin/firewall-cmd", "/bin/firewall-cmd"})) {
    return fmt::format("sudo firewall-cmd --permanent --add-port={}/tcp && sudo firewall-cmd --reload", port);
  }
  if (is_there({"/usr/sbin/nft", "/sbin/nft"})) {
    return fmt::format("sudo nft add rule inet filter input tcp dport {} accept", port);
  }
  return fmt::format("(no firewall of this kind was found here: allow TCP port {} in whatever stands before it)", port);
}

ProbeReport probe_peer(const PeerAddress& peer, const FleetKeys& keys, PullRequest request) {
  ProbeReport report;
  Resolver resolver;
  const auto endpoints = resolver.resolve(peer.host, peer.port, steady_clock::now() + kStepMax, never());
  if (!endpoints) {
    report.steps.push_back(failed(ProbeStep::kName, endpoints.error(),
                                  "give its address in numbers, or see to it that this machine can look up the name"));
    return report;
  }
  report.steps.push_back(
      {ProbeStep::kName, true,
       fmt::format("{} has {} address{}", peer.host, endpoints->size(), endpoints->size() == 1 ? "" : "es"), ""});

  auto socket = connect_to(*endpoints, steady_clock::now() + kStepMax, never());
  if (!socket) {
    report.steps.push_back(failed(ProbeStep::kPort, socket.error(), next_for_port(socket.error(), peer.port)));
    return report;
  }
  report.steps.push_back({ProbeStep::kPort, true, fmt::format("something listens at {}", to_string(peer)), ""});

  const auto key = try_keys(*endpoints, std::move(*socket), keys);
  if (!key) {
    report.steps.push_back(
        failed(ProbeStep::kKey, key.error(),
               key.error().kind == ErrorKind::kRejected
                   ? "set the same SYNC_REGISTRATION_KEY on both machines and restart mbsync there; if another program "
                     "listens at that port, give mbsync another SYNC_PORT"
                   : ""));
    return report;
  }
  report.key = *key;
  report.steps.push_back({ProbeStep::kKey, true, fmt::format("it takes the {} registration key", to_string(*key)), ""});

  HeaderSink sink;
  // What is asked with a wait is not answered with all rows.
  request.wait_ms = 1;
  const auto asked_at = system_clock::now();
  const auto pulled = PeerClient({peer}, keys).pull(request, sink);
  const auto answered_at = system_clock::now();
  if (!sink.seen()) {
    report.steps.push_back(failed(ProbeStep::kAnswer, pulled ? Error{} : pulled.error()));
    return report;
  }
  report.node = sink.seen()->sender;
  report.clock_ahead = std::chrono::duration_cast<milliseconds>(
      system_clock::time_point(std::chrono::microseconds(sink.seen()->sent_at_us)) -
      (asked_at + (answered_at - asked_at) / 2));
  report.steps.push_back(
      {ProbeStep::kAnswer, true, fmt::format("{} ({}) answers", report.node->name, to_string(report.node->id)), ""});
  return report;
}

}  // namespace mbsync
