// A whole answer. Inputs that begin with 'z' are its bytes as they cross the wire; of all others, the rest behind the
// first byte is packed first, since no chance finds a right checksum.
#include "compress.h"
#include "fuzz.h"
#include "pull_stream.h"

namespace mbsync::fuzz {
namespace {

constexpr std::uint64_t kBytesMax = std::uint64_t{1} << 20;

/// Writes down what it is given, and checks that the calls come in order.
class Record : public PullSink {
 public:
  Result<void> header(const PullHeader& header) override {
    FUZZ_EXPECT(!header_, "a second header");
    header_ = header;
    return {};
  }
  Result<void> table(const TableHeader& table) override {
    FUZZ_EXPECT(header_ && !open_ && !footer_, "a table out of order");
    open_ = true;
    tables_.push_back({table, "", 0});
    return {};
  }
  Result<void> rows(std::string_view copy_text) override {
    FUZZ_EXPECT(open_ && !copy_text.empty(), "rows out of order");
    tables_.back().text.append(copy_text);
    return {};
  }
  Result<void> table_end(std::int64_t rows) override {
    FUZZ_EXPECT(open_, "the end of a table that was not begun");
    const auto& text = tables_.back().text;
    FUZZ_EXPECT(std::count(text.begin(), text.end(), '\n') == rows, "a wrong number of rows was taken");
    open_ = false;
    tables_.back().rows = rows;
    return {};
  }
  Result<void> footer(const PullFooter& footer) override {
    FUZZ_EXPECT(header_ && !open_ && !footer_, "a footer out of order");
    FUZZ_EXPECT(footer.tables == static_cast<std::int64_t>(tables_.size()), "a wrong number of tables was taken");
    footer_ = footer;
    return {};
  }

  /// All of it once more.
  Result<void> tell(PullSink& sink) const {
    MBSYNC_TRY(sink.header(*header_));
    for (const auto& table : tables_) {
      MBSYNC_TRY(sink.table(table.header));
      if (!table.text.empty()) {
        MBSYNC_TRY(sink.rows(table.text));
      }
      MBSYNC_TRY(sink.table_end(table.rows));
    }
    return sink.footer(*footer_);
  }

  bool operator==(const Record& other) const {
    return header_ == other.header_ && tables_ == other.tables_ && footer_ == other.footer_;
  }

 private:
  struct Table {
    TableHeader header;
    std::string text;
    std::int64_t rows = 0;
    bool operator==(const Table&) const = default;
  };
  std::optional<PullHeader> header_;
  std::vector<Table> tables_;
  std::optional<PullFooter> footer_;
  bool open_ = false;
};

bool taken(std::string_view bytes, Record& record) {
  PullDecoder decoder(record, kBytesMax);
  const bool all = in_pieces(bytes, [&](std::string_view piece) {
    const auto fed = decoder.feed(piece);
    FUZZ_EXPECT(fed || !decoder.sink_failed(), "the sink is blamed for what came");
    return fed.has_value();
  });
  return all && decoder.finish();
}

std::string packed(std::string_view bytes) {
  std::string out;
  Compressor compressor(1, [&](std::string_view piece) -> Result<void> {
    out.append(piece);
    return {};
  });
  FUZZ_EXPECT(compressor.write(bytes) && compressor.finish(), "cannot compress");
  return out;
}

}  // namespace

void run(std::string_view input) {
  if (input.empty()) {
    return;
  }
  const std::string_view behind = input.substr(1);
  const std::string bytes = input.front() == 'z' ? std::string(behind) : packed(behind);
  Record record;
  if (!taken(bytes, record)) {
    return;
  }
  std::string again;
  PullEncoder encoder([&](std::string_view piece) -> Result<void> {
    again.append(piece);
    return {};
  });
  FUZZ_EXPECT(record.tell(encoder) && encoder.complete(), "an answer that was taken cannot be sent on");
  Record back;
  FUZZ_EXPECT(taken(again, back) && back == record, "an answer that was taken does not survive being sent on");
}

}  // namespace mbsync::fuzz
