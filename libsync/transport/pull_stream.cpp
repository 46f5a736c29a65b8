#include "pull_stream.h"

#include <fmt/format.h>

#include <algorithm>

#include "transport_tuning.h"

namespace mbsync {
namespace {

Error corrupt(std::string message) {
  return Error{ErrorKind::kCorrupt, std::move(message), ""};
}

Error misused(std::string message) {
  return Error{ErrorKind::kInternal, std::move(message), "please report this"};
}

/// COPY's text form writes a newline only at the end of a row.
std::int64_t count_rows(std::string_view copy_text) {
  return std::count(copy_text.begin(), copy_text.end(), '\n');
}

std::string encoded_frame(FrameType type, std::string_view payload) {
  std::string out;
  Compressor compressor(tuning::kCompressionLevel, [&out](std::string_view bytes) -> Result<void> {
    out.append(bytes);
    return {};
  });
  std::string frame;
  append_frame(frame, type, payload);
  MBSYNC_CHECK(compressor.write(frame) && compressor.finish(), "a frame in memory cannot be compressed");
  return out;
}

std::string without_control_characters(std::string text) {
  std::replace_if(
      text.begin(), text.end(), [](unsigned char c) { return c < 0x20 || c == 0x7F; }, ' ');
  return text;
}

}  // namespace

PullEncoder::PullEncoder(ByteSink sink, PullRequest asked)
    : asked_(std::move(asked)), compressor_(tuning::kCompressionLevel, std::move(sink)) {}

Result<void> PullEncoder::expect(State state, std::string_view call) const {
  if (state_ != state) {
    return misused(fmt::format("{}() out of order in the answer to a pull", call));
  }
  return {};
}

Result<void> PullEncoder::put(FrameType type, std::string_view payload) {
  if (payload.size() > kFrameBytesMax) {
    return Error{ErrorKind::kRejected,
                 fmt::format("a message of {} bytes, more than {}, cannot be sent", payload.size(), kFrameBytesMax),
                 "the fleet, or one of its tables, is larger than this protocol carries"};
  }
  frame_.clear();
  append_frame(frame_, type, payload);
  return compressor_.write(frame_);
}

Result<void> PullEncoder::put_rows() {
  if (rows_.empty()) {
    return {};
  }
  MBSYNC_TRY(put(FrameType::kRows, rows_));
  rows_.clear();
  return {};
}

Result<void> PullEncoder::header(const PullHeader& header) {
  MBSYNC_TRY(expect(State::kStart, "header"));
  state_ = State::kTables;
  return put(FrameType::kHeader, to_json(header, asked_));
}

Result<void> PullEncoder::table(const TableHeader& table) {
  MBSYNC_TRY(expect(State::kTables, "table"));
  state_ = State::kRows;
  table_rows_ = 0;
  return put(FrameType::kTable, to_json(table));
}

Result<void> PullEncoder::rows(std::string_view copy_text) {
  MBSYNC_TRY(expect(State::kRows, "rows"));
  if (copy_text.empty()) {
    return {};
  }
  table_rows_ += count_rows(copy_text);
  line_open_ = copy_text.back() != '\n';
  while (!copy_text.empty()) {
    const std::size_t taken = std::min(kRowsFrameBytes - rows_.size(), copy_text.size());
    rows_.append(copy_text.substr(0, taken));
    copy_text.remove_prefix(taken);
    if (rows_.size() == kRowsFrameBytes) {
      MBSYNC_TRY(put_rows());
    }
  }
  return {};
}

Result<void> PullEncoder::table_end(std::int64_t rows) {
  MBSYNC_TRY(expect(State::kRows, "table_end"));
  if (rows != table_rows_ || line_open_) {
    return misused(fmt::format("a table of {} rows is said to have {}", table_rows_, rows));
  }
  MBSYNC_TRY(put_rows());
  state_ = State::kTables;
  seen_.tables += 1;
  seen_.rows += rows;
  return put(FrameType::kTableEnd, table_end_payload(rows));
}

Result<void> PullEncoder::footer(const PullFooter& footer) {
  MBSYNC_TRY(expect(State::kTables, "footer"));
  if (footer != seen_) {
    return misused(fmt::format("an answer of {} tables and {} rows is said to have {} and {}", seen_.tables, seen_.rows,
                               footer.tables, footer.rows));
  }
  state_ = State::kDone;
  MBSYNC_TRY(put(FrameType::kFooter, to_json(footer)));
  return compressor_.finish();
}

const std::string& encoded_ping() {
  static const std::string kPing = encoded_frame(FrameType::kPing, "");
  return kPing;
}

std::string encoded_refusal(const Refusal& refusal) {
  return encoded_frame(FrameType::kRefusal, to_json(refusal));
}

Error refusal_error(const Refusal& refusal) {
  const bool passes = refusal.kind == ErrorKind::kTransient || refusal.kind == ErrorKind::kInDoubt ||
                      refusal.kind == ErrorKind::kCancelled;
  return Error{passes ? ErrorKind::kTransient : ErrorKind::kRejected,
               "the peer says: " + without_control_characters(refusal.message),
               without_control_characters(refusal.hint)};
}

PullDecoder::PullDecoder(PullSink& sink, std::uint64_t bytes_max, PullRequest asked)
    : sink_(&sink),
      asked_(std::move(asked)),
      reader_([this](FrameType type, std::string_view payload) { return take(type, payload); }),
      decompressor_(bytes_max, [this](std::string_view bytes) { return reader_.feed(bytes); }) {}

Result<void> PullDecoder::feed(std::string_view bytes) {
  return decompressor_.write(bytes);
}

Result<void> PullDecoder::finish() {
  if (state_ != State::kFooter || !decompressor_.finished()) {
    return Error{ErrorKind::kTransient, "the answer is cut short", ""};
  }
  // The footer's zstd frame must be the last one, even if those behind it hold nothing.
  if (decompressor_.frames() != frames_before_footer_ + 1) {
    return corrupt("bytes after the end of the answer");
  }
  return from_sink(sink_->footer(seen_));
}

Result<void> PullDecoder::from_sink(Result<void> result) {
  sink_failed_ = !result;
  return result;
}

Result<void> PullDecoder::take(FrameType type, std::string_view payload) {
  switch (type) {
    case FrameType::kPing:
      if (state_ != State::kStart || ++pings_ > tuning::kPingsMax) {
        return corrupt(state_ != State::kStart ? "a ping inside an answer" : "pings without end");
      }
      return {};
    case FrameType::kHeader:
      return take_header(payload);
    case FrameType::kTable:
      return take_table(payload);
    case FrameType::kRows:
      return take_rows(payload);
    case FrameType::kTableEnd:
      return take_table_end(payload);
    case FrameType::kFooter:
      return take_footer(payload);
    case FrameType::kRefusal: {
      const auto refusal = parse_refusal(payload);
      return refusal ? refusal_error(*refusal) : refusal.error();
    }
  }
  return corrupt("frame of unknown type");
}

Result<void> PullDecoder::take_header(std::string_view payload) {
  if (state_ != State::kStart) {
    return corrupt("a second header");
  }
  const auto header = parse_pull_header(payload, asked_);
  if (!header) {
    return header.error();
  }
  state_ = State::kTables;
  return from_sink(sink_->header(*header));
}

Result<void> PullDecoder::take_table(std::string_view payload) {
  if (state_ != State::kTables) {
    return corrupt("a table out of order");
  }
  const auto table = parse_table_header(payload);
  if (!table) {
    return table.error();
  }
  state_ = State::kRows;
  table_rows_ = 0;
  return from_sink(sink_->table(*table));
}

Result<void> PullDecoder::take_rows(std::string_view payload) {
  if (state_ != State::kRows) {
    return corrupt("rows outside a table");
  }
  if (payload.empty()) {
    return corrupt("an empty piece of rows");
  }
  table_rows_ += count_rows(payload);
  line_open_ = payload.back() != '\n';
  return from_sink(sink_->rows(payload));
}

Result<void> PullDecoder::take_table_end(std::string_view payload) {
  if (state_ != State::kRows) {
    return corrupt("the end of a table that was not begun");
  }
  const auto rows = parse_table_end(payload);
  if (!rows) {
    return rows.error();
  }
  if (*rows != table_rows_ || line_open_) {
    return corrupt(fmt::format("a table of {} rows is said to have {}", table_rows_, *rows));
  }
  state_ = State::kTables;
  seen_.tables += 1;
  seen_.rows += *rows;
  return from_sink(sink_->table_end(*rows));
}

Result<void> PullDecoder::take_footer(std::string_view payload) {
  if (state_ != State::kTables) {
    return corrupt("a footer out of order");
  }
  const auto footer = parse_pull_footer(payload);
  if (!footer) {
    return footer.error();
  }
  if (*footer != seen_) {
    return corrupt(fmt::format("an answer of {} tables and {} rows is said to have {} and {}", seen_.tables, seen_.rows,
                               footer->tables, footer->rows));
  }
  // Held back until finish(): the checksum that vouches for it is still to come.
  state_ = State::kFooter;
  frames_before_footer_ = decompressor_.frames();
  return {};
}

}  // namespace mbsync
