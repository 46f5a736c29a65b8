#include "http_pull.h"

#include <fmt/format.h>

#include <string_view>

#include "fleet_tags.h"
#include "process_tag.h"
#include "pull_stream.h"
#include "request_memory.h"
#include "transport_tuning.h"

namespace mbsync {
namespace {

constexpr const char* kPullPath = "/sync/v1/pull";
constexpr const char* kAnswerType = "application/vnd.mbsync.pull";
constexpr const char* kRequestType = "application/json";
/// What the client calls every peer in HTTP's Host header, without the port that httplib would add: names of machines
/// are nobody's business, and need no quoting.
constexpr const char* kHostName = "mbsync";
constexpr int kPort = 1;  // nobody connects to it
constexpr int kStatusOk = 200;
constexpr int kStatusNotFound = 404;

Error refusal_in(int status, const std::string& text) {
  const auto parsed = parse_refusal(text);
  if (status != kStatusOk && parsed) {
    return refusal_error(*parsed);
  }
  return Error{ErrorKind::kRejected, fmt::format("it does not answer as mbsync does (HTTP status {})", status),
               "is this the port of mbsync?"};
}

httplib::Request request_to(const std::string& path, const std::string& body, const OwnProcess& own) {
  httplib::Request request;
  request.method = "POST";
  request.path = path;
  request.body = body;
  request.set_header("Content-Type", kRequestType);
  request.set_header("Host", kHostName);
  if (!own.tag.empty()) {
    request.set_header(kProcessTagHeader, own.tag);
  }
  if (own.port != 0) {
    request.set_header(kPortHeader, std::to_string(own.port));
  }
  return request;
}

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
  [[nodiscard]] Error refusal() const { return refusal_in(status_, text_); }

  PullDecoder decoder_;
  Result<void> result_;
  int status_ = 0;
  bool is_answer_ = false;
  std::string text_;
};

}  // namespace

HttpPull::HttpPull() : httplib::ClientImpl(kHostName, kPort) {
  set_keep_alive(true);
  set_decompress(false);
}

bool HttpPull::run_over(LimitedStream& stream, const std::function<bool(httplib::Stream&)>& callback) {
  stream_ = &stream;
  stream.limit_reads(tuning::kHttpHeadBytesMax, tuning::kHttpLineBytesMax);
  const bool ok = callback(stream);
  if (stream.exhausted() && !way_.failure) {
    way_.failure = Error{ErrorKind::kCorrupt, "it sends more headers, or a longer line between chunks, than is allowed",
                         "is this the port of mbsync?"};
  }
  stream_ = nullptr;
  return ok;
}

void HttpPull::say_of_fleet(const std::string& tag) {
  request_->headers.erase(kFleetTagHeader);  // of another try
  if (!tag.empty()) {
    request_->set_header(kFleetTagHeader, tag);
  }
}

/// httplib hands over what it has read at least every CPPHTTPLIB_RECV_BUFSIZ bytes.
void HttpPull::limit_to_next_piece() {
  stream_->limit_reads(CPPHTTPLIB_RECV_BUFSIZ + tuning::kHttpHeadBytesMax);
}

/// False: it did not go through, as far as HTTP is concerned.
bool HttpPull::exchange(httplib::Request& request) {
  way_ = {};
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
  request_ = &request;
  const bool sent = send(request, response, error);
  request_ = nullptr;
  return sent;
}

HttpPull::Outcome HttpPull::pull(const std::string& body, const PullRequest& asked, const OwnProcess& own,
                                 PullSink& sink, const StopCheck& stopped) {
  Outcome outcome;
  Receiver receiver(sink, asked);
  httplib::Request request = request_to(kPullPath, body, own);
  request.response_handler = [&](const httplib::Response& head) {
    receiver.begin(head);
    outcome.own_process = head.status == kStatusOwnProcess;
    outcome.base_unknown = head.status == kStatusBaseUnknown;
    outcome.fleet_tag = head.get_header_value(kFleetTagHeader);
    return !stopped();
  };
  request.content_receiver = [&](const char* bytes, std::size_t size, std::uint64_t /*offset*/,
                                 std::uint64_t /*total*/) {
    return !stopped() && receiver.take(std::string_view(bytes, size));
  };
  const bool sent = exchange(request);

  if (receiver.begun() && (sent || receiver.refused_bytes())) {
    outcome.result = receiver.finish();
    outcome.of_sink = !outcome.result && receiver.sink_failed();
    return outcome;
  }
  fail(outcome, stopped);
  return outcome;
}

/// What has become of an exchange that did not go through.
void HttpPull::fail(Outcome& outcome, const StopCheck& stopped) const {
  if (stopped()) {
    outcome.result = Error{ErrorKind::kCancelled, "asked to stop", ""};
    return;
  }
  outcome.again = !way_.fresh && !way_.answered && way_.failure && way_.failure->kind == ErrorKind::kTransient;
  outcome.result = way_.failure.value_or(
      Error{ErrorKind::kRejected, "it does not speak HTTP as mbsync does", "is this the port of mbsync?"});
}

HttpPull::Outcome HttpPull::ask(const std::string& path, const std::string& body, const OwnProcess& own,
                                std::size_t bytes_max, std::string& text, const StopCheck& stopped) {
  Outcome outcome;
  int status = 0;
  bool too_long = false;
  text.clear();
  httplib::Request request = request_to(path, body, own);
  request.response_handler = [&](const httplib::Response& head) {
    status = head.status;
    outcome.own_process = status == kStatusOwnProcess;
    outcome.not_there = status == kStatusNotFound;
    return !stopped();
  };
  request.content_receiver = [&](const char* bytes, std::size_t size, std::uint64_t /*offset*/,
                                 std::uint64_t /*total*/) {
    too_long = text.size() + size > (status == kStatusOk ? bytes_max : tuning::kRefusalBytesMax);
    if (stopped() || too_long) {
      return false;
    }
    text.append(bytes, size);
    return true;
  };
  const bool sent = exchange(request);
  if (too_long) {
    outcome.result = Error{ErrorKind::kCorrupt, fmt::format("it answers with more than {} bytes", bytes_max), ""};
  } else if (!sent || status == 0) {
    fail(outcome, stopped);
  } else if (status != kStatusOk) {
    outcome.result = refusal_in(status, text);
  }
  return outcome;
}

}  // namespace mbsync
