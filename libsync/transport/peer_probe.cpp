#include "peer_probe.h"

#include <fmt/format.h>

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

void fail(ProbeReport& report, ProbeStep step, PeerTrouble trouble, const Error& error, const std::string& next) {
  report.steps.push_back({step, false, error.message, next});
  report.trouble = trouble;
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

ProbeReport probe_peer(const PeerAddress& peer, const FleetKeys& keys, std::optional<PullRequest> request) {
  ProbeReport report;
  Resolver resolver;
  const auto endpoints = resolver.resolve(peer.host, peer.port, steady_clock::now() + kStepMax, never());
  if (!endpoints) {
    fail(report, ProbeStep::kName, PeerTrouble::kNameUnknown, endpoints.error(),
         next_step(PeerTrouble::kNameUnknown, peer.port));
    return report;
  }
  report.steps.push_back(
      {ProbeStep::kName, true,
       fmt::format("{} has {} address{}", peer.host, endpoints->size(), endpoints->size() == 1 ? "" : "es"), ""});

  auto socket = connect_to(*endpoints, steady_clock::now() + kStepMax, never());
  if (!socket) {
    // "Refused" comes from the machine itself: it is there. Silence is what a firewall does.
    const auto trouble = trouble_of(socket.error().message) == PeerTrouble::kPortClosed ? PeerTrouble::kPortClosed
                                                                                        : PeerTrouble::kSilent;
    fail(report, ProbeStep::kPort, trouble, socket.error(), next_step(trouble, peer.port));
    return report;
  }
  report.steps.push_back({ProbeStep::kPort, true, fmt::format("something listens at {}", to_string(peer)), ""});

  const auto key = try_keys(*endpoints, std::move(*socket), keys);
  if (!key) {
    const auto trouble = trouble_of(key.error().message);
    fail(report, ProbeStep::kKey, trouble, key.error(), next_step(trouble, peer.port));
    return report;
  }
  report.key = *key;
  report.steps.push_back({ProbeStep::kKey, true, fmt::format("it takes the {} registration key", to_string(*key)), ""});
  if (!request) {
    return report;
  }

  HeaderSink sink;
  // What is asked with a wait is not answered with all rows.
  request->wait_ms = 1;
  const auto asked_at = system_clock::now();
  const auto pulled = PeerClient({peer}, keys).pull(*request, sink);
  const auto answered_at = system_clock::now();
  if (!sink.seen()) {
    const auto error = pulled ? Error{} : pulled.error();
    const auto trouble = trouble_of(error.message);
    fail(report, ProbeStep::kAnswer, trouble, error, error.hint.empty() ? next_step(trouble, peer.port) : error.hint);
    return report;
  }
  report.node = sink.seen()->sender;
  report.clock_ahead = std::chrono::duration_cast<milliseconds>(
      system_clock::time_point(std::chrono::microseconds(sink.seen()->sent_at_us)) -
      (asked_at + (answered_at - asked_at) / 2));
  if (sink.seen()->standing == Standing::kBanned) {
    const Error banned{ErrorKind::kRejected,
                       fmt::format("{} says that this node is banned from the fleet", report.node->name), ""};
    fail(report, ProbeStep::kAnswer, PeerTrouble::kBanned, banned, next_step(PeerTrouble::kBanned, peer.port));
    return report;
  }
  report.steps.push_back(
      {ProbeStep::kAnswer, true, fmt::format("{} ({}) answers", report.node->name, to_string(report.node->id)), ""});
  return report;
}

}  // namespace mbsync
