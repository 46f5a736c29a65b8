#include "http_front.h"

#include <fmt/format.h>
#include <httplib.h>

#include <atomic>
#include <charconv>
#include <optional>
#include <system_error>

#include "address_limiter.h"
#include "address_turns.h"
#include "digest_exchange.h"
#include "process_tag.h"
#include "pull_exchange.h"
#include "request_memory.h"
#include "transport_tuning.h"

namespace mbsync {
namespace {

using std::chrono::steady_clock;

constexpr const char* kPullPath = "/sync/v1/pull";
constexpr const char* kDigestPath = "/sync/v1/digest";
constexpr const char* kDigestType = "application/json";
constexpr const char* kAnswerType = "application/vnd.mbsync.pull";
constexpr const char* kRefusalType = "application/json";
/// Within this process only.
constexpr const char* kKeyHeader = "Mbsync-Key";

int status_of(ErrorKind kind) {
  switch (kind) {
    case ErrorKind::kRejected:
      return 403;
    case ErrorKind::kNotFound:
      return 404;
    case ErrorKind::kConflict:
    case ErrorKind::kConfig:
      return 409;
    case ErrorKind::kCorrupt:
      return 400;
    case ErrorKind::kTransient:
    case ErrorKind::kInDoubt:
    case ErrorKind::kCancelled:
      return 503;
    case ErrorKind::kInternal:
      break;
  }
  return 500;
}

void refuse(httplib::Response& response, int status, const Refusal& refusal) {
  response.status = status;
  response.set_content(to_json(refusal), kRefusalType);
}

void refuse(httplib::Response& response, const Error& error) {
  refuse(response, status_of(error.kind), Refusal{error.kind, error.message, error.hint});
}

constexpr int kStatusTooMany = 429;

/// More than a node of ours ever makes. It is said in few words, as it may have to be said often.
Refusal too_many(std::string_view what) {
  return {ErrorKind::kTransient, fmt::format("too many {}", what),
          "it goes on by itself; if it does not, look which program asks so often, and whether two have one identity"};
}

/// The number in a path /sync/vN/..., if it is one.
std::optional<int> version_in(std::string_view path) {
  constexpr std::string_view kPrefix = "/sync/v";
  if (path.substr(0, kPrefix.size()) != kPrefix) {
    return std::nullopt;
  }
  path.remove_prefix(kPrefix.size());
  int version = 0;
  const auto [end, error] = std::from_chars(path.data(), path.data() + path.size(), version);
  const bool whole = error == std::errc{} && (end == path.data() + path.size() || *end == '/');
  return whole ? std::optional<int>(version) : std::nullopt;
}

/// Nodes of this version make no such requests.
constexpr const char* kNotOurs = "bring both nodes to the same version of mbsync, or find out which program asks here";

/// What is said where httplib itself found something wrong, or found nobody to answer.
Refusal refusal_for(int status, std::string_view path) {
  const auto version = version_in(path);
  if (status == 404 && version && *version != kProtocolVersion) {
    return {ErrorKind::kRejected,
            fmt::format("this node speaks protocol version {}, not version {}", kProtocolVersion, *version),
            "bring both nodes to the same version of mbsync"};
  }
  switch (status) {
    case 404:
      return {ErrorKind::kNotFound, "there is nothing at this address", fmt::format("only POST {}", kPullPath)};
    case 400:
      return {ErrorKind::kCorrupt,
              "not a well-formed request, or one with headers of more than 16 KiB, or 1 KiB in a line", kNotOurs};
    case 413:
      return {ErrorKind::kRejected, fmt::format("a request of more than {} bytes", tuning::kRequestBytesMax), kNotOurs};
    case 500:
      return {ErrorKind::kInternal, "this node failed while it looked at the request", "see its log"};
    default:
      return {ErrorKind::kCorrupt, "not a well-formed request", kNotOurs};
  }
}

/// Our client encodes no request. httplib would unpack one before anything of ours can look at its size.
bool is_encoded(const httplib::Request& request) {
  return request.has_header("Content-Encoding");
}

/// httplib's server without its sockets and threads.
class Front : public httplib::Server {
 public:
  /// False: the connection cannot be used any further.
  bool serve(LimitedStream& stream, KeyUse key, bool last) {
    bool closed = false;
    bool unread = false;
    // httplib bounds neither the length of a line while it reads it, nor the number of lines, nor every form of body.
    stream.limit_reads(tuning::kHttpHeadBytesMax, tuning::kHttpLineBytesMax);
    const auto head_is_read = [&](httplib::Request& request) {
      // The only way from here to the handler. Whatever the client has said under this name is gone.
      request.headers.erase(kKeyHeader);
      request.set_header(kKeyHeader, std::string(to_string(key)));
      stream.limit_reads(tuning::kRequestBytesMax + tuning::kRequestFramingBytesMax);
      unread = is_encoded(request);
    };
    return process_request(stream, last, closed, head_is_read) && !closed && !unread;
  }

  /// httplib asks this socket's value whether it is shutting down, and nothing else.
  void set_open(bool open) { svr_sock_ = open ? 0 : INVALID_SOCKET; }
};

// Of what is no port nothing is made, since nothing hangs on it.
std::uint16_t port_of(const httplib::Request& request) {
  const auto text = request.get_header_value(kPortHeader);
  std::uint16_t port = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), port);
  return error == std::errc() && end == text.data() + text.size() ? port : std::uint16_t{0};
}

KeyUse key_in(const httplib::Request& request) {
  return request.get_header_value(kKeyHeader) == to_string(KeyUse::kNext) ? KeyUse::kNext : KeyUse::kCurrent;
}

}  // namespace

struct HttpFront::Impl {
  Impl(Options given, PullService& pull_service) : options(std::move(given)), service(&pull_service) { set_up_front(); }

  void set_up_front();
  void answer_pull(const httplib::Request& request, httplib::Response& response);
  void answer_digest(const httplib::Request& request, httplib::Response& response);
  bool is_welcome(const httplib::Request& request, httplib::Response& response);
  std::shared_ptr<void> admit(const Member& sender, httplib::Response& response);
  void exchange_tags(const httplib::Request& request, httplib::Response& response);

  const Options options;
  PullService* service;
  RequestMemory memory{tuning::kRequestsKept};
  SenderLimiter senders{options.sender_limits};
  AddressTurns answers{tuning::kAnswersPerAddressMax};
  std::atomic<int> digests = 0;
  Front front;
};

void HttpFront::Impl::set_up_front() {
  front.set_payload_max_length(tuning::kRequestBytesMax);
  front.set_keep_alive_max_count(tuning::kRequestsPerConnectionMax);
  front.set_keep_alive_timeout(std::chrono::duration_cast<std::chrono::seconds>(tuning::kKeepAliveTimeout).count());
  front.Post(kPullPath, httplib::Server::Handler([this](const httplib::Request& request, httplib::Response& response) {
               answer_pull(request, response);
             }));
  if (options.digests != nullptr) {
    front.Post(kDigestPath,
               httplib::Server::Handler([this](const httplib::Request& request, httplib::Response& response) {
                 answer_digest(request, response);
               }));
  }
  front.set_pre_routing_handler([](const httplib::Request& request, httplib::Response& response) {
    if (!is_encoded(request)) {
      return httplib::Server::HandlerResponse::Unhandled;
    }
    refuse(response, Error{ErrorKind::kCorrupt, "a request with Content-Encoding, which this protocol does not have",
                           "send it as it is"});
    response.set_header("Connection", "close");
    return httplib::Server::HandlerResponse::Handled;
  });
  front.set_error_handler(httplib::Server::Handler([](const httplib::Request& request, httplib::Response& response) {
    if (response.body.empty()) {
      refuse(response, response.status, refusal_for(response.status, request.path));
    }
  }));
  // What was thrown may hold anything, so it is not told to the asker.
  front.set_exception_handler(
      [](const httplib::Request& request, httplib::Response& response, const std::exception_ptr& /*thrown*/) {
        refuse(response, 500, refusal_for(500, request.path));
      });
}

/// False: it has been refused.
bool HttpFront::Impl::is_welcome(const httplib::Request& request, httplib::Response& response) {
  if (!options.process_tag.empty() && request.get_header_value(kProcessTagHeader) == options.process_tag) {
    refuse(response, kStatusOwnProcess,
           Refusal{ErrorKind::kRejected, "this address leads back to the node that asks", "remove it there"});
    return false;
  }
  if (options.may_ask && !options.may_ask(request.remote_addr)) {
    refuse(response, kStatusTooMany, too_many("requests from this address"));
    return false;
  }
  return true;
}

/// What counts the exchange as under way while it lives; nothing: it has been refused.
std::shared_ptr<void> HttpFront::Impl::admit(const Member& asker, httplib::Response& response) {
  const auto sender = asker.id.value;
  switch (senders.begun(sender, steady_clock::now())) {
    case SenderLimiter::Verdict::kTooManyRequests:
      refuse(response, kStatusTooMany, too_many("requests of this node"));
      return nullptr;
    case SenderLimiter::Verdict::kTooManyExchanges:
      refuse(response, kStatusTooMany, too_many("requests of this node at a time"));
      return nullptr;
    case SenderLimiter::Verdict::kAdmitted:
      break;
  }
  return {this, [this, sender](void*) { senders.ended(sender); }};
}

void HttpFront::Impl::answer_digest(const httplib::Request& request, httplib::Response& response) {
  if (!is_welcome(request, response)) {
    return;
  }
  auto parsed = parse_digest_request(request.body);
  if (!parsed) {
    return refuse(response, parsed.error());
  }
  const auto under_way = admit(parsed->sender, response);
  if (!under_way) {
    return;
  }
  const std::shared_ptr<void> counted(this, [this](void*) { --digests; });
  if (++digests > tuning::kDigestsMax) {
    return refuse(response, kStatusTooMany, too_many("comparisons at a time"));
  }
  auto exchange =
      std::make_shared<DigestExchange>(*options.digests, std::move(*parsed),
                                       Caller{request.remote_addr, key_in(request), port_of(request)}, options.stopped);
  response.status = 200;
  response.set_chunked_content_provider(kDigestType, [exchange, under_way, counted](std::size_t /*offset*/,
                                                                                    httplib::DataSink& sink) {
    const DigestExchange::Wire wire{[&sink](std::string_view bytes) { return sink.write(bytes.data(), bytes.size()); },
                                    [&sink] { return sink.is_writable(); }};
    const bool sent = exchange->run(wire);
    if (sent) {
      sink.done();
    }
    return sent;
  });
}

void HttpFront::Impl::answer_pull(const httplib::Request& request, httplib::Response& response) {
  if (!is_welcome(request, response)) {
    return;
  }
  std::shared_ptr<const PullRequest> base;
  auto parsed = parse_pull_request(request.body, [&](std::string_view name) {
    base = memory.find(name);
    return base.get();
  });
  if (!parsed) {
    const auto& error = parsed.error();
    return refuse(response, error.kind == ErrorKind::kNotFound ? kStatusBaseUnknown : status_of(error.kind),
                  Refusal{error.kind, error.message, error.hint});
  }
  const auto under_way = admit(parsed->sender, response);
  if (!under_way) {
    return;
  }
  if (const auto accepted = service->accept(*parsed, {request.remote_addr, key_in(request), port_of(request)});
      !accepted) {
    return refuse(response, accepted.error());
  }
  exchange_tags(request, response);
  memory.keep(*parsed);
  const std::string group = limit_group(request.remote_addr);
  auto exchange = std::make_shared<PullExchange>(
      *service, std::move(*parsed), options.spool_directory, options.stopped, options.crowded,
      PullExchange::Turn{[this, group](std::chrono::milliseconds patience) { return answers.enter(group, patience); },
                         [this, group] { answers.leave(group); }});
  response.status = 200;
  response.set_chunked_content_provider(kAnswerType, [exchange, under_way](std::size_t /*offset*/,
                                                                           httplib::DataSink& sink) {
    const PullExchange::Wire wire{[&sink](std::string_view bytes) { return sink.write(bytes.data(), bytes.size()); },
                                  [&sink] { return sink.is_writable(); }};
    const bool sent = exchange->run(wire);
    if (sent) {
      sink.done();
    }
    return sent;
  });
}

// Only with those who are answered.
void HttpFront::Impl::exchange_tags(const httplib::Request& request, httplib::Response& response) {
  if (options.fleet_tags == nullptr) {
    return;
  }
  const auto key = key_in(request);
  options.fleet_tags->heard(key, request.get_header_value(kFleetTagHeader));
  if (const auto tag = options.fleet_tags->of(key); !tag.empty()) {
    response.set_header(kFleetTagHeader, tag);
  }
}

HttpFront::HttpFront(Options options, PullService& service)
    : impl_(std::make_unique<Impl>(std::move(options), service)) {}
HttpFront::~HttpFront() = default;
bool HttpFront::serve(LimitedStream& stream, KeyUse key, bool last) {
  return impl_->front.serve(stream, key, last);
}
void HttpFront::set_open(bool open) {
  impl_->front.set_open(open);
}

}  // namespace mbsync
