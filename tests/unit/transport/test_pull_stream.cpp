#include <rapidcheck.h>

#include <catch2/catch.hpp>

#include "fakes.h"
#include "pull_stream.h"

using namespace mbsync;
using namespace mbsync::test;

namespace {

constexpr std::uint64_t kNoLimit = std::uint64_t{1} << 40;

ByteSink into(std::string& out) {
  return [&out](std::string_view bytes) -> Result<void> {
    out.append(bytes);
    return {};
  };
}

std::string small_stream() {
  std::string wire;
  PullEncoder encoder(into(wire));
  REQUIRE(small_answer(encoder));
  REQUIRE(encoder.complete());
  return wire;
}

/// Frames, compressed as one zstd frame without any checks.
std::string stream_of(const std::vector<std::pair<FrameType, std::string>>& frames) {
  std::string wire;
  std::string bytes;
  for (const auto& [type, payload] : frames) {
    append_frame(bytes, type, payload);
  }
  Compressor compressor(1, into(wire));
  REQUIRE(compressor.write(bytes));
  REQUIRE(compressor.finish());
  return wire;
}

/// The error's kind and text, or "ok".
std::string outcome(std::string_view wire, RecordingSink& sink, std::uint64_t bytes_max = kNoLimit) {
  PullDecoder decoder(sink, bytes_max);
  auto result = decoder.feed(wire);
  if (result) {
    result = decoder.finish();
  }
  return result ? "ok" : std::string(to_string(result.error().kind)) + ": " + result.error().message;
}

std::string outcome(std::string_view wire) {
  RecordingSink sink;
  std::string text = outcome(wire, sink);
  CHECK(sink.footers.size() == (text == "ok" ? 1U : 0U));
  return text;
}

const std::pair<FrameType, std::string>& head() {
  static const std::pair<FrameType, std::string> kHead{FrameType::kHeader, to_json(some_header())};
  return kHead;
}
std::pair<FrameType, std::string> table() {
  return {FrameType::kTable, to_json(some_table())};
}
std::pair<FrameType, std::string> rows(std::string text) {
  return {FrameType::kRows, std::move(text)};
}
std::pair<FrameType, std::string> end_of(std::int64_t count) {
  return {FrameType::kTableEnd, table_end_payload(count)};
}
std::pair<FrameType, std::string> foot(std::int64_t tables, std::int64_t count) {
  return {FrameType::kFooter, to_json(PullFooter{tables, count})};
}

}  // namespace

TEST_CASE("pull stream: what the sender says is what the receiver hears") {
  const std::string wire = small_stream();
  for (const std::size_t piece : {std::size_t{1}, std::size_t{7}, wire.size()}) {
    RecordingSink sink;
    PullDecoder decoder(sink, kNoLimit);
    for (std::size_t at = 0; at < wire.size(); at += piece) {
      REQUIRE(decoder.feed(std::string_view(wire).substr(at, piece)));
    }
    CHECK(sink.footers.empty());
    REQUIRE(decoder.finish());
    CHECK(sink.headers == std::vector<PullHeader>{some_header()});
    CHECK(sink.tables == std::vector<TableHeader>{some_table(), some_table("lines")});
    CHECK(sink.texts == std::vector<std::string>{"1\t43\t4\t-infinity\t111\tf\t\\N\t\\N\t1\ta\n"
                                                 "2\t43\t4\t-infinity\t111\tf\t\\N\t\\N\t2\tb\n",
                                                 ""});
    CHECK(sink.counts == std::vector<std::int64_t>{2, 0});
    CHECK(sink.footers == std::vector<PullFooter>{{2, 2}});
  }
}

TEST_CASE("pull stream: rows of any size, cut anywhere, arrive whole") {
  CHECK(rc::check([] {
    std::string text;
    const auto count = *rc::gen::inRange(1, 6);
    for (int i = 0; i < count; ++i) {
      text += std::string(*rc::gen::inRange<std::size_t>(0, 400'000), 'x') + "\n";
    }
    std::string wire;
    PullEncoder encoder(into(wire));
    RC_ASSERT(encoder.header(some_header()));
    RC_ASSERT(encoder.table(some_table()));
    std::string_view rest = text;
    while (!rest.empty()) {
      const auto taken = *rc::gen::inRange<std::size_t>(1, rest.size() + 1);
      RC_ASSERT(encoder.rows(rest.substr(0, taken)));
      rest.remove_prefix(taken);
    }
    RC_ASSERT(encoder.table_end(count));
    RC_ASSERT(encoder.footer({1, count}));
    RecordingSink sink;
    RC_ASSERT(outcome(wire, sink) == "ok");
    RC_ASSERT(sink.texts.at(0) == text);
  }));
}

TEST_CASE("pull stream: cut short at any byte, it is an error and no footer comes") {
  const std::string wire = encoded_ping() + small_stream();
  for (std::size_t size = 0; size < wire.size(); ++size) {
    INFO(size);
    REQUIRE(outcome(std::string_view(wire).substr(0, size)) == "transient: the answer is cut short");
  }
  CHECK(outcome(wire) == "ok");
}

TEST_CASE("pull stream: a flipped bit is an error, or changes nothing") {
  const std::string wire = small_stream();
  RecordingSink good;
  REQUIRE(outcome(wire, good) == "ok");
  for (std::size_t at = 0; at < wire.size(); ++at) {
    for (unsigned bit = 0; bit < 8; ++bit) {
      std::string damaged = wire;
      damaged[at] = static_cast<char>(damaged[at] ^ (1U << bit));
      RecordingSink sink;
      if (outcome(damaged, sink, 1 << 20) == "ok") {
        // Some bits of zstd's heads and paddings say nothing about the content; the checksum vouches for the rest.
        REQUIRE(sink.texts == good.texts);
        REQUIRE(sink.tables == good.tables);
        REQUIRE(sink.headers == good.headers);
      } else {
        REQUIRE(sink.footers.empty());
      }
    }
  }
}

TEST_CASE("pull stream: nothing may come after the end") {
  const std::string wire = small_stream();
  CHECK(outcome(wire + wire) == "corrupt: bytes after the last frame");
  CHECK(outcome(wire + encoded_ping()) == "corrupt: bytes after the last frame");
  CHECK(outcome(wire + "x") != "ok");
  CHECK(outcome(wire + stream_of({})) == "corrupt: bytes after the end of the answer");
  CHECK(outcome(wire + std::string("\x50\x2A\x4D\x18\x00\x00\x00\x00", 8)) ==
        "corrupt: bytes after the end of the answer");  // a frame that zstd skips
}

TEST_CASE("pull stream: pings may come before the header and nowhere else") {
  CHECK(outcome(encoded_ping() + encoded_ping() + small_stream()) == "ok");
  CHECK(outcome(stream_of({head(), {FrameType::kPing, ""}, foot(0, 0)})) == "corrupt: a ping inside an answer");
  std::string pings;
  for (std::uint64_t i = 0; i <= tuning::kPingsMax; ++i) {
    pings += encoded_ping();
  }
  CHECK(outcome(pings) == "corrupt: pings without end");
}

TEST_CASE("pull stream: the grammar is header (table rows* table_end)* footer") {
  CHECK(outcome(stream_of({head(), foot(0, 0)})) == "ok");
  CHECK(outcome(stream_of({head(), table(), end_of(0), foot(1, 0)})) == "ok");
  CHECK(outcome(stream_of({head(), table(), rows("a"), rows("\nb\n"), end_of(2), foot(1, 2)})) == "ok");

  CHECK(outcome(stream_of({foot(0, 0)})) == "corrupt: a footer out of order");
  CHECK(outcome(stream_of({table(), end_of(0)})) == "corrupt: a table out of order");
  CHECK(outcome(stream_of({head(), head(), foot(0, 0)})) == "corrupt: a second header");
  CHECK(outcome(stream_of({head(), rows("a\n"), foot(0, 1)})) == "corrupt: rows outside a table");
  CHECK(outcome(stream_of({head(), end_of(0), foot(0, 0)})) == "corrupt: the end of a table that was not begun");
  CHECK(outcome(stream_of({head(), table(), table(), end_of(0)})) == "corrupt: a table out of order");
  CHECK(outcome(stream_of({head(), table(), foot(0, 0)})) == "corrupt: a footer out of order");
  CHECK(outcome(stream_of({head(), table(), rows(""), end_of(0), foot(1, 0)})) == "corrupt: an empty piece of rows");
  CHECK(outcome(stream_of({{FrameType::kHeader, "{}"}})) != "ok");
  CHECK(outcome(stream_of({head(), {FrameType::kTable, "{}"}})) != "ok");
  CHECK(outcome(stream_of({head(), {FrameType::kFooter, "{}"}})) != "ok");
}

TEST_CASE("pull stream: counts that are not true are corrupt") {
  CHECK(outcome(stream_of({head(), table(), rows("a\n"), end_of(2), foot(1, 2)})) ==
        "corrupt: a table of 1 rows is said to have 2");
  CHECK(outcome(stream_of({head(), table(), rows("a\nb"), end_of(1), foot(1, 1)})) ==
        "corrupt: a table of 1 rows is said to have 1");  // the last row lacks its newline
  CHECK(outcome(stream_of({head(), table(), rows("a\n"), end_of(1), foot(1, 2)})) ==
        "corrupt: an answer of 1 tables and 1 rows is said to have 1 and 2");
  CHECK(outcome(stream_of({head(), table(), rows("a\n"), end_of(1), foot(2, 1)})) ==
        "corrupt: an answer of 1 tables and 1 rows is said to have 2 and 1");
}

TEST_CASE("pull stream: an answer that is too large is corrupt") {
  std::string wire;
  PullEncoder encoder(into(wire));
  REQUIRE(encoder.header(some_header()));
  REQUIRE(encoder.table(some_table()));
  const std::string zeros(1 << 20, '0');
  for (int i = 0; i < 64; ++i) {
    REQUIRE(encoder.rows(zeros));
  }
  REQUIRE(encoder.rows("\n"));
  REQUIRE(encoder.table_end(1));
  REQUIRE(encoder.footer({1, 1}));
  REQUIRE(wire.size() < 100'000);
  RecordingSink sink;
  CHECK_THAT(outcome(wire, sink, 1 << 20), Catch::Contains("more than 1048576 bytes after decompression"));
  CHECK(sink.texts.at(0).size() <= 1 << 20);
}

TEST_CASE("pull stream: a refusal arrives with its words, at any place") {
  const Refusal refusal{ErrorKind::kConflict, "schema of 'orders'\ndiffers", "migrate this node"};
  for (const std::string& wire : {encoded_refusal(refusal), encoded_ping() + encoded_refusal(refusal),
                                  stream_of({head(), {FrameType::kRefusal, to_json(refusal)}}),
                                  stream_of({head(), table(), rows("a\n"), {FrameType::kRefusal, to_json(refusal)}})}) {
    RecordingSink sink;
    PullDecoder decoder(sink, kNoLimit);
    const auto result = decoder.feed(wire);
    REQUIRE_FALSE(result);
    CHECK(result.error().kind == ErrorKind::kRejected);
    CHECK(result.error().message == "the peer says: schema of 'orders' differs");
    CHECK(result.error().hint == "migrate this node");
    CHECK_FALSE(decoder.sink_failed());
  }
  CHECK(refusal_error({ErrorKind::kTransient, "stopping", ""}).kind == ErrorKind::kTransient);
  CHECK(refusal_error({ErrorKind::kCancelled, "stopping", ""}).kind == ErrorKind::kTransient);
  CHECK(refusal_error({ErrorKind::kInternal, "a bug", ""}).kind == ErrorKind::kRejected);
  CHECK(outcome(stream_of({{FrameType::kRefusal, "{}"}})) != "ok");
}

TEST_CASE("pull stream: the sink's own error comes back as it is") {
  for (const char* call : {"header", "table", "rows", "table_end", "footer"}) {
    RecordingSink sink;
    sink.fail_at = call;
    PullDecoder decoder(sink, kNoLimit);
    auto result = decoder.feed(small_stream());
    if (result) {
      result = decoder.finish();
    }
    INFO(call);
    REQUIRE_FALSE(result);
    CHECK(result.error().kind == ErrorKind::kConflict);
    CHECK(result.error().message == "the sink is full");
    CHECK(decoder.sink_failed());
  }
}

TEST_CASE("pull stream: the encoder says so when it is misused") {
  std::string wire;
  const auto fresh = [&] { return PullEncoder(into(wire)); };
  {
    auto encoder = fresh();
    CHECK(encoder.table(some_table()).error().kind == ErrorKind::kInternal);
    CHECK_FALSE(encoder.footer({0, 0}));
  }
  {
    auto encoder = fresh();
    CHECK(encoder.header(some_header()));
    CHECK_FALSE(encoder.header(some_header()));
    CHECK_FALSE(encoder.rows("a\n"));
    CHECK_FALSE(encoder.footer({1, 0}));
  }
  {
    auto encoder = fresh();
    CHECK(encoder.header(some_header()));
    CHECK(encoder.table(some_table()));
    CHECK(encoder.rows("a\nb"));
    CHECK_FALSE(encoder.table_end(1));
    CHECK_FALSE(encoder.complete());
  }
  {
    auto encoder = fresh();
    PullHeader huge = some_header();
    for (std::int64_t i = 1; i <= 10'000; ++i) {
      huge.members.push_back({NodeId{i}, std::string(200, 'x')});
    }
    CHECK(encoder.header(huge).error().kind == ErrorKind::kRejected);
  }
}

TEST_CASE("pull stream: arbitrary bytes are an error, never a crash") {
  CHECK(rc::check("as they are", [](const std::string& garbage) { RC_ASSERT(outcome(garbage) != "ok"); }));
  CHECK(rc::check("inside of good compression", [](const std::string& garbage) {
    std::string wire;
    Compressor compressor(1, into(wire));
    RC_ASSERT(compressor.write(garbage));
    RC_ASSERT(compressor.finish());
    RC_ASSERT(outcome(wire) != "ok");
  }));
  CHECK(rc::check("frames in any order", [] {
    std::vector<std::pair<FrameType, std::string>> frames;
    const auto count = *rc::gen::inRange(0, 8);
    for (int i = 0; i < count; ++i) {
      frames.push_back(*rc::gen::element(head(), table(), rows("a\n"), rows("b"), end_of(0), end_of(1), foot(1, 1),
                                         std::pair<FrameType, std::string>{FrameType::kPing, ""}));
    }
    const std::string text = outcome(stream_of(frames));
    RC_ASSERT(!text.empty());
  }));
}
