// A pull's answer on the wire: PullSink calls -> frames -> zstd -> bytes, and back. No network here; both ends are
// tested against each other in memory. (PROTOCOL.md "answer")
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "compress.h"
#include "frame.h"
#include "pull_sink.h"

namespace mbsync {

/// The sender's end. Checks that the calls come in order and that the counts are true: `internal` otherwise, since then
/// the caller is wrong. After footer() the answer is complete.
class PullEncoder : public PullSink {
 public:
  /// `asked`: the request that is answered; the header says only what is other than there.
  explicit PullEncoder(ByteSink sink, PullRequest asked = {});

  Result<void> header(const PullHeader& header) override;
  Result<void> table(const TableHeader& table) override;
  Result<void> rows(std::string_view copy_text) override;
  Result<void> table_end(std::int64_t rows) override;
  Result<void> footer(const PullFooter& footer) override;

  [[nodiscard]] bool complete() const { return state_ == State::kDone; }

 private:
  enum class State { kStart, kTables, kRows, kDone };
  Result<void> expect(State state, std::string_view call) const;
  Result<void> put(FrameType type, std::string_view payload);
  Result<void> put_rows();

  const PullRequest asked_;
  Compressor compressor_;
  State state_ = State::kStart;
  std::string rows_;   ///< COPY text that has not filled a frame yet
  std::string frame_;  ///< reused
  std::int64_t table_rows_ = 0;
  bool line_open_ = false;  ///< the last row lacks its newline
  PullFooter seen_;
};

/// A ping, and a refusal, ready to be sent: each a zstd frame of its own, so that they can stand in front of an answer
/// that is still being made.
const std::string& encoded_ping();
std::string encoded_refusal(const Refusal& refusal);

/// What a refusal means for the one who was refused: `transient` if the peer says so or is stopping, else `rejected`;
/// the peer's words without control characters.
Error refusal_error(const Refusal& refusal);

/// The receiver's end.
class PullDecoder {
 public:
  /// More than `bytes_max` after decompression is `corrupt`. `asked`: the request that is answered.
  PullDecoder(PullSink& sink, std::uint64_t bytes_max, PullRequest asked = {});
  PullDecoder(const PullDecoder&) = delete;
  PullDecoder& operator=(const PullDecoder&) = delete;

  /// Takes bytes in pieces of any size. `corrupt` for anything that an encoder would not have made, the refusal's
  /// error, or the sink's own. Nothing may be fed after an error.
  Result<void> feed(std::string_view bytes);

  /// To be called at the end of the stream: hands the footer to the sink, if everything is there and right, and only
  /// then. `transient` if the answer is cut short.
  Result<void> finish();

  /// The last error came from the sink, not from the bytes.
  [[nodiscard]] bool sink_failed() const { return sink_failed_; }

 private:
  enum class State { kStart, kTables, kRows, kFooter };
  Result<void> take(FrameType type, std::string_view payload);
  Result<void> take_header(std::string_view payload);
  Result<void> take_table(std::string_view payload);
  Result<void> take_rows(std::string_view payload);
  Result<void> take_table_end(std::string_view payload);
  Result<void> take_footer(std::string_view payload);
  Result<void> from_sink(Result<void> result);

  PullSink* sink_;
  const PullRequest asked_;
  FrameReader reader_;
  Decompressor decompressor_;
  State state_ = State::kStart;
  std::uint64_t pings_ = 0;
  std::int64_t table_rows_ = 0;
  bool line_open_ = false;
  PullFooter seen_;
  std::uint64_t frames_before_footer_ = 0;
  bool sink_failed_ = false;
};

}  // namespace mbsync
