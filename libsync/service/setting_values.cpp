#include "setting_values.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <charconv>

#include "host_name.h"
#include "utf8.h"

namespace mbsync {
namespace {

bool is_control(char c) {
  return static_cast<unsigned char>(c) < 0x20 || c == 0x7f;
}

}  // namespace

Error must_be(std::string what) {
  return Error{ErrorKind::kConfig, "must be " + std::move(what), {}};
}

Result<std::int64_t> whole_number(const std::string& text, std::int64_t min, std::int64_t max, std::string_view unit) {
  std::int64_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc{} || end != text.data() + text.size() || number < min || number > max) {
    return must_be(fmt::format("a whole number{} from {} to {}, not '{}'", unit, min, max, text));
  }
  return number;
}

Result<bool> true_or_false(const std::string& text) {
  std::string word = text;
  std::transform(word.begin(), word.end(), word.begin(),
                 [](char c) { return static_cast<char>(std::tolower(static_cast<unsigned char>(c))); });
  for (const std::string_view yes : {"true", "yes", "on", "1"}) {
    if (word == yes) {
      return true;
    }
  }
  for (const std::string_view no : {"false", "no", "off", "0"}) {
    if (word == no) {
      return false;
    }
  }
  return must_be(fmt::format("true or false, not '{}'", text));
}

std::vector<std::string> list_of(const SettingValues& values) {
  std::vector<std::string> parts;
  for (const std::string& value : values) {
    std::string_view rest = value;
    while (!rest.empty()) {
      const auto comma = rest.find(',');
      std::string_view text = rest.substr(0, comma);
      rest = comma == std::string_view::npos ? std::string_view{} : rest.substr(comma + 1);
      text.remove_prefix(std::min(text.find_first_not_of(" \t"), text.size()));
      text = text.substr(0, text.find_last_not_of(" \t") + 1);
      if (!text.empty()) {
        parts.emplace_back(text);
      }
    }
  }
  return parts;
}

Result<std::string> node_name_of(const std::string& text) {
  if (text.empty() || text.size() > kNodeNameBytesMax || std::any_of(text.begin(), text.end(), is_control)) {
    return must_be(fmt::format("a name of 1 to {} bytes without control characters", kNodeNameBytesMax));
  }
  // A DATABASE_URL that was given in the wrong place would be shown, and announced on the network, with its password.
  if (text.find("://") != std::string::npos) {
    return Error{ErrorKind::kConfig, "must be a name, and looks like an address",
                 "say how this machine is called among the others, such as 'till'"};
  }
  if (valid_utf8_length(text) != text.size()) {
    return Error{ErrorKind::kConfig, "must be UTF-8",
                 "write it in UTF-8 (a file in another encoding: 'iconv -t UTF-8'), or with the letters a to z alone"};
  }
  return text;
}

Result<std::vector<std::string>> peers_of(const SettingValues& values) {
  std::vector<std::string> peers;
  for (const auto& text : list_of(values)) {
    const auto address = parse_peer_address(text);
    MBSYNC_TRY(address);
    if (std::string peer = to_string(*address); std::find(peers.begin(), peers.end(), peer) == peers.end()) {
      peers.push_back(std::move(peer));
    }
  }
  return peers;
}

Result<std::string> bind_address_of(const std::string& text) {
  if (text.empty() || text.find_first_of(" \t/@,[]") != std::string::npos) {
    return must_be(fmt::format("an IP address of this machine, 0.0.0.0 (all) or ::, not '{}'", text));
  }
  return text;
}

std::string_view to_string(Discovery discovery) {
  return discovery == Discovery::kOn ? "on" : discovery == Discovery::kOff ? "off" : "auto";
}

Result<Discovery> discovery_of(const std::string& text) {
  for (const auto discovery : {Discovery::kAuto, Discovery::kOn, Discovery::kOff}) {
    if (text == to_string(discovery)) {
      return discovery;
    }
  }
  return must_be(fmt::format("auto, on or off, not '{}'", text));
}

Result<std::vector<NodeId>> nodes_of(const SettingValues& values) {
  std::vector<NodeId> nodes;
  for (const auto& text : list_of(values)) {
    const auto node = parse_node_id(text);
    if (!node || !node->valid()) {
      return must_be(fmt::format("ids of nodes as 'mbsync status' shows them, 16 of 0-9 and a-f each, not '{}'", text));
    }
    nodes.push_back(*node);
  }
  return nodes;
}

Result<std::vector<std::string>> local_addresses_of(const SettingValues& values) {
  constexpr std::size_t kAddressesMax = 8;
  auto addresses = list_of(values);
  const auto odd = std::find_if(addresses.begin(), addresses.end(), [](const std::string& text) {
    return !is_numeric_host(text.substr(0, text.find('%')));  // of a link-local one with the interface
  });
  if (odd != addresses.end()) {
    return must_be(fmt::format("IP addresses of this machine, with commas between, not '{}'", *odd));
  }
  if (addresses.empty() || addresses.size() > kAddressesMax) {
    return must_be(
        fmt::format("1 to {} IP addresses; SYNC_STATUS_PORT = 0 switches the local port off", kAddressesMax));
  }
  return addresses;
}

Result<std::vector<std::string>> host_names_of(const SettingValues& values) {
  std::vector<std::string> hosts;
  for (const std::string& text : list_of(values)) {
    const auto host = host_of(text);
    if (!host) {
      return must_be(fmt::format("names of hosts without scheme and port, with commas between, not '{}'", text));
    }
    hosts.push_back(*host);
  }
  return hosts;
}

Result<std::string> status_token_of(const std::string& text) {
  constexpr std::size_t kBytesMin = 16;
  constexpr std::size_t kBytesMax = 512;
  const bool plain = std::all_of(text.begin(), text.end(), [](char c) { return c > ' ' && c < '\x7f'; });
  if (text.size() < kBytesMin || text.size() > kBytesMax || !plain) {
    return must_be(fmt::format("{} to {} characters of ASCII without spaces, such as 'openssl rand -hex 24' prints",
                               kBytesMin, kBytesMax));
  }
  return text;
}

Result<std::vector<std::string>> table_patterns_of(const SettingValues& values) {
  auto patterns = list_of(values);
  for (const auto& pattern : patterns) {
    const bool printable = std::none_of(pattern.begin(), pattern.end(), is_control);
    if (!printable || pattern.front() == '.' || pattern.back() == '.' || pattern.find('"') != std::string::npos) {
      return must_be(fmt::format(
          "names of tables, schema.table or the table alone, in which * is any run of characters and ? one, "
          "without quotes: 'public.*', 'audit_*'; not '{}'",
          printable ? pattern : "one with control characters"));
    }
    if (valid_utf8_length(pattern) != pattern.size()) {
      return must_be("UTF-8");
    }
  }
  return patterns;
}

}  // namespace mbsync
