#include "nft_chains.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <optional>

namespace mbsync {
namespace {

using Json = nlohmann::json;

/// Its objects, in order; warnings may stand in front of them.
Result<Json> objects(std::string_view said) {
  const auto begin = said.find('{');
  const auto document = begin == std::string_view::npos ? Json() : Json::parse(said.substr(begin), nullptr, false);
  if (!document.is_object() || !document.contains("nftables") || !document["nftables"].is_array()) {
    return Error{ErrorKind::kInternal, "what nft says of its chains cannot be read",
                 "look at them by hand: sudo nft list ruleset"};
  }
  return document["nftables"];
}

std::string text(const Json& object, const char* name) {
  return object.is_object() && object.contains(name) && object[name].is_string() ? object[name].get<std::string>() : "";
}

/// A port, a set of them, or a range.
bool includes(const Json& right, std::uint16_t port) {
  if (right.is_number_integer()) {
    return right.get<std::int64_t>() == port;
  }
  if (right.is_object() && right.contains("set") && right["set"].is_array()) {
    const auto& set = right["set"];
    return std::any_of(set.begin(), set.end(), [&](const Json& entry) { return includes(entry, port); });
  }
  if (right.is_object() && right.contains("range") && right["range"].is_array() && right["range"].size() == 2) {
    const auto& range = right["range"];
    return range[0].is_number_integer() && range[1].is_number_integer() && range[0].get<std::int64_t>() <= port &&
           port <= range[1].get<std::int64_t>();
  }
  return false;
}

bool is_port(const Json& match) {
  return match.contains("left") && match["left"].is_object() && match["left"].contains("payload") &&
         text(match["left"]["payload"], "field") == "dport";
}

/// Whether all that comes to the port fits, wherever it comes from.
bool fits(const Json& match, std::string_view protocol, std::uint16_t port) {
  const auto op = text(match, "op");
  const bool other = op == "!=";
  if ((op != "==" && op != "in" && !other) || !match.contains("left") || !match.contains("right")) {
    return false;
  }
  const auto& left = match["left"];
  const auto& right = match["right"];
  if (left.is_object() && left.contains("meta")) {
    return text(left["meta"], "key") == "l4proto" && (right == protocol) != other;
  }
  if (left.is_object() && left.contains("payload")) {
    const auto of = text(left["payload"], "protocol");
    return text(left["payload"], "field") == "dport" && (of == protocol || of == "th") &&
           includes(right, port) != other;
  }
  return false;
}

/// What the rule decides; nothing if it does not apply, or not for certain.
std::optional<bool> verdict(const Json& rule, std::string_view protocol, std::uint16_t port) {
  if (!rule.is_object() || !rule.contains("expr") || !rule["expr"].is_array()) {
    return std::nullopt;
  }
  std::optional<bool> lets;
  bool conditions = false;
  bool names_port = false;
  for (const auto& part : rule["expr"]) {
    if (!part.is_object()) {
      continue;
    }
    if (part.contains("match")) {
      const bool fitting = fits(part["match"], protocol, port);
      if (!fitting && is_port(part["match"])) {
        return std::nullopt;
      }
      names_port = names_port || is_port(part["match"]);
      conditions = conditions || !fitting;
    }
    if (part.contains("accept")) {
      lets = true;
    } else if (part.contains("drop") || part.contains("reject")) {
      lets = false;
    } else if (!part.contains("match") && !part.contains("counter") && !part.contains("log")) {
      conditions = true;  // a limit, a count of connections, what iptables has put in
    }
  }
  return !conditions || (lets == true && names_port) ? lets : std::nullopt;
}

}  // namespace

Result<std::vector<NftChain>> input_chains(std::string_view said) {
  const auto all = objects(said);
  MBSYNC_TRY(all);
  std::vector<NftChain> chains;
  for (const auto& object : *all) {
    if (!object.is_object() || !object.contains("chain")) {
      continue;
    }
    const auto& chain = object["chain"];
    const auto family = text(chain, "family");
    const bool of_ip = family == "inet" || family == "ip" || family == "ip6";
    if (of_ip && text(chain, "hook") == "input" && text(chain, "type") == "filter") {
      chains.push_back({family, text(chain, "table"), text(chain, "name")});
    }
  }
  return chains;
}

Result<bool> lets_in(std::string_view said, std::string_view protocol, std::uint16_t port) {
  const auto all = objects(said);
  MBSYNC_TRY(all);
  bool policy = true;
  for (const auto& object : *all) {
    if (object.is_object() && object.contains("chain")) {
      policy = text(object["chain"], "policy") != "drop";
    }
  }
  for (const auto& object : *all) {
    if (object.is_object() && object.contains("rule")) {
      if (const auto decided = verdict(object["rule"], protocol, port)) {
        return *decided;
      }
    }
  }
  return policy;
}

}  // namespace mbsync
