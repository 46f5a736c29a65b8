// The frames that a pull's answer is made of. One frame: 1 byte type, 4 bytes length (big endian), payload. On the wire
// they are inside zstd frames with a checksum: one for each ping, one for the rest. PROTOCOL.md has the grammar and a
// worked example.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

#include "message.h"
#include "protocol_limits.h"

namespace mbsync {

enum class FrameType : std::uint8_t {
  kPing = 0,      ///< empty; says "still working on it"; anywhere before the header
  kHeader = 1,    ///< PullHeader
  kTable = 2,     ///< TableHeader
  kRows = 3,      ///< a piece of the table's COPY text, cut anywhere
  kTableEnd = 4,  ///< 8 bytes: number of rows of this table, big endian
  kFooter = 5,    ///< PullFooter; nothing follows
  kRefusal = 6,   ///< Refusal in place of the header or of the rest; nothing follows
};

inline constexpr std::size_t kFrameBytesMax = kMessageBytesMax;          ///< longest payload of any frame
inline constexpr std::size_t kRowsFrameBytes = std::size_t{256} * 1024;  ///< how large a kRows frame is made

/// Appends one frame to `out`. The payload is at most kFrameBytesMax.
void append_frame(std::string& out, FrameType type, std::string_view payload);

/// The payload of a kTableEnd frame.
std::string table_end_payload(std::int64_t rows);
Result<std::int64_t> parse_table_end(std::string_view payload);

/// Takes decompressed bytes in pieces of any size and hands out whole frames; holds at most one frame in memory.
class FrameReader {
 public:
  using Handler = std::function<Result<void>(FrameType, std::string_view payload)>;
  explicit FrameReader(Handler handler) : handler_(std::move(handler)) {}

  /// `corrupt` for an unknown type, a payload over the limit, or bytes after the footer or refusal; else the handler's
  /// error. After an error the reader is of no use any more.
  Result<void> feed(std::string_view bytes);
  /// Whether the last byte fed ended a frame.
  [[nodiscard]] bool at_boundary() const { return buffer_.empty(); }

 private:
  Result<void> deliver(std::string_view frame);

  Handler handler_;
  std::string buffer_;  ///< the part of a frame that has come so far
  bool ended_ = false;
};

}  // namespace mbsync
