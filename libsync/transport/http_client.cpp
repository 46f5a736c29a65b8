#include "http_client.h"

#include <fmt/format.h>
#include <httplib.h>

#include <algorithm>
#include <atomic>
#include <map>
#include <mutex>
#include <optional>
#include <utility>

#include "process_tag.h"
#include "psk_tls.h"
#include "pull_stream.h"
#include "request_memory.h"
#include "tls_stream.h"
#include "transport_tuning.h"

namespace mbsync {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

constexpr const char* kPullPath = "/sync/v1/pull";
constexpr const char* kAnswerType = "application/vnd.mbsync.pull";
constexpr const char* kRequestType = "application/json";
/// What the client calls every peer in HTTP's Host header, without the port that httplib would add: names of machines
/// are nobody's business, and need no quoting.
constexpr const char* kHostName = "mbsync";
constexpr int kStatusOk = 200;
/// Each of several addresses has at least so long: a packet that is lost is sent again after a second.
constexpr milliseconds kConnectMin{1'200};
/// Addresses of one peer of which it is known with which key it is reached there.
constexpr std::size_t kKeysKnownMax = 64;

Error cancelled() {
  return Error{ErrorKind::kCancelled, "asked to stop", ""};
}

/// httplib's client with its own sockets and TLS taken out: it writes a request to a stream and reads the answer.
class PskClient : public httplib::ClientImpl {
 public:
  PskClient(std::vector<PeerAddress> addresses, SSL_CTX& tls, bool two_keys, PeerPatience patience, StopCheck stopped)
      : httplib::ClientImpl(kHostName, kDefaultSyncPort),
        addresses_(std::move(addresses)),
        tls_(&tls),
        two_keys_(two_keys),
        patience_(patience),
        stopped_(std::move(stopped)) {
    set_keep_alive(true);
    set_decompress(false);
  }
  ~PskClient() override { shutdown_ssl(socket_, true); }
  PskClient(const PskClient&) = delete;
  PskClient& operator=(const PskClient&) = delete;

  struct Outcome {
    bool sent = false;             ///< the exchange went through, as far as HTTP is concerned
    bool fresh = false;            ///< on a connection made for it
    bool answered = false;         ///< at least one byte came back
    std::optional<Error> failure;  ///< why not, if it was the connection
  };

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

  Outcome exchange(httplib::Request& request) {
    outcome_ = {};
    refused_ = false;
    httplib::Response response;
    httplib::Error error = httplib::Error::Success;
    // The body as a whole has limits of its own (PullDecoder). What httplib reads between two pieces of it is bounded
    // here: the size of a chunk is a line, and a line without end would grow until memory has run out.
    const httplib::ResponseHandler handler = request.response_handler;
    request.response_handler = [this, handler](const httplib::Response& head) {
      limit_to_next_piece();
      return handler(head);
    };
    const httplib::ContentReceiverWithProgress receiver = request.content_receiver;
    request.content_receiver = [this, receiver](const char* bytes, std::size_t size, std::uint64_t offset,
                                                std::uint64_t total) {
      limit_to_next_piece();
      return receiver(bytes, size, offset, total);
    };
    outcome_.sent = send(request, response, error);
    request.response_handler = handler;
    request.content_receiver = receiver;
    return outcome_;
  }

 private:
  /// httplib hands over what it has read at least every CPPHTTPLIB_RECV_BUFSIZ bytes.
  void limit_to_next_piece() { stream_->limit_reads(CPPHTTPLIB_RECV_BUFSIZ + tuning::kHttpHeadBytesMax); }

  bool create_and_connect_socket(Socket& out, httplib::Error& error) override {
    std::vector<PeerAddress> candidates;
    {
      const std::lock_guard lock(mutex_);
      candidates = addresses_;
    }
    if (candidates.empty()) {
      outcome_.failure = Error{ErrorKind::kTransient, "no address of it is known",
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
        outcome_.fresh = true;
        return true;
      }
      failures.emplace_back(address, secured.error());
      if (secured.error().kind == ErrorKind::kCancelled) {
        break;
      }
    }
    outcome_.failure = summed_up(failures);
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
    stream_.emplace(*socket.ssl, socket.sock, TlsStream::Limits{patience_.silence, patience_.silence}, stopped_);
    stream_->limit_reads(tuning::kHttpHeadBytesMax);
    const bool ok = callback(*stream_);
    outcome_.answered = stream_->has_read();
    outcome_.failure = stream_->failure();
    if (!outcome_.failure && stream_->exhausted()) {
      outcome_.failure =
          Error{ErrorKind::kCorrupt, "it sends more headers, or a longer line between chunks, than is allowed",
                "is this the port of mbsync?"};
    }
    stream_.reset();
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
  const StopCheck stopped_;
  Resolver resolver_;
  std::optional<TlsStream> stream_;
  Outcome outcome_;
};

/// Takes what comes back: the answer's bytes into the decoder, or a refusal's text.
class Receiver {
 public:
  Receiver(PullSink& sink, const PullRequest& asked) : decoder_(sink, tuning::kAnswerBytesMax, asked) {}

  void begin(const httplib::Response& head) {
    status_ = head.status;
    is_answer_ = status_ == kStatusOk && head.get_header_value("Content-Type") == kAnswerType;
  }

  /// False ends the exchange.
  bool take(std::string_view bytes) {
    if (is_answer_) {
      result_ = decoder_.feed(bytes);
      return result_.has_value();
    }
    text_.append(bytes.substr(0, tuning::kRefusalBytesMax - text_.size()));
    return text_.size() < tuning::kRefusalBytesMax;
  }

  [[nodiscard]] bool begun() const { return status_ != 0; }

  /// The outcome of an exchange that HTTP sees as complete, or that take() has ended.
  Result<void> finish() {
    if (!is_answer_) {
      return refusal();
    }
    if (!result_) {
      return result_;
    }
    result_ = decoder_.finish();
    return result_;
  }

  /// take() has ended the exchange.
  [[nodiscard]] bool refused_bytes() const { return !result_ || text_.size() >= tuning::kRefusalBytesMax; }
  [[nodiscard]] bool is_answer() const { return is_answer_; }
  [[nodiscard]] bool sink_failed() const { return decoder_.sink_failed(); }

 private:
  [[nodiscard]] Error refusal() const {
    const auto parsed = parse_refusal(text_);
    if (status_ != kStatusOk && parsed) {
      return refusal_error(*parsed);
    }
    return Error{ErrorKind::kRejected, fmt::format("it does not answer as mbsync does (HTTP status {})", status_),
                 "is this the port of mbsync?"};
  }

  PullDecoder decoder_;
  Result<void> result_;
  int status_ = 0;
  bool is_answer_ = false;
  std::string text_;
};

}  // namespace

struct PeerClient::Impl {
  Impl(std::vector<PeerAddress> peer, FleetKeys fleet_keys, PeerPatience patience, OwnProcess process)
      : keys(std::move(fleet_keys)),
        own(std::move(process)),
        tls(make_client_context(keys)),
        http(std::move(peer), *tls, keys.next.has_value(), patience, [this] { return stopped.load(); }) {}

  Result<void> pull(const PullRequest& request, PullSink& sink);
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
  Receiver receiver(sink, request);
  httplib::Request http_request;
  http_request.method = "POST";
  http_request.path = kPullPath;
  http_request.body = body;
  http_request.set_header("Content-Type", kRequestType);
  http_request.set_header("Host", kHostName);
  if (!own.tag.empty()) {
    http_request.set_header(kProcessTagHeader, own.tag);
  }
  if (own.port != 0) {
    http_request.set_header(kPortHeader, std::to_string(own.port));
  }
  to_itself = base_unknown = false;
  http_request.response_handler = [&](const httplib::Response& head) {
    receiver.begin(head);
    to_itself = head.status == kStatusOwnProcess;
    base_unknown = head.status == kStatusBaseUnknown;
    return !stopped;
  };
  http_request.content_receiver = [&](const char* bytes, std::size_t size, std::uint64_t /*offset*/,
                                      std::uint64_t /*total*/) {
    return !stopped && receiver.take(std::string_view(bytes, size));
  };
  const PskClient::Outcome outcome = http.exchange(http_request);

  if (receiver.begun() && (outcome.sent || receiver.refused_bytes())) {
    Result<void> result = receiver.finish();
    if (result || receiver.sink_failed()) {
      return result;
    }
    return about_peer(result.error());
  }
  if (stopped) {
    return cancelled();
  }
  again = !outcome.fresh && !outcome.answered && outcome.failure && outcome.failure->kind == ErrorKind::kTransient;
  if (outcome.failure) {
    return about_peer(*outcome.failure);
  }
  return about_peer(
      Error{ErrorKind::kRejected, "it does not speak HTTP as mbsync does", "is this the port of mbsync?"});
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

PeerClient::PeerClient(std::vector<PeerAddress> addresses, FleetKeys keys, PeerPatience patience, OwnProcess own)
    : impl_(std::make_unique<Impl>(std::move(addresses), std::move(keys), patience, std::move(own))) {}
PeerClient::~PeerClient() = default;
Result<void> PeerClient::pull(const PullRequest& request, PullSink& sink) {
  return impl_->pull(request, sink);
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
