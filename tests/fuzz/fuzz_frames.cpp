// The frames of an answer, after decompression.
#include "frame.h"
#include "fuzz.h"

namespace mbsync::fuzz {
namespace {

struct Outcome {
  std::vector<std::pair<FrameType, std::string>> frames;
  bool failed = false;
  bool at_boundary = false;
  bool operator==(const Outcome&) const = default;
};

class Reading {
 public:
  bool feed(std::string_view bytes) {
    outcome_.failed = !reader_.feed(bytes);
    return !outcome_.failed;
  }
  Outcome outcome() {
    outcome_.at_boundary = !outcome_.failed && reader_.at_boundary();
    return outcome_;
  }

 private:
  Outcome outcome_;
  FrameReader reader_{[this](FrameType type, std::string_view payload) -> Result<void> {
    outcome_.frames.emplace_back(type, payload);
    return {};
  }};
};

}  // namespace

void run(std::string_view input) {
  Reading whole;
  whole.feed(input);
  const Outcome outcome = whole.outcome();
  Reading piecewise;
  in_pieces(input, [&](std::string_view piece) { return piecewise.feed(piece); });
  FUZZ_EXPECT(piecewise.outcome() == outcome, "where the bytes are cut makes a difference");

  std::string again;
  for (const auto& [type, payload] : outcome.frames) {
    FUZZ_EXPECT(payload.size() <= kFrameBytesMax, "a frame over the limit was taken");
    append_frame(again, type, payload);
    if (type == FrameType::kTableEnd) {
      const auto rows = parse_table_end(payload);
      FUZZ_EXPECT(!rows || table_end_payload(*rows) == payload, "one number of rows, two forms");
    }
  }
  FUZZ_EXPECT(input.starts_with(again), "frames were made up");
  FUZZ_EXPECT(!outcome.at_boundary || again == input, "bytes were passed over");
}

}  // namespace mbsync::fuzz
