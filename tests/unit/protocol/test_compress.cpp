#include <rapidcheck.h>

#include <catch2/catch.hpp>

#include "compress.h"

using namespace mbsync;

namespace {

constexpr std::uint64_t kNoLimit = std::uint64_t{1} << 40;

ByteSink into(std::string& out) {
  return [&out](std::string_view bytes) -> Result<void> {
    out.append(bytes);
    return {};
  };
}

std::string compressed(std::string_view bytes, int level = 1) {
  std::string out;
  Compressor compressor(level, into(out));
  REQUIRE(compressor.write(bytes));
  REQUIRE(compressor.finish());
  return out;
}

std::string noise(std::size_t size) {
  std::string out;
  std::uint64_t state = 88172645463325252U;
  while (out.size() < size) {
    state ^= state << 13U;
    state ^= state >> 7U;
    state ^= state << 17U;
    out.push_back(static_cast<char>(state));
  }
  return out;
}

}  // namespace

TEST_CASE("compress: what goes in comes out, in pieces of any size") {
  CHECK(rc::check([](const std::vector<std::string>& pieces, bool flush) {
    std::string wire;
    std::string whole;
    Compressor compressor(1, into(wire));
    for (const auto& piece : pieces) {
      whole += piece;
      RC_ASSERT(compressor.write(piece));
      if (flush) {
        RC_ASSERT(compressor.flush());
      }
    }
    RC_ASSERT(compressor.finish());
    std::string out;
    Decompressor decompressor(kNoLimit, into(out));
    const auto size = *rc::gen::inRange<std::size_t>(1, wire.size() + 1);
    for (std::size_t at = 0; at < wire.size(); at += size) {
      RC_ASSERT(!decompressor.finished());
      RC_ASSERT(decompressor.write(std::string_view(wire).substr(at, size)));
    }
    RC_ASSERT(out == whole);
    RC_ASSERT(decompressor.finished());
  }));
}

TEST_CASE("compress: flushed bytes can be read before the frame ends") {
  std::string wire;
  std::string out;
  Compressor compressor(1, into(wire));
  Decompressor decompressor(kNoLimit, into(out));
  REQUIRE(compressor.write("ping"));
  REQUIRE(compressor.flush());
  REQUIRE(decompressor.write(wire));
  CHECK(out == "ping");
  CHECK_FALSE(decompressor.finished());
}

TEST_CASE("compress: frames may follow each other") {
  std::string wire;
  Compressor compressor(1, into(wire));
  REQUIRE(compressor.write("one"));
  REQUIRE(compressor.finish());
  REQUIRE(compressor.write("two"));
  REQUIRE(compressor.finish());
  std::string out;
  Decompressor decompressor(kNoLimit, into(out));
  REQUIRE(decompressor.write(wire));
  CHECK(out == "onetwo");
  CHECK(decompressor.frames() == 2);
  CHECK(decompressor.finished());
}

TEST_CASE("compress: a bomb ends at the limit") {
  const std::string bomb = compressed(std::string(64 << 20, '\0'));
  REQUIRE(bomb.size() < 100'000);
  std::size_t passed = 0;
  Decompressor decompressor(1 << 20, [&](std::string_view bytes) -> Result<void> {
    passed += bytes.size();
    return {};
  });
  const auto result = decompressor.write(bomb);
  REQUIRE_FALSE(result);
  CHECK(result.error().kind == ErrorKind::kCorrupt);
  CHECK(passed <= 1 << 20);
}

TEST_CASE("compress: exactly the limit is allowed") {
  std::string out;
  Decompressor decompressor(1000, into(out));
  CHECK(decompressor.write(compressed(std::string(1000, 'x'))));
  CHECK(decompressor.finished());
}

TEST_CASE("compress: a window larger than 8 MiB is refused") {
  // Level 22 takes a window of 128 MiB when it does not know the size beforehand.
  const std::string wire = compressed("hello", 22);
  std::string out;
  Decompressor decompressor(kNoLimit, into(out));
  CHECK_FALSE(decompressor.write(wire));
}

TEST_CASE("compress: a flipped bit never passes unnoticed") {
  const std::string original = "the quick brown fox " + noise(200);
  const std::string wire = compressed(original);
  for (std::size_t at = 0; at < wire.size(); ++at) {
    for (unsigned bit = 0; bit < 8; ++bit) {
      std::string damaged = wire;
      damaged[at] = static_cast<char>(damaged[at] ^ (1U << bit));
      std::string out;
      Decompressor decompressor(1 << 20, into(out));
      const bool taken = decompressor.write(damaged) && decompressor.finished();
      INFO("byte " << at << " bit " << bit);
      REQUIRE((!taken || out == original));  // an unused bit of the frame's head may flip without harm
    }
  }
}

TEST_CASE("compress: a frame that is cut short is not finished") {
  const std::string wire = compressed(noise(300));
  for (std::size_t size = 0; size < wire.size(); ++size) {
    std::string out;
    Decompressor decompressor(kNoLimit, into(out));
    const auto result = decompressor.write(std::string_view(wire).substr(0, size));
    REQUIRE((!result || !decompressor.finished()));
  }
}

TEST_CASE("compress: the sink's error comes back") {
  const ByteSink full = [](std::string_view) -> Result<void> { return Error{ErrorKind::kTransient, "full", ""}; };
  Compressor compressor(1, full);
  REQUIRE(compressor.write("x"));
  CHECK(compressor.finish().error().message == "full");
  Decompressor decompressor(kNoLimit, full);
  CHECK(decompressor.write(compressed("x")).error().message == "full");
}

TEST_CASE("compress: arbitrary bytes are an error or unfinished") {
  CHECK(rc::check([](const std::string& garbage) {
    std::string out;
    Decompressor decompressor(1 << 20, into(out));
    RC_ASSERT((!decompressor.write(garbage) || !decompressor.finished() || out.empty()));
  }));
}
