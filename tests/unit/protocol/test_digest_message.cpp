// Questions and answers of a comparison of rows as JSON: what is sent can be read, and nothing else.
#include "digest_message.h"

#include <catch2/catch.hpp>
#include <functional>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "protocol_limits.h"

using namespace mbsync;
using nlohmann::json;

namespace {

const std::string kHash(kRowHashDigits, 'a');

DigestRequest some_request() {
  DigestRequest request;
  request.sender = {NodeId{0x1a}, "kasse-1"};
  request.kind = DigestKind::kBlock;
  request.schema = "public";
  request.table = "item";
  request.key = {"id"};
  request.columns = {{"id", "text"}, {"note", "text"}};
  request.order = "text (C)";
  request.above = "k17";
  request.limit = 4000;
  return request;
}

DigestAnswer some_answer() {
  DigestAnswer answer;
  answer.sender = {NodeId{0x2b}, "büro"};
  answer.seen = VersionVector({{NodeId{0x1a}, 17}});
  RowLook there{"k17", true, kHash, {std::string(kColumnHashDigits, 'b')}, {{NodeId{0x1a}, 3}, {NodeId{0x2b}, 1}}};
  RowLook gone{"k18"};
  gone.captured = true;
  answer.looks = {there, gone};
  return answer;
}

std::string changed(const std::string& text, const std::function<void(json&)>& change) {
  auto document = json::parse(text);
  change(document);
  return document.dump();
}

}  // namespace

TEST_CASE("digest: questions of every kind come back as they were sent") {
  auto request = some_request();
  CHECK(parse_digest_request(to_json(request)).value() == request);
  request.above = "";
  request.upto = "\xc3\xa4\"\\\n";
  request.kind = DigestKind::kRows;
  CHECK(parse_digest_request(to_json(request)).value() == request);
  request.kind = DigestKind::kLook;
  request.limit = 0;
  request.keys = {"", "(1,\"a b\")"};
  CHECK(parse_digest_request(to_json(request)).value() == request);
  request.kind = DigestKind::kArm;
  request.keys = {"k17"};
  request.hash = kHash;
  request.touched = {"note"};
  request.at_us = 1'700'000'000'000'000;
  request.awaits = {NodeId{0x2b}};
  request.awaited_us = 1'700'000'000'000'001;
  CHECK(parse_digest_request(to_json(request)).value() == request);
  for (const auto kind : {DigestKind::kTouch, DigestKind::kFire, DigestKind::kDisarm}) {
    request.kind = kind;
    CHECK(parse_digest_request(to_json(request)).value() == request);
  }
  DigestRequest tables;
  tables.sender = request.sender;
  CHECK(parse_digest_request(to_json(tables)).value() == tables);
}

TEST_CASE("digest: answers come back as they were sent, with signs of life in front as well") {
  const auto answer = some_answer();
  CHECK(parse_digest_answer(to_json(answer)).value() == answer);
  CHECK(parse_digest_answer("\n\n\n" + to_json(answer)).value() == answer);
  DigestAnswer rows;
  rows.sender = answer.sender;
  rows.tables = {{"public", "item", ""}, {"public", "log", "has no key"}};
  rows.order = "bigint";
  rows.key = {"id"};
  rows.columns = {{"id", "bigint"}};
  rows.estimate = 5;
  rows.row_bytes = 40;
  rows.rows = 1;
  rows.checksum = kHash;
  rows.last = "";
  rows.list = {{"", kHash}};
  CHECK(parse_digest_answer(to_json(rows)).value() == rows);
  DigestAnswer differs;
  differs.sender = answer.sender;
  differs.state = DigestState::kDiffers;
  differs.why = std::string(kRefusalTextBytesMax - 1, 'x') + "ä";  // the last character does not fit any more
  const auto clipped = parse_digest_answer(to_json(differs));
  REQUIRE(clipped);
  CHECK(clipped->why == std::string(kRefusalTextBytesMax - 1, 'x'));
}

TEST_CASE("digest: each member that is missing, superfluous or out of range is a fault") {
  const auto request = to_json(some_request());
  const auto answer = to_json(some_answer());
  const auto asked = json::parse(request);
  const auto answered = json::parse(answer);
  for (const auto& [name, value] : asked.items()) {
    INFO(name);
    CHECK_FALSE(parse_digest_request(changed(request, [&, n = name](json& d) { d.erase(n); })));
  }
  for (const auto& [name, value] : answered.items()) {
    INFO(name);
    CHECK_FALSE(parse_digest_answer(changed(answer, [&, n = name](json& d) { d.erase(n); })));
  }
  const std::vector<std::function<void(json&)>> wrong_questions{
      [](json& d) { d["more"] = 1; },
      [](json& d) { d["kind"] = "drop"; },
      [](json& d) { d["limit"] = 0; },
      [](json& d) { d["limit"] = kDigestRowsMax + 1; },
      [](json& d) { d["table"] = ""; },
      [](json& d) { d["columns"] = json::array(); },
      [](json& d) { d["above"] = 7; },
      [](json& d) { d["above"] = std::string(kDigestKeyBytesMax + 1, 'x'); },
      [](json& d) { d["kind"] = "look"; },
      [](json& d) { d["kind"] = "touch", d["keys"] = {"a"}; },
      [](json& d) {
        d["kind"] = "touch", d["keys"] = {"a", "b"}, d["hash"] = kHash;
      },
      [](json& d) { d["kind"] = "arm", d["keys"] = {"a"}, d["hash"] = kHash; },
      [](json& d) { d["kind"] = "fire", d["keys"] = {"a"}; },
      [](json& d) { d["awaits"] = 7; },
      [](json& d) { d["hash"] = std::string(kRowHashDigits, 'A'); },
      [](json& d) { d["at_us"] = kWriteTimeMax + 1; },
      [](json& d) { d["sender"]["id"] = "0"; },
  };
  for (std::size_t i = 0; i < wrong_questions.size(); ++i) {
    INFO(i);
    const auto parsed = parse_digest_request(changed(request, wrong_questions[i]));
    REQUIRE_FALSE(parsed);
    CHECK(parsed.error().kind == ErrorKind::kCorrupt);
  }
  const std::vector<std::function<void(json&)>> wrong_answers{
      [](json& d) { d["state"] = "equal"; },
      [](json& d) { d["checksum"] = "abc"; },
      [](json& d) { d["rows"] = -1; },
      [](json& d) { d["list"] = {{"k"}}; },
      [](json& d) { d["looks"][0]["hash"] = "x"; },
      [](json& d) { d["looks"][0].erase("hash"); },
      [](json& d) { d["looks"][1]["hash"] = kHash; },
      [](json& d) { d["looks"][1]["columns"] = {std::string(kColumnHashDigits, 'b')}; },
      [](json& d) {
        d["looks"][0]["writes"] = {1, 2, 3};
      },
      [](json& d) {
        d["looks"][0]["writes"] = {2, 1, 1, 1};
      },
      [](json& d) {
        d["looks"][0]["writes"] = {1, 0};
      },
      [](json& d) { d["seen"]["000000000000001a"] = 0; },
      [](json& d) {
        d["tables"] = {{{"schema", "public"}}};
      },
  };
  for (std::size_t i = 0; i < wrong_answers.size(); ++i) {
    INFO(i);
    CHECK_FALSE(parse_digest_answer(changed(answer, wrong_answers[i])));
  }
  CHECK_FALSE(parse_digest_answer(""));
  CHECK_FALSE(parse_digest_request("[]"));
}
