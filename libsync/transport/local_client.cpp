#include "local_client.h"

#include <fmt/format.h>
#include <netdb.h>

#include <algorithm>
#include <functional>
#include <utility>

#include "plain_stream.h"
#include "transport_tuning.h"

namespace mbsync {
namespace {

using std::chrono::steady_clock;

constexpr std::chrono::milliseconds kConnect{1'000};

/// httplib's client over a socket and a stream of our own: with its own, whoever listens at the port could answer with
/// a byte now and then, or with a head without an end, and the node that asks would wait, or grow, for as long.
class Asker : public httplib::ClientImpl {
 public:
  Asker(const LocalTarget& target, Deadline until)
      : httplib::ClientImpl(target.host, target.port), target_(target), until_(until) {
    set_decompress(false);
  }
  void body_begins() { stream_->limit_reads(kLocalReplyBytesMax + tuning::kRequestFramingBytesMax); }
  [[nodiscard]] const std::string& trouble() const { return trouble_; }

 private:
  bool create_and_connect_socket(Socket& out, httplib::Error& error) override {
    error = httplib::Error::Connection;
    std::vector<Endpoint> endpoints;
    if (system_lookup(target_.host, target_.port, AI_NUMERICHOST, endpoints) != 0) {
      trouble_ = "that is no address in numbers";
      return false;
    }
    auto socket = connect_to(endpoints, std::min(until_, steady_clock::now() + kConnect), {});
    if (!socket) {
      trouble_ = socket.error().message;
      return false;
    }
    error = httplib::Error::Success;
    out.sock = socket->release();
    return true;
  }

  bool process_socket(const Socket& socket, std::function<bool(httplib::Stream&)> callback) override {
    PlainStream stream(socket.sock, tuning::kLocalWriteSilenceMax, {});
    stream.limit_reads_until(until_);
    stream.limit_writes_until(until_);
    stream.limit_reads(tuning::kLocalHeadBytesMax, tuning::kLocalLineBytesMax);
    stream_ = &stream;
    const bool ok = callback(stream);
    stream_ = nullptr;
    if (stream.exhausted()) {
      trouble_ = "it answers more than a node does";
    } else if (steady_clock::now() >= until_) {
      trouble_ = "it has not answered in time";
    }
    return ok;
  }

  const LocalTarget& target_;
  const Deadline until_;
  LimitedStream* stream_ = nullptr;  // while there is a connection
  std::string trouble_;
};

}  // namespace

Result<LocalReply> ask_local(const LocalTarget& target, const std::string& path, const std::string& body,
                             std::chrono::milliseconds patience) {
  Asker client(target, steady_clock::now() + patience);
  LocalReply reply;
  httplib::Request request;
  request.method = body.empty() ? "GET" : "POST";
  request.path = path;
  request.body = body;
  if (!target.token.empty()) {
    request.set_header("Authorization", "Bearer " + target.token);
  }
  if (!body.empty()) {
    request.set_header("Content-Type", "application/json");
  }
  request.response_handler = [&](const httplib::Response& /*head*/) {
    client.body_begins();
    return true;
  };
  request.content_receiver = [&](const char* bytes, std::size_t size, std::uint64_t /*offset*/,
                                 std::uint64_t /*total*/) {
    reply.body.append(bytes, size);
    return reply.body.size() <= kLocalReplyBytesMax;
  };
  const auto result = client.send(request);
  if (!result) {
    return Error{ErrorKind::kTransient,
                 fmt::format("no answer at {}:{}: {}", target.host, target.port,
                             client.trouble().empty() ? httplib::to_string(result.error()) : client.trouble()),
                 ""};
  }
  reply.status = result->status;
  return reply;
}

}  // namespace mbsync
