#include "local_client.h"

#include <fmt/format.h>
#include <httplib.h>

#include <utility>

namespace mbsync {
namespace {

constexpr std::chrono::milliseconds kConnect{1'000};

std::pair<time_t, time_t> split(std::chrono::milliseconds time) {
  const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(time);
  return {seconds.count(), std::chrono::microseconds(time - seconds).count()};
}

}  // namespace

Result<LocalReply> ask_local(const LocalTarget& target, const std::string& path, const std::string& body,
                             std::chrono::milliseconds patience) {
  httplib::Client client(target.host, target.port);
  const auto [connect_s, connect_us] = split(kConnect);
  client.set_connection_timeout(connect_s, connect_us);
  const auto [read_s, read_us] = split(patience);
  client.set_read_timeout(read_s, read_us);
  httplib::Headers headers;
  if (!target.token.empty()) {
    headers.emplace("Authorization", "Bearer " + target.token);
  }
  LocalReply reply;
  httplib::Request request;
  request.method = body.empty() ? "GET" : "POST";
  request.path = path;
  request.headers = std::move(headers);
  request.body = body;
  if (!body.empty()) {
    request.set_header("Content-Type", "application/json");
  }
  request.content_receiver = [&](const char* bytes, std::size_t size, std::uint64_t /*offset*/,
                                 std::uint64_t /*total*/) {
    reply.body.append(bytes, size);
    return reply.body.size() <= kLocalReplyBytesMax;
  };
  const auto result = client.send(request);
  if (!result) {
    return Error{ErrorKind::kTransient,
                 fmt::format("no answer at {}:{}: {}", target.host, target.port, httplib::to_string(result.error())),
                 ""};
  }
  reply.status = result->status;
  return reply;
}

}  // namespace mbsync
