#include "wire_cost.h"

#include <fmt/format.h>

#include <string_view>

#include "pull_stream.h"

namespace mbsync::simulation {
namespace {

// As http_client.cpp and http_server.cpp have cpp-httplib write them; %s stands for digits that vary little.
constexpr std::string_view kRequestHead =
    "POST /sync/v1/pull HTTP/1.1\r\nAccept: */*\r\nContent-Length: 12345\r\nContent-Type: application/json\r\n"
    "Host: mbsync\r\nMbsync-Process: 0123456789abcdef0123456789abcdef\r\nUser-Agent: cpp-httplib/0.11.4\r\n\r\n";
constexpr std::string_view kAnswerHead =
    "HTTP/1.1 200 OK\r\nContent-Type: application/vnd.mbsync.pull\r\nKeep-Alive: timeout=75, max=100000\r\n"
    "Transfer-Encoding: chunked\r\n\r\n";
constexpr std::string_view kLastChunk = "0\r\n\r\n";

std::size_t pieces(std::size_t bytes, std::size_t each) {
  return (bytes + each - 1) / each;
}

std::size_t chunk_bytes(std::size_t bytes) {
  return fmt::format("{:x}", bytes).size() + 4 + bytes;
}

}  // namespace

std::size_t sent_bytes(std::size_t payload) {
  const auto records = payload + pieces(payload, kRecordBytes) * kRecordHeadBytes;
  return records + (pieces(records, kSegmentBytes) + 1) * kSegmentHeadBytes;
}

std::size_t request_bytes(std::size_t body) {
  return sent_bytes(kRequestHead.size() + body);
}

std::size_t answer_bytes(std::size_t encoded, std::int64_t pings) {
  return sent_bytes(kAnswerHead.size() + chunk_bytes(encoded) + kLastChunk.size()) +
         static_cast<std::size_t>(pings) * sent_bytes(chunk_bytes(encoded_ping().size()));
}

std::size_t connection_bytes() {
  return kHandshakeClientBytes + kHandshakeServerBytes + 3 * 2 * kSegmentHeadBytes +
         kConnectionSegments * kSegmentHeadBytes;
}

}  // namespace mbsync::simulation
