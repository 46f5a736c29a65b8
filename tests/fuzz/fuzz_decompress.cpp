// zstd as it comes in. The limit is low here, so that a bomb is found at once.
#include "compress.h"
#include "fuzz.h"

namespace mbsync::fuzz {
namespace {

constexpr std::uint64_t kBytesMax = std::uint64_t{64} << 10;

struct Unpacked {
  std::string bytes;
  bool failed = false;
  bool finished = false;
};

class Unpacking {
 public:
  bool feed(std::string_view bytes) {
    unpacked_.failed = !decompressor_.write(bytes);
    return !unpacked_.failed;
  }
  Unpacked outcome() {
    unpacked_.finished = !unpacked_.failed && decompressor_.finished();
    return unpacked_;
  }

 private:
  Unpacked unpacked_;
  Decompressor decompressor_{kBytesMax, [this](std::string_view bytes) -> Result<void> {
                               unpacked_.bytes.append(bytes);
                               FUZZ_EXPECT(unpacked_.bytes.size() <= kBytesMax, "more came out than the limit allows");
                               return {};
                             }};
};

std::string packed(std::string_view bytes) {
  std::string out;
  Compressor compressor(1, [&](std::string_view piece) -> Result<void> {
    out.append(piece);
    return {};
  });
  FUZZ_EXPECT(in_pieces(bytes, [&](std::string_view piece) { return compressor.write(piece).has_value(); }),
              "cannot compress");
  FUZZ_EXPECT(compressor.finish(), "cannot end a frame");
  return out;
}

}  // namespace

void run(std::string_view input) {
  Unpacking whole;
  whole.feed(input);
  const Unpacked outcome = whole.outcome();
  Unpacking piecewise;
  in_pieces(input, [&](std::string_view piece) { return piecewise.feed(piece); });
  const Unpacked in_pieces_too = piecewise.outcome();
  // Of what no compressor makes, zstd notices less when it comes in pieces: that a frame holds less than it announced,
  // for example. What it vouches for has to be the same.
  FUZZ_EXPECT(!outcome.finished || !in_pieces_too.finished || outcome.bytes == in_pieces_too.bytes,
              "where the bytes are cut makes a difference");

  if (input.size() <= kBytesMax) {
    Unpacking back;
    FUZZ_EXPECT(back.feed(packed(input)), "what was compressed cannot be decompressed");
    const Unpacked same = back.outcome();
    FUZZ_EXPECT(same.finished && same.bytes == input, "what was compressed comes back as something else");
  }
}

}  // namespace mbsync::fuzz
