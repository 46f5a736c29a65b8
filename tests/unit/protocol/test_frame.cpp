#include <rapidcheck.h>

#include <catch2/catch.hpp>
#include <utility>

#include "frame.h"

using namespace mbsync;

namespace {

using Frames = std::vector<std::pair<FrameType, std::string>>;

struct Reading {
  Frames frames;
  FrameReader reader{[this](FrameType type, std::string_view payload) -> Result<void> {
    frames.emplace_back(type, payload);
    return {};
  }};
};

std::string head(unsigned type, std::uint32_t length) {
  std::string out(1, static_cast<char>(type));
  for (unsigned shift : {24U, 16U, 8U, 0U}) {
    out.push_back(static_cast<char>((length >> shift) & 0xFFU));
  }
  return out;
}

}  // namespace

TEST_CASE("frame: one type byte, four length bytes with the highest first, the payload") {
  std::string out;
  append_frame(out, FrameType::kTable, "abc");
  CHECK(out == std::string("\x02\x00\x00\x00\x03"
                           "abc",
                           8));
  CHECK(table_end_payload(258) == std::string("\0\0\0\0\0\0\1\2", 8));
  CHECK(parse_table_end(table_end_payload(258)).value() == 258);
  CHECK_FALSE(parse_table_end(std::string(8, '\xff')));
  CHECK_FALSE(parse_table_end("1234567"));
}

TEST_CASE("frame: the example of PROTOCOL.md") {
  PullRequest asked;
  asked.seen = VersionVector({{NodeId{0x1a}, 17}, {NodeId{0x2b}, 4}});
  asked.members = {{NodeId{0x1a}, "kasse-1"}, {NodeId{0x2b}, "büro"}};
  PullHeader header;
  header.sender = {NodeId{0x2b}, "büro"};
  header.seen = VersionVector({{NodeId{0x1a}, 17}, {NodeId{0x2b}, 5}});
  header.members = asked.members;
  header.reports = {{NodeId{0x1a}, asked.seen}, {NodeId{0x2b}, header.seen}};
  header.forgotten = VersionVector({{NodeId{0x1a}, 17}, {NodeId{0x2b}, 4}});
  header.sent_at_us = 1'700'000'000'000'123;
  const TableHeader table{"public", "orders", {"id"}, {{"id", "bigint"}, {"note", "text"}}, {1, 2}};
  CHECK(to_json(header, asked) ==
        R"({"ask_again":false,"forgotten":{"000000000000002b":4},"full":false,"members":[],"others_have_all":true,)"
        R"("reports":{"000000000000001a":{"000000000000002b":4}},"seen":{"000000000000002b":5},)"
        R"("sender":{"id":"000000000000002b","name":"büro"},"sent_at_us":1700000000000123})");
  CHECK(to_json(table) == R"({"columns":[{"name":"id","type":"bigint"},{"name":"note","type":"text"}],)"
                          R"("key":["id"],"name":"orders","numbers":[1,2],"schema":"public"})");
  const std::string row = "7\t43\t5\t2023-11-14 22:13:20+00\t111\tf\t\\N\t\\N\t7\tpaid\n";
  std::string out;
  append_frame(out, FrameType::kPing, "");
  append_frame(out, FrameType::kHeader, to_json(header, asked));
  append_frame(out, FrameType::kTable, to_json(table));
  append_frame(out, FrameType::kRows, row);
  append_frame(out, FrameType::kTableEnd, table_end_payload(1));
  append_frame(out, FrameType::kFooter, to_json(PullFooter{1, 1}));
  CHECK(out == head(0, 0) + head(1, 0x10b) + to_json(header, asked) + head(2, 0x88) + to_json(table) + head(3, 0x31) +
                   row + head(4, 8) + std::string(7, '\0') + '\1' + head(5, 0x15) + R"({"rows":1,"tables":1})");
}

TEST_CASE("frame: whatever the pieces, the same frames come out") {
  CHECK(rc::check([] {
    Frames frames;
    std::string bytes;
    for (const auto& payload : *rc::gen::container<std::vector<std::string>>(rc::gen::string<std::string>())) {
      frames.emplace_back(*rc::gen::element(FrameType::kHeader, FrameType::kRows, FrameType::kTable), payload);
    }
    frames.emplace_back(FrameType::kFooter, "end");
    for (const auto& [type, payload] : frames) {
      append_frame(bytes, type, payload);
    }
    Reading reading;
    std::string_view rest = bytes;
    while (!rest.empty()) {
      const auto taken = *rc::gen::inRange<std::size_t>(1, rest.size() + 1);
      RC_ASSERT(reading.reader.feed(rest.substr(0, taken)));
      rest.remove_prefix(taken);
    }
    RC_ASSERT(reading.frames == frames);
    RC_ASSERT(reading.reader.at_boundary());
  }));
}

TEST_CASE("frame: a head is judged before anything behind it is taken") {
  Reading reading;
  CHECK_THAT(reading.reader.feed(head(3, 0xFFFFFFFF)).error().message, Catch::Contains("more than"));
  CHECK_FALSE(Reading().reader.feed(head(3, kFrameBytesMax + 1)));
  CHECK(Reading().reader.feed(head(3, kFrameBytesMax)));
  CHECK_FALSE(Reading().reader.feed(head(7, 0)));
  CHECK_FALSE(Reading().reader.feed(head(255, 0)));
  CHECK_FALSE(Reading().reader.feed(head(0, 1)));  // a ping holds nothing
  CHECK_FALSE(Reading().reader.feed(head(4, 7)));  // a table's end holds eight bytes
  Reading slowly;
  const std::string bad = head(3, kFrameBytesMax + 1);
  for (std::size_t i = 0; i + 1 < bad.size(); ++i) {
    CHECK(slowly.reader.feed(bad.substr(i, 1)));
  }
  CHECK_FALSE(slowly.reader.feed(bad.substr(bad.size() - 1)));
}

TEST_CASE("frame: nothing follows a footer or a refusal") {
  for (const FrameType last : {FrameType::kFooter, FrameType::kRefusal}) {
    std::string bytes;
    append_frame(bytes, last, "{}");
    Reading together;
    CHECK_FALSE(together.reader.feed(bytes + '\0'));
    Reading apart;
    CHECK(apart.reader.feed(bytes));
    CHECK_FALSE(apart.reader.feed(std::string(1, '\0')));
  }
}

TEST_CASE("frame: the handler's error is the reader's") {
  FrameReader reader([](FrameType, std::string_view) -> Result<void> {
    return Error{ErrorKind::kConflict, "full", ""};
  });
  std::string bytes;
  append_frame(bytes, FrameType::kRows, "x");
  CHECK(reader.feed(bytes).error().kind == ErrorKind::kConflict);
}

TEST_CASE("frame: the boundary is known") {
  Reading reading;
  CHECK(reading.reader.at_boundary());
  CHECK(reading.reader.feed(head(3, 2) + "a"));
  CHECK_FALSE(reading.reader.at_boundary());
  CHECK(reading.reader.feed("b"));
  CHECK(reading.reader.at_boundary());
}

TEST_CASE("frame: arbitrary bytes never crash") {
  CHECK(rc::check([](const std::string& garbage) {
    Reading reading;
    [[maybe_unused]] const bool taken = reading.reader.feed(garbage).has_value();
    for (const auto& [type, payload] : reading.frames) {
      RC_ASSERT(payload.size() <= garbage.size());
    }
  }));
}
