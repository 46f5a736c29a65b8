#include "http_client.h"

#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <map>
#include <mutex>
#include <optional>
#include <utility>

#include "fleet_tags.h"
#include "http_pull.h"
#include "protocol_limits.h"
#include "psk_tls.h"
#include "pull_stream.h"
#include "request_memory.h"
#include "tls_stream.h"
#include "transport_tuning.h"

namespace mbsync {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

/// Each of several addresses has at least so long: a packet that is lost is sent again after a second.
constexpr milliseconds kConnectMin{1'200};
/// Addresses of one peer of which it is known with which key it is reached there.
constexpr std::size_t kKeysKnownMax = 64;
constexpr const char* kDigestPath = "/sync/v1/digest";

Error cancelled() {
  return Error{ErrorKind::kCancelled, "asked to stop", ""};
}

/// Pulls over a TLS connection to whichever address answers.
class PskClient : public HttpPull {
 public:
  PskClient(std::vector<PeerAddress> addresses, SSL_CTX& tls, bool two_keys, PeerPatience patience,
            const FleetTags* fleet_tags, StopCheck stopped)
      : addresses_(std::move(addresses)),
        tls_(&tls),
        two_keys_(two_keys),
        patience_(patience),
        fleet_tags_(fleet_tags),
        stopped_(std::move(stopped)) {}
  ~PskClient() override { shutdown_ssl(socket_, true); }
  PskClient(const PskClient&) = delete;
  PskClient& operator=(const PskClient&) = delete;

  void set_addresses(std::vector<PeerAddress> addresses) {
    const std::lock_guard lock(mutex_);
    addresses_ = std::move(addresses);
  }
  [[nodiscard]] const std::optional<PeerAddress>& reached() const { return reached_; }
  [[nodiscard]] KeyUse key() const { return key_; }
  [[nodiscard]] bool refused() const { return refused_; }
  /// For messages.
  [[nodiscard]] std::string name() {
    const std::lock_guard lock(mutex_);
    return reached_ ? to_string(*reached_) : addresses_.empty() ? "without address" : to_string(addresses_.front());
  }

  /// Before each pull.
  void begin() { refused_ = false; }

 private:
  bool create_and_connect_socket(Socket& out, httplib::Error& error) override {
    std::vector<PeerAddress> candidates;
    {
      const std::lock_guard lock(mutex_);
      candidates = addresses_;
    }
    if (candidates.empty()) {
      way_.failure = Error{ErrorKind::kTransient, "no address of it is known",
                           "it has to be seen on the local network, or be named with --peer"};
      error = httplib::Error::Connection;
      return false;
    }
    const auto each = std::max<milliseconds>(patience_.connect / static_cast<int>(candidates.size()), kConnectMin);
    std::vector<std::pair<PeerAddress, Error>> failures;
    for (const auto& address : candidates) {
      auto secured = secure(address, std::min(each, patience_.connect), out);
      if (secured) {
        reached_ = address;
        way_.fresh = true;
        return true;
      }
      failures.emplace_back(address, secured.error());
      if (secured.error().kind == ErrorKind::kCancelled) {
        break;
      }
    }
    way_.failure = summed_up(failures);
    error = httplib::Error::Connection;
    return false;
  }

  /// With the key that has worked at this address last. The other one is tried only where that is refused: a peer that
  /// does not answer would not answer to it either.
  Result<void> secure(const PeerAddress& address, milliseconds patience, Socket& out) {
    const auto known = key_at_.find(address);
    const KeyUse first = known == key_at_.end() ? KeyUse::kCurrent : known->second;
    auto secured = secure(address, first, patience, out);
    if (!two_keys_ || secured || secured.error().kind != ErrorKind::kRejected) {
      return secured;
    }
    const KeyUse other = first == KeyUse::kCurrent ? KeyUse::kNext : KeyUse::kCurrent;
    auto again = secure(address, other, patience, out);
    if (again) {
      if (key_at_.size() >= kKeysKnownMax) {
        key_at_.clear();
      }
      key_at_[address] = other;
    }
    // Of both refusals the first says as much as the second.
    return again || again.error().kind != ErrorKind::kRejected ? again : secured;
  }

  Result<void> secure(const PeerAddress& address, KeyUse key, milliseconds patience, Socket& out) {
    auto connected = connect(address, patience);
    MBSYNC_TRY(connected);
    auto secured = connect_tls(*tls_, *connected, steady_clock::now() + patience_.handshake, stopped_, key);
    if (!secured) {
      refused_ = refused_ || secured.error().kind == ErrorKind::kRejected;
      return secured.error();
    }
    out.sock = connected->release();
    out.ssl = secured->release();
    key_ = key;
    refused_ = false;
    return {};
  }

  /// Of several addresses each is named, and what a person can do something about decides what kind of failure it is.
  static Error summed_up(const std::vector<std::pair<PeerAddress, Error>>& failures) {
    const auto worst = std::find_if(failures.begin(), failures.end(),
                                    [](const auto& failure) { return failure.second.kind != ErrorKind::kTransient; });
    Error error = (worst == failures.end() ? failures.front() : *worst).second;
    if (failures.size() > 1 && error.kind != ErrorKind::kCancelled) {
      std::string all;
      for (const auto& [address, failure] : failures) {
        all += fmt::format("{}{}: {}", all.empty() ? "" : "; ", to_string(address), failure.message);
      }
      error.message = all;
    }
    return error;
  }

  Result<mbsync::Socket> connect(const PeerAddress& address, milliseconds patience) {
    const auto deadline = steady_clock::now() + patience;
    const auto endpoints = resolver_.resolve(address.host, address.port, deadline, stopped_);
    if (!endpoints) {
      return endpoints.error();
    }
    auto socket = connect_to(*endpoints, deadline, stopped_);
    if (!socket && socket.error().kind == ErrorKind::kTransient) {
      return Error{ErrorKind::kTransient, fmt::format("cannot connect: {}", socket.error().message),
                   "is mbsync running there, with this SYNC_PORT, and does the firewall let it through?"};
    }
    return socket;
  }

  bool process_socket(const Socket& socket, std::function<bool(httplib::Stream&)> callback) override {
    TlsStream stream(*socket.ssl, socket.sock, TlsStream::Limits{patience_.silence, patience_.silence}, stopped_);
    if (fleet_tags_ != nullptr) {
      say_of_fleet(fleet_tags_->of(key_));
    }
    const bool ok = run_over(stream, callback);
    way_.answered = stream.has_read();
    if (stream.failure()) {
      way_.failure = stream.failure();
    }
    return ok;
  }

  void shutdown_ssl(Socket& socket, bool gracefully) override {
    if (socket.ssl != nullptr) {
      if (gracefully) {
        SSL_shutdown(socket.ssl);
      }
      SSL_free(socket.ssl);
      socket.ssl = nullptr;
    }
  }

  std::mutex mutex_;
  std::vector<PeerAddress> addresses_;  // guarded by mutex_
  std::optional<PeerAddress> reached_;
  SSL_CTX* tls_;
  const bool two_keys_;
  std::map<PeerAddress, KeyUse> key_at_;
  KeyUse key_ = KeyUse::kCurrent;
  bool refused_ = false;  // in the handshake
  const PeerPatience patience_;
  const FleetTags* const fleet_tags_;
  const StopCheck stopped_;
  Resolver resolver_;
};

}  // namespace

struct PeerClient::Impl {
  Impl(std::vector<PeerAddress> peer, FleetKeys fleet_keys, PeerPatience patience, OwnProcess process)
      : keys(std::move(fleet_keys)),
        own(std::move(process)),
        tls(make_client_context(keys)),
        http(std::move(peer), *tls, keys.next.has_value(), patience, own.fleet_tags,
             [this] { return stopped.load(); }) {}

  Result<void> pull(const PullRequest& request, PullSink& sink);
  Result<DigestAnswer> digest(const DigestRequest& request);
  /// What it says in full, or only what is other than in a request that the peer is likely to know.
  std::string body_of(const PullRequest& request) const;
  /// Again if the connection turned out to have been closed while it was idle.
  Result<void> send(const std::string& body, const PullRequest& request, PullSink& sink);
  /// One try.
  Result<void> pull_once(const std::string& body, const PullRequest& request, PullSink& sink, bool& again);
  [[nodiscard]] Error about_peer(const Error& error) { return error.in(fmt::format("peer '{}'", http.name())); }

  const FleetKeys keys;
  const OwnProcess own;
  bool to_itself = false;
  bool base_unknown = false;            ///< the peer does not know what the last request built upon
  std::optional<PullRequest> answered;  ///< the last request that was answered
  std::atomic<bool> stopped = false;
  SslContext tls;
  PskClient http;
};

Result<void> PeerClient::Impl::pull_once(const std::string& body, const PullRequest& request, PullSink& sink,
                                         bool& again) {
  http.begin();
  const HttpPull::Outcome outcome = http.pull(body, request, own, sink, [this] { return stopped.load(); });
  to_itself = outcome.own_process;
  base_unknown = outcome.base_unknown;
  again = outcome.again;
  if (outcome.result && own.fleet_tags != nullptr) {
    own.fleet_tags->heard(http.key(), outcome.fleet_tag);
  }
  const bool about_it = !outcome.result && !outcome.of_sink && outcome.result.error().kind != ErrorKind::kCancelled;
  return about_it ? about_peer(outcome.result.error()) : outcome.result;
}

Result<void> PeerClient::Impl::pull(const PullRequest& request, PullSink& sink) {
  std::string body = body_of(request);
  auto result = send(body, request, sink);
  if (!result && base_unknown) {
    body = to_json(request);
    result = send(body, request, sink);
  }
  if (result) {
    answered = request;
    answered->reports.clear();
  } else {
    answered.reset();
  }
  return result;
}

std::string PeerClient::Impl::body_of(const PullRequest& request) const {
  std::string all = to_json(request);
  if (all.size() < tuning::kRequestShortenedFrom) {
    return all;
  }
  // The first time it is a guess: most nodes know the same most of the time, so others have said it there already.
  const PullRequest& base = answered ? *answered : request;
  return to_json(request, base, base_name_of(base));
}

Result<void> PeerClient::Impl::send(const std::string& body, const PullRequest& request, PullSink& sink) {
  if (body.size() > tuning::kRequestBytesMax) {
    return Error{
        ErrorKind::kRejected,
        fmt::format("a request of {} bytes, more than {}, cannot be sent", body.size(), tuning::kRequestBytesMax),
        "the fleet has more nodes than this protocol carries"};
  }
  if (stopped) {
    return cancelled();
  }
  bool again = false;
  Result<void> result = pull_once(body, request, sink, again);
  if (again) {
    // The peer had closed the idle connection: nothing was lost, since a pull changes nothing over there.
    bool unused = false;
    result = pull_once(body, request, sink, unused);
  }
  return result;
}

Result<DigestAnswer> PeerClient::Impl::digest(const DigestRequest& request) {
  const std::string body = to_json(request);
  if (body.size() > tuning::kRequestBytesMax) {
    return Error{ErrorKind::kRejected, fmt::format("keys of {} bytes are too long to be compared", body.size()), ""};
  }
  if (stopped) {
    return cancelled();
  }
  std::string text;
  HttpPull::Outcome outcome;
  // Once more where the peer had closed the idle connection: nothing is changed over there.
  for (int tries = 0; tries == 0 || (tries == 1 && outcome.again); ++tries) {
    http.begin();
    outcome = http.ask(kDigestPath, body, own, kDigestBytesMax, text, [this] { return stopped.load(); });
  }
  to_itself = outcome.own_process;
  if (!outcome.result) {
    const auto& error = outcome.result.error();
    if (outcome.not_there) {
      return about_peer(Error{ErrorKind::kNotFound, "its version of mbsync cannot compare rows",
                              "install the same version there as here"});
    }
    return error.kind == ErrorKind::kCancelled ? error : about_peer(error);
  }
  auto answer = parse_digest_answer(text);
  if (!answer) {
    // It began to answer and failed then.
    const auto refusal = parse_refusal(text);
    return about_peer(refusal ? refusal_error(*refusal) : answer.error());
  }
  return answer;
}

PeerClient::PeerClient(std::vector<PeerAddress> addresses, FleetKeys keys, PeerPatience patience, OwnProcess own)
    : impl_(std::make_unique<Impl>(std::move(addresses), std::move(keys), patience, std::move(own))) {}
PeerClient::~PeerClient() = default;
Result<void> PeerClient::pull(const PullRequest& request, PullSink& sink) {
  return impl_->pull(request, sink);
}
Result<DigestAnswer> PeerClient::digest(const DigestRequest& request) {
  return impl_->digest(request);
}
void PeerClient::set_addresses(std::vector<PeerAddress> addresses) {
  impl_->http.set_addresses(std::move(addresses));
}
std::optional<PeerAddress> PeerClient::reached() const {
  return impl_->http.reached();
}
KeyUse PeerClient::key() const {
  return impl_->http.key();
}
bool PeerClient::refused_in_handshake() const {
  return impl_->http.refused();
}
bool PeerClient::leads_to_itself() const {
  return impl_->to_itself;
}
void PeerClient::stop() {
  impl_->stopped = true;
}

}  // namespace mbsync
