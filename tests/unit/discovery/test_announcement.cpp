#include <catch2/catch.hpp>
#include <string>

#include "announcement.h"

using namespace mbsync;
using namespace std::string_literals;

namespace {

const NodeId kNode = *parse_node_id("05f3a1b2c4d5e6f7");

std::string txt(std::initializer_list<std::string> strings) {
  std::string record;
  for (const auto& text : strings) {
    record += static_cast<char>(text.size());
    record += text;
  }
  return record;
}

}  // namespace

TEST_CASE("announcement: what is written is read") {
  const Announcement said{1, kNode, "00112233aabbccdd", "7f01"};
  const auto record = to_txt(said);
  CHECK(record.size() < 400);
  const auto read = parse_txt(record);
  REQUIRE(read);
  CHECK(*read == said);
  CHECK(*parse_txt(to_txt(Announcement{2, kNode, "", ""})) == Announcement{2, kNode, "", ""});
}

TEST_CASE("announcement: other versions and strangers") {
  // The first counts, what is unknown is left out, and so is what would look odd in a log.
  const auto read = parse_txt(
      txt({"txtvers=2", "proto=3", "proto=4", "color=red", "flag", "", "node=xyz", "fleet=\x1b[31m", "start=UPPER"}));
  REQUIRE(read);
  CHECK(*read == Announcement{3, NodeId{}, "", ""});

  CHECK_FALSE(parse_txt(""));
  CHECK_FALSE(parse_txt(txt({"path=/index.html"})));
  CHECK_FALSE(parse_txt(txt({"proto=0"})));
  CHECK_FALSE(parse_txt(txt({"proto=1x"})));
  CHECK_FALSE(parse_txt(txt({"proto=99999999999999"})));
  CHECK_FALSE(parse_txt("\x09proto=1"s));
  CHECK(parse_txt(txt({"proto=1", "fleet=" + std::string(249, 'a')}))->fleet.empty());
}
