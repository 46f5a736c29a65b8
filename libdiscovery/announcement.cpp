#include "announcement.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <map>

namespace mbsync {
namespace {

constexpr std::size_t kStringMax = 255;  // RFC 1035, section 3.3
constexpr std::size_t kTagMax = 64;

// Into log lines and status, whoever sent it.
bool is_tag(std::string_view text) {
  return text.size() <= kTagMax &&
         std::all_of(text.begin(), text.end(), [](char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z'); });
}

}  // namespace

std::string to_txt(const Announcement& announcement) {
  std::string record;
  const auto add = [&](std::string_view key, std::string_view value) {
    const auto text = fmt::format("{}={}", key, value).substr(0, kStringMax);
    record += static_cast<char>(text.size());
    record += text;
  };
  add("txtvers", "1");
  add("proto", std::to_string(announcement.protocol));
  add("node", to_string(announcement.node));
  add("fleet", announcement.fleet.substr(0, kTagMax));
  add("start", announcement.start.substr(0, kTagMax));
  return record;
}

Result<Announcement> parse_txt(std::string_view record) {
  std::map<std::string_view, std::string_view> said;
  while (!record.empty()) {
    const auto length = static_cast<std::size_t>(static_cast<unsigned char>(record.front()));
    record.remove_prefix(1);
    if (length > record.size()) {
      return Error{ErrorKind::kCorrupt, "a TXT record that ends in the middle of a string", ""};
    }
    const auto text = record.substr(0, length);
    record.remove_prefix(length);
    if (const auto equals = text.find('='); equals != std::string_view::npos) {
      said.emplace(text.substr(0, equals), text.substr(equals + 1));
    }
  }
  Announcement announcement;
  const auto protocol = said["proto"];
  const auto [end, error] = std::from_chars(protocol.data(), protocol.data() + protocol.size(), announcement.protocol);
  if (error != std::errc{} || end != protocol.data() + protocol.size() || announcement.protocol < 1) {
    return Error{ErrorKind::kCorrupt, "a TXT record without a version of the protocol", ""};
  }
  announcement.node = parse_node_id(said["node"]).value_or(NodeId{});
  announcement.fleet = is_tag(said["fleet"]) ? said["fleet"] : "";
  announcement.start = is_tag(said["start"]) ? said["start"] : "";
  return announcement;
}

}  // namespace mbsync
