#include "frame.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>

namespace mbsync {
namespace {

constexpr std::size_t kHeadBytes = 5;
constexpr std::size_t kTableEndBytes = 8;

Error corrupt(std::string message) {
  return Error{ErrorKind::kCorrupt, std::move(message), ""};
}

std::uint8_t byte_at(std::string_view bytes, std::size_t index) {
  return static_cast<std::uint8_t>(bytes[index]);
}

std::size_t payload_bytes(std::string_view head) {
  std::size_t length = 0;
  for (std::size_t i = 1; i < kHeadBytes; ++i) {
    length = (length << 8U) | byte_at(head, i);
  }
  return length;
}

/// Looks at a frame's first five bytes before any of its payload is stored.
Result<void> check_head(std::string_view head) {
  const std::uint8_t type = byte_at(head, 0);
  const std::size_t length = payload_bytes(head);
  if (type > static_cast<std::uint8_t>(FrameType::kRefusal)) {
    return corrupt(fmt::format("frame of unknown type {}", type));
  }
  if (length > kFrameBytesMax) {
    return corrupt(fmt::format("frame of {} bytes, more than {}", length, kFrameBytesMax));
  }
  const std::size_t fixed = type == static_cast<std::uint8_t>(FrameType::kPing)       ? 0
                            : type == static_cast<std::uint8_t>(FrameType::kTableEnd) ? kTableEndBytes
                                                                                      : length;
  if (length != fixed) {
    return corrupt(fmt::format("frame of type {} with {} bytes instead of {}", type, length, fixed));
  }
  return {};
}

}  // namespace

void append_frame(std::string& out, FrameType type, std::string_view payload) {
  MBSYNC_CHECK(payload.size() <= kFrameBytesMax, "frame over its limit");
  const std::size_t length = payload.size();
  out.push_back(static_cast<char>(type));
  for (unsigned shift = 32; shift > 0;) {
    shift -= 8;
    out.push_back(static_cast<char>((length >> shift) & 0xFFU));
  }
  out.append(payload);
}

std::string table_end_payload(std::int64_t rows) {
  MBSYNC_CHECK(rows >= 0, "negative number of rows");
  std::string payload;
  const auto bits = static_cast<std::uint64_t>(rows);
  for (unsigned shift = 64; shift > 0;) {
    shift -= 8;
    payload.push_back(static_cast<char>((bits >> shift) & 0xFFU));
  }
  return payload;
}

Result<std::int64_t> parse_table_end(std::string_view payload) {
  if (payload.size() != kTableEndBytes) {
    return corrupt("table end of the wrong length");
  }
  std::uint64_t bits = 0;
  for (std::size_t i = 0; i < payload.size(); ++i) {
    bits = (bits << 8U) | byte_at(payload, i);
  }
  if (bits > static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max())) {
    return corrupt("table end with a number of rows out of range");
  }
  return static_cast<std::int64_t>(bits);
}

Result<void> FrameReader::feed(std::string_view bytes) {
  while (!bytes.empty()) {
    if (ended_) {
      return corrupt("bytes after the last frame");
    }
    // A whole frame in the input needs no copy; only what straddles two inputs is kept.
    if (buffer_.empty() && bytes.size() >= kHeadBytes) {
      MBSYNC_TRY(check_head(bytes));
      const std::size_t frame = kHeadBytes + payload_bytes(bytes);
      if (bytes.size() >= frame) {
        MBSYNC_TRY(deliver(bytes.substr(0, frame)));
        bytes.remove_prefix(frame);
        continue;
      }
    }
    const std::size_t wanted = buffer_.size() < kHeadBytes ? kHeadBytes : kHeadBytes + payload_bytes(buffer_);
    const std::size_t taken = std::min(wanted - buffer_.size(), bytes.size());
    buffer_.append(bytes.substr(0, taken));
    bytes.remove_prefix(taken);
    if (buffer_.size() == kHeadBytes && wanted == kHeadBytes) {
      MBSYNC_TRY(check_head(buffer_));
    }
    if (buffer_.size() >= kHeadBytes && buffer_.size() == kHeadBytes + payload_bytes(buffer_)) {
      MBSYNC_TRY(deliver(buffer_));
      buffer_.clear();
    }
  }
  return {};
}

Result<void> FrameReader::deliver(std::string_view frame) {
  const auto type = static_cast<FrameType>(byte_at(frame, 0));
  ended_ = type == FrameType::kFooter || type == FrameType::kRefusal;
  return handler_(type, frame.substr(kHeadBytes));
}

}  // namespace mbsync
